"""python -m scratchnet.train and python -m torch_ref.train, as a user types them."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import scratchnet.__main__
import scratchnet.recipes
import scratchnet.train
import torch_ref.train
from scratchnet import datasets


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """A run writes runs/ where it is started."""
    monkeypatch.chdir(tmp_path)


SHORT = ["mnist", "--limit-batches", "12", "--eval-every", "6", "--eval-limit", "100"]


@pytest.fixture
def few(tmp_path):
    """The option that takes the first 600 training and 200 test images of MNIST alone."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for split, prefix, count in (("train", "train", 600), ("test", "t10k", 200)):
        part = datasets.load("mnist", split).subset(count)
        header = struct.pack(">4I", 0x803, count, 28, 28)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + part.images.tobytes())
        labels = part.labels.astype("uint8").tobytes()
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels)
    return ["--data-dir", str(tmp_path)]


def output(capsys, argv, main=scratchnet.train.main) -> str:
    assert main(argv) == 0
    return capsys.readouterr().out


def test_reports_progress_classes_predictions_and_result(capsys):
    text = output(capsys, SHORT)
    assert "MnistCNN with 28,938 parameters on cpu; 60,000 training and 10,000 test images" in text
    assert re.search(r"epoch 1  step +6/12  train loss \d\.\d{4}  test accuracy 0\.\d{4} \(first 100 images\)", text)
    rows = re.findall(r"^  (\d) +(\d+\.\d\d)%  (\d+)/(\d+)$", text, re.M)
    assert [row[0] for row in rows] == list("0123456789")
    assert sum(int(row[3]) for row in rows) == 10_000
    correct = sum(int(row[2]) for row in rows)
    assert re.search(rf"test loss \d\.\d+  test accuracy {correct / 10_000:.2%} \({correct:,} of 10,000\)", text)
    assert "  label      7 2 1 0 4 1 4 9 5 9" in text
    assert len(re.search(r"  predicted  (.*)", text)[1].split()) == 10


def without_times(text: str) -> str:
    return re.sub(r"\d+\.\d s$|^run folder .*", "", text, flags=re.M)


def test_the_same_seed_gives_the_same_run_bit_for_bit(capsys, few):
    first, second = (without_times(output(capsys, SHORT + few)) for _ in range(2))
    assert first == second
    assert without_times(output(capsys, [*SHORT, *few, "--seed", "1"])) != first


@pytest.mark.parametrize("model", ["dropout", "mlp", "lenet5"])
def test_every_mnist_model_trains(capsys, few, model):
    text = output(capsys, ["mnist", "--model", model, "--epochs", "2", "--limit-batches", "3", *few])
    assert re.search(r"epoch +2/2  train loss", text)
    assert ("train accuracy" in text) == (model == "dropout")  # its recipe reports both splits


def test_options_replace_the_recipe(capsys, few):
    options = ["--optimizer", "sgd", "--lr", "0.5", "--momentum", "0.8", "--batch-size", "20", "--dtype", "float64"]
    text = output(capsys, ["mnist", "--limit-batches", "2", "--threads", "1", "--rung", "im2col", *options, *few])
    assert "sgd lr 0.5, momentum 0.8, batch 20 shuffled, 1 epoch of 2 steps" in text


def test_torch_ref_runs_the_same_recipe(capsys):
    text = output(capsys, SHORT, torch_ref.train.main)
    assert "MnistCNN with 28,938 parameters on cpu (torch" in text
    assert "adam lr 0.001, batch 50 shuffled, 1 epoch of 12 steps" in text
    assert "  label      7 2 1 0 4 1 4 9 5 9" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mnits"], "expected one of mnist, fashion_mnist, kmnist, cifar10 or folder:PATH, got 'mnits'"),
        (["mnist", "--epochs", "0"], "expected a whole number ≥ 1, got '0'"),
        (["mnist", "--lr", "nan"], "expected a number > 0, got 'nan'"),
        (["mnist", "--lr", "-1"], "expected a number > 0, got '-1'"),
        (["mnist", "--batch-size", "ten"], "expected a whole number ≥ 1, got 'ten'"),
        (["mnist", "--threads", "0"], "expected a whole number ≥ 1"),
        (["mnist", "--dtype", "float16"], "invalid choice: 'float16'"),
        (["mnist", "--rung", "fast"], "invalid choice: 'fast'"),
        (["mnist", "--seed", "-1"], "expected a whole number ≥ 0"),
        (["mnist", "--model", "vgg"], "model for mnist: expected one of cnn, dropout, mlp, lenet5, deep, got 'vgg'"),
        (["mnist", "--recipe", "magic"], "recipe for mnist cnn: expected one of tutorial"),
        (["mnist", "--device", "tpu"], "device: expected auto, cpu, gpu or gpu:N, got 'tpu'"),
        (["mnist", "--device", "gpu:x"], "device: expected auto, cpu, gpu or gpu:N, got 'gpu:x'"),
    ],
)
def test_wrong_arguments_exit_with_2_and_name_the_cause(capsys, argv, message):
    try:
        code = scratchnet.train.main(argv)
    except SystemExit as stop:  # argparse's own
        code = stop.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_an_error_that_says_why(capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)  # import cupy raises ImportError
    assert scratchnet.train.main(["mnist", "--device", "gpu"]) == 2
    assert "CuPy cannot be imported" in capsys.readouterr().err


def test_bad_data_exits_with_1(capsys, tmp_path):
    assert scratchnet.train.main(["mnist", "--data-dir", str(tmp_path / "nowhere")]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "nowhere") in error
    assert "Traceback" not in error


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_exits_with_1(capsys):
    argv = ["mnist", "--model", "mlp", "--lr", "1e30", "--limit-batches", "20"]
    assert scratchnet.train.main(argv) == 1
    assert re.search(r"the loss is (nan|inf) at step \d+", capsys.readouterr().err)


def test_ctrl_c_exits_with_130(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(scratchnet.train, "train", interrupt)
    assert scratchnet.train.main(["mnist"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_the_front_door_lists_and_runs_commands(capsys, few):
    assert scratchnet.__main__.main([]) == 0
    assert "train" in capsys.readouterr().out
    assert scratchnet.__main__.main(["fly"]) == 2
    assert "got 'fly'" in capsys.readouterr().err
    assert scratchnet.__main__.main(["train", *SHORT, *few]) == 0


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("main", [scratchnet.train.main, torch_ref.train.main])
def test_a_folder_of_images(capsys, tmp_path, rgb, main):
    """Three classes of flat images, told apart by their brightness."""
    from PIL import Image

    for split, count in (("train", 20), ("test", 5)):
        for name, level in (("black", 0), ("grey", 128), ("white", 255)):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (40, 30), (level, level, max(level - i, 0))).save(folder / f"{i}.png")
    argv = [f"folder:{tmp_path}", "--model", "simple" if rgb else "cnn", "--epochs", "6", "--batch-size", "10"]
    text = output(capsys, [*argv, *(["--rgb"] if rgb else [])], main)
    assert "60 training and 15 test images" in text
    assert re.search(r"^  white +100\.00%  5/5$", text, re.M)
    assert "test accuracy 100.00% (15 of 15)" in text


def test_fashion_mnist_is_normalised_by_its_own_figures():
    assert scratchnet.recipes.find("mnist", "dropout").normalize == (0.1307, 0.3081)
    assert scratchnet.recipes.find("fashion_mnist", "dropout").normalize == (0.2860, 0.3530)
    assert scratchnet.recipes.find("kmnist", "lenet5").normalize == (0.1918, 0.3483)
    assert scratchnet.recipes.find("kmnist", "mlp").normalize is None


def test_torch_ref_without_torch_says_what_to_install():
    code = "import runpy, sys; sys.modules['torch'] = None; runpy.run_module('torch_ref.train', run_name='__main__')"
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)
    assert result.returncode == 1
    assert result.stderr.startswith("error: torch_ref needs PyTorch")
    assert "pip install 'scratchnet[torch]'" in result.stderr
    assert "Traceback" not in result.stderr
