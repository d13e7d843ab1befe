"""python -m scratchnet.warmup, and the directory that compiled kernels are kept in."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import scratchnet.__main__
import scratchnet.warmup
from scratchnet import backend
from scratchnet.kernels.cpu import _compile


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def counts(done) -> tuple[int, int]:
    assert done.returncode == 0, done.stderr
    return tuple(map(int, re.search(r"(\d+) kernels compiled, (\d+) found in the cache", done.stdout).groups()))


def test_the_second_run_compiles_nothing():
    first = python("-m", "scratchnet.warmup")
    compiled, found = counts(first)
    assert compiled + found > 0
    assert re.search(r"^float32, --threads \d+: .*, \d+\.\d s$", first.stdout, re.M)
    assert Path(re.search(r"^kept in (.*)$", first.stdout, re.M)[1]).is_dir()
    assert counts(python("-m", "scratchnet", "warmup")) == (0, compiled + found)


def test_every_op_of_the_table_and_every_kernel_is_run(monkeypatch):
    monkeypatch.setattr(backend, "_table", {})
    scratchnet.warmup.warm_up("float32")
    assert {op for op, rung in backend._table if rung == "numba"} == set(backend.FILES)
    modules = [module for name, module in sys.modules.items() if name.startswith("scratchnet.kernels.cpu.")]
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, _compile.Kernel):
                assert value.serial.signatures, f"{module.__name__}.{name}"


SMALL = """
import numpy, scratchnet
from scratchnet import nn, optim
for make in (optim.SGD, optim.Adagrad):
    param = nn.Parameter(numpy.ones(3, "f"))
    param.grad = numpy.ones(3, "f")
    make([param], lr=0.5).step()
    print(param.data)
from scratchnet.kernels.cpu import optim
print(len(optim._sgd.serial.signatures), len(optim._adagrad.serial.signatures))
"""


def test_a_directory_that_cannot_be_written_works_and_says_so_once(tmp_path):
    (tmp_path / "file").write_text("")
    done = python("-c", SMALL, NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[0.5 0.5 0.5]\n[0.5 0.5 0.5]\n1 1\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("scratchnet: compiled kernels cannot be kept in ")
    assert "NUMBA_CACHE_DIR" in line


@pytest.mark.parametrize("change", ["append", "add a file"])
def test_other_kernels_have_another_directory(tmp_path, monkeypatch, change):
    copy = tmp_path / "cpu"
    shutil.copytree(Path(_compile.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(_compile, "__file__", str(copy / "_compile.py"))
    before = _compile._version()
    assert before == _compile._version()
    if change == "append":
        with open(copy / "vector.py", "a") as file:
            file.write("\n")
    else:
        (copy / "more.py").write_text("x = 1\n")
    assert _compile._version() != before
    assert len(before) == 16


def test_bad_arguments(capsys):
    for arguments in (["--dtype", "float16"], ["--threads", "0"], ["more"]):
        with pytest.raises(SystemExit) as stop:
            scratchnet.__main__.main(["warmup", *arguments])
        assert stop.value.code == 2
    assert "expected a whole number ≥ 1" in capsys.readouterr().err
