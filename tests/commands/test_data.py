"""python -m scratchnet.data, as a user types it."""

import dataclasses
import gzip
import hashlib
import io
import subprocess
import sys

import numpy as np
import pytest
from dataset_files import cifar10_arrays, write_cifar10_binary, write_idx_dataset
from http_mirrors import serving
from PIL import Image

import scratchnet.__main__
import scratchnet.data
from scratchnet.data import in_colour, in_shades
from scratchnet.datasets.sources import SOURCES


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch, tmp_path):
    monkeypatch.delenv("SCRATCHNET_DATA", raising=False)
    monkeypatch.delenv("SCRATCHNET_OFFLINE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def kmnist(monkeypatch, tmp_path):
    """A small KMNIST at a mirror on this machine."""
    write_idx_dataset(tmp_path / "original")
    plain = {name: tmp_path / "original" / name.removesuffix(".gz") for name in SOURCES["kmnist"].downloads}
    files = {name: gzip.compress(path.read_bytes()) for name, path in plain.items()}
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as mirrors:
        mirrors.files.update(files)
        source = dataclasses.replace(
            SOURCES["kmnist"],
            images=(30, 20),
            mirrors=(mirrors.url_of("missing", ""), mirrors.url_of("range", "")),
            downloads={name: f"md5:{hashlib.md5(data).hexdigest()}" for name, data in files.items()},
        )
        monkeypatch.setitem(SOURCES, "kmnist", source)
        yield mirrors


def test_list(run, tmp_path):
    code, out, _ = run("list")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert out.startswith(f"data root: {tmp_path / 'cache' / 'scratchnet'}\n")
    assert lines["mnist"].split(maxsplit=1)[1] == "60,000 + 10,000  1×28×28  10 classes  comes with the package"
    assert "50,000 + 10,000  3×32×32  10 classes  not found; python -m scratchnet.data download cifar10" in out
    assert set(lines) == {"data", "mnist", "fashion_mnist", "kmnist", "cifar10", "folder:PATH"}


def test_list_says_where_a_dataset_was_found(run, tmp_path, monkeypatch):
    write_cifar10_binary(tmp_path, cifar10_arrays())
    write_idx_dataset(tmp_path / "FashionMNIST" / "raw")
    (tmp_path / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    by_option = run("list", "--data-dir", tmp_path)[1]
    monkeypatch.setenv("SCRATCHNET_DATA", str(tmp_path))
    for out in (by_option, run("list")[1]):
        lines = {line.split()[0]: line for line in out.splitlines()}
        assert lines["cifar10"].endswith(f"  {tmp_path / 'cifar-10-batches-bin'}")
        assert "not found" in lines["fashion_mnist"]


def test_verify_of_everything_that_is_there(run, tmp_path):
    code, out, err = run("verify")
    assert (code, err) == (0, "")
    assert "mnist train: readable: 60,000 images 1×28×28 in 10 classes, the published data\n" in out
    assert "cifar10 test: not found; python -m scratchnet.data download cifar10\n" in out


def test_verify_of_a_copy(run, tmp_path):
    write_cifar10_binary(tmp_path, cifar10_arrays())
    code, out, _ = run("verify", "cifar10", "--data-dir", tmp_path)
    assert code == 0
    assert out == (
        "cifar10 train: readable: 20 images 3×32×32 in 10 classes, but not the published files\n"
        "    the sums of the pixels differ\n"
        "    20 images instead of 50,000\n"
        "cifar10 test: readable: 4 images 3×32×32 in 10 classes, but not the published files\n"
        "    the sums of the pixels differ\n"
        "    4 images instead of 10,000\n"
    )


@pytest.mark.parametrize("name", ["cifar10", None])
def test_verify_of_a_damaged_dataset(run, tmp_path, name):
    path = write_cifar10_binary(tmp_path, cifar10_arrays()) / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    write_idx_dataset(tmp_path / "MNIST" / "raw")
    code, out, _ = run("verify", *([name] if name else []), "--data-dir", tmp_path)
    assert code == 1
    assert f"cifar10 train: unreadable\n    {path}: truncated" in out
    assert "cifar10 test: readable" in out  # the rest is still looked at


def test_verify_of_a_missing_dataset(run, tmp_path):
    code, _, err = run("verify", "cifar10")
    assert code == 1
    assert err.startswith("error: cifar10 train: expected data_batch_1.bin")
    assert "`python -m scratchnet.data download cifar10` downloads it" in err


def test_download(run, tmp_path, kmnist):
    folder = tmp_path / "root" / "KMNIST" / "raw"
    code, out, err = run("download", "kmnist", "--data-dir", tmp_path / "root")
    assert (code, out, err) == (0, f"kmnist: complete in {folder}\n", "")
    assert len(list(folder.iterdir())) == 4
    code, out, _ = run("verify", "kmnist", "--data-dir", tmp_path / "root")
    assert (code, out.count("the published data")) == (0, 2)
    requests = len(kmnist.requests)
    assert run("download", "kmnist", "--data-dir", tmp_path / "root", "--offline")[0] == 0
    assert len(kmnist.requests) == requests


def test_download_that_fails(run, tmp_path, kmnist, monkeypatch):
    monkeypatch.setitem(
        SOURCES, "kmnist", dataclasses.replace(SOURCES["kmnist"], mirrors=(kmnist.url_of("silent", ""),))
    )
    code, out, err = run("download", "kmnist", "--data-dir", tmp_path / "root", "--timeout", "0.1")
    assert (code, out) == (1, "")
    assert err.startswith("error: kmnist: train-images-idx3-ubyte.gz: no mirror delivered it (http://127.0.0.1:")
    assert "no answer in time" in err
    assert "By hand: fetch train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k" in err


@pytest.mark.parametrize("how", ["option", "environment"])
def test_download_offline(run, tmp_path, kmnist, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("SCRATCHNET_OFFLINE", "1")
    code, _, err = run("download", "kmnist", *(["--offline"] if how == "option" else []))
    assert code == 1
    assert "error: kmnist: offline: train-images-idx3-ubyte.gz" in err
    assert kmnist.requests == []


def test_interruption(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(scratchnet.data, "download", interrupted)
    assert run("download", "kmnist") == (130, "", "error: interrupted\n")


def test_show_in_shades(run):
    code, out, _ = run("show", "mnist", "--split", "test", "--index", "1")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "mnist test 1: label 2"
    assert len(lines) == 29
    assert max(map(len, lines[1:])) <= 56
    assert "████" in out
    assert "\x1b" not in out
    assert run("show", "mnist")[1].startswith("mnist train 0: label 5\n")


def test_show_names_the_class(run, tmp_path):
    arrays = cifar10_arrays()
    write_cifar10_binary(tmp_path, arrays)
    _, out, _ = run("show", "cifar10", "--index", "2", "--data-dir", tmp_path, "--split", "test")
    label = int(arrays["test_batch"][1][2])
    assert out.startswith(f"cifar10 test 2: label {label}, ")
    assert len(out.splitlines()) == 33


def test_show_in_colour_on_a_terminal(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    arrays = cifar10_arrays()
    write_cifar10_binary(tmp_path, arrays)
    for no_colour in (False, True):
        screen = Terminal()
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.delenv("NO_COLOR", raising=False)
        if no_colour:
            monkeypatch.setenv("NO_COLOR", "1")
        assert scratchnet.data.main(["show", "cifar10", "--data-dir", str(tmp_path)]) == 0
        assert ("\x1b[38;2;" in screen.getvalue()) is not no_colour
        assert len(screen.getvalue().splitlines()) == (33 if no_colour else 17)


def test_shades_go_by_brightness():
    grey = np.array([[[0, 51, 52, 255], [103, 154, 205, 0]]], np.uint8)
    assert in_shades(grey) == "  " + "  " + "░░" + "██" + "\n" + "▒▒" + "▓▓" + "██"
    colours = np.zeros((3, 1, 4), np.uint8)
    colours[[0, 1, 2], 0, [0, 1, 2]] = 255  # red, green, blue, black
    assert in_shades(colours) == "░░▒▒"
    assert in_shades(np.full((3, 1, 1), 255, np.uint8)) == "██"


def test_colours_are_the_pixels():
    image = np.arange(18, dtype=np.uint8).reshape(3, 3, 2)
    first, last = in_colour(image).splitlines()
    assert first == ("\x1b[38;2;0;6;12m\x1b[48;2;2;8;14m▀\x1b[38;2;1;7;13m\x1b[48;2;3;9;15m▀\x1b[0m")
    assert last == "\x1b[38;2;4;10;16m▀\x1b[38;2;5;11;17m▀\x1b[0m"
    assert in_colour(image[:1]).startswith("\x1b[38;2;0;0;0m\x1b[48;2;2;2;2m▀")


def test_a_folder_and_its_unreadable_files(run, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(np.full((4, 4), 255, np.uint8)).save(tmp_path / name / f"{i}.png")
    code, out, err = run("show", f"folder:{tmp_path}", "--index", "3")
    assert (code, err) == (0, "")
    assert out == f"folder:{tmp_path} train 3: label 1, dog\n" + ("█" * 56 + "\n") * 28
    (tmp_path / "dog" / "1.png").write_bytes(b"no image")
    code, out, err = run("verify", f"folder:{tmp_path}")
    assert code == 0
    assert err.count("warning: ") == 1
    assert f"{tmp_path / 'dog' / '1.png'}: no image that Pillow can read" in err
    assert f"folder:{tmp_path} train: readable: 3 images 1×28×28 in 2 classes\n" in out
    assert f"folder:{tmp_path} test: readable: 2 images 1×28×28 in 2 classes\n" in out


def test_a_folder_that_is_not_there(run):
    for command in ("show", "verify"):
        code, _, err = run(command, "folder:/nowhere/at/all")
        assert code == 1
        assert err.startswith("error: /nowhere/at/all: expected a directory of images")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: list|verify|download|show"),
        (["remove"], "invalid choice: 'remove'"),
        (["show"], "required: name"),
        (["show", "minst"], "expected one of mnist, fashion_mnist, kmnist, cifar10 or folder:PATH, got 'minst'"),
        (["show", "folder:"], "expected 'folder:PATH' with the path of your images"),
        (["show", "mnist", "--split", "val"], "invalid choice: 'val'"),
        (["show", "mnist", "--index", "-1"], "expected a whole number ≥ 0, got '-1'"),
        (["show", "mnist", "--index", "60000"], "--index: expected a number below 60000 (mnist train), got 60000"),
        (["verify", "minst"], "got 'minst'"),
        (["download"], "required: NAME"),
        (["download", "folder:x"], "invalid choice: 'folder:x'"),
        (["download", "kmnist", "--timeout", "0"], "expected a number > 0, got '0'"),
    ],
)
def test_wrong_arguments(run, argv, message):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert message in err


def test_as_a_module_and_through_the_front_door(capsys):
    done = subprocess.run(
        [sys.executable, "-m", "scratchnet.data", "show", "minst"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "got 'minst'" in done.stderr
    assert scratchnet.__main__.main(["data", "list"]) == 0
    assert "comes with the package" in capsys.readouterr().out
