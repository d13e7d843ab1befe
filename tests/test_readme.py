"""What the README shows is true: its example runs, its commands and files exist."""

import importlib.util
import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(marker: str) -> str:
    return next(code for code in re.findall(r"```python\n(.*?)```", README, re.S) if marker in code)


def test_the_example_trains_a_network(capsys):
    names: dict = {}
    exec(block("class Net(nn.Chain)"), names)
    loss, *shapes = capsys.readouterr().out.splitlines()
    assert float(loss) < 0.6  # from log 10 = 2.30
    assert shapes == ["(50, 8, 28, 28) (50, 8, 28, 28)"]


def test_the_trainer_goes_on_with_the_example(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(block("class Net(nn.Chain)"), names)
    exec(block("scratchnet.Trainer("), names)
    assert float(capsys.readouterr().out.splitlines()[-1]) > 0.9  # one class in ten by chance
    assert (tmp_path / "runs/mine/best.safetensors").exists()


def test_the_checking_tools_run_as_shown(capsys):
    import torch

    from scratchnet import nn, ops

    weight = np.random.default_rng(0).standard_normal((3, 4))
    names = {
        "my_forward": lambda x, weight: ops.linear(x, weight, None),
        "my_backward": lambda dy, cache: ops.linear_backward(dy, cache)[:2],
        "x": np.random.default_rng(1).standard_normal((2, 4)),
        "weight": weight,
        "model": nn.Linear(4, 3).double(),
        "torch_model": torch.nn.Linear(4, 3).double(),
    }
    exec(block("from scratchnet.study import"), names)
    assert "weight" in capsys.readouterr().out


def test_every_linked_file_exists():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 10
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_every_command_exists():
    commands = set(re.findall(r"python -m ([\w.]+)", README)) - {"pytest"}
    assert {"scratchnet.train", "scratchnet.step", "torch_ref.train"} <= commands
    assert [name for name in commands if importlib.util.find_spec(name) is None] == []
