# ruff: noqa: E501 - a table, one case a line
"""Malformed command lines and files: the right exit code, one message that names the cause, never a traceback."""

import gzip
import pickle
import re
import struct

import numpy as np
import pytest
from dataset_files import CIFAR10_BATCHES, cifar10_arrays, idx_bytes, write_cifar10_binary, write_idx_dataset

import scratchnet.__main__

COMMANDS = [
    (["fly"], "expected a command"),
    (["train"], "dataset: expected one of mnist"),
    (["train", "mnits"], "got 'mnits'"),
    (["train", "folder:"], "or folder:PATH, got 'folder:'"),
    (["train", "mnist", "--epochs", "0"], "--epochs: expected a whole number ≥ 1, got '0'"),
    (["train", "mnist", "--epochs", "1.5"], "--epochs: expected a whole number ≥ 1, got '1.5'"),
    (["train", "mnist", "--batch-size", "-4"], "--batch-size: expected a whole number ≥ 1"),
    (["train", "mnist", "--lr", "0"], "--lr: expected a number > 0, got '0'"),
    (["train", "mnist", "--lr", "inf"], "--lr: expected a number > 0, got 'inf'"),
    (["train", "mnist", "--lr", "fast"], "--lr: expected a number > 0, got 'fast'"),
    (["train", "mnist", "--momentum", "-0.9"], "--momentum: expected a number ≥ 0"),
    (["train", "mnist", "--weight-decay", "nan"], "--weight-decay: expected a number ≥ 0, got 'nan'"),
    (["train", "mnist", "--optimizer", "lion"], "--optimizer: invalid choice: 'lion'"),
    (["train", "mnist", "--seed", "-1"], "--seed: expected a whole number ≥ 0"),
    (["train", "mnist", "--eval-every", "0"], "--eval-every: expected a whole number ≥ 1"),
    (["train", "mnist", "--eval-limit", "x"], "--eval-limit: expected a whole number ≥ 1, got 'x'"),
    (["train", "mnist", "--limit-batches", "0"], "--limit-batches: expected a whole number ≥ 1"),
    (["train", "mnist", "--threads", "0"], "--threads: expected a whole number ≥ 1"),
    (["train", "mnist", "--dtype", "half"], "--dtype: invalid choice: 'half'"),
    (["train", "mnist", "--rung", "fast"], "--rung: invalid choice: 'fast'"),
    (["train", "mnist", "--model", "vgg"], "model for mnist: expected one of"),
    (
        ["train", "cifar10", "--model", "mlp"],
        "model for cifar10: expected one of cnn, simple, resnet20, resnet8, got 'mlp'",
    ),
    (["train", "mnist", "--recipe", "magic"], "recipe for mnist cnn: expected one of tutorial, got 'magic'"),
    (["train", "mnist", "--device", "tpu"], "device: expected auto, cpu, gpu or gpu:N, got 'tpu'"),
    (["train", "mnist", "--speed", "11"], "unrecognized arguments: --speed 11"),
    (["summary"], "required: family"),
    (["summary", "imagenet"], "invalid choice: 'imagenet'"),
    (["summary", "mnist", "--model", "vgg"], "got 'vgg'"),
    (["summary", "mnist", "--batch-size", "0"], "--batch-size: expected a whole number ≥ 1"),
    (["step", "--lr", "x"], "--lr"),
    (["step", "--digits", "0"], "--digits"),
    (["step", "--image", "cat"], "--image"),
    (["data"], "required"),
    (["data", "burn"], "invalid choice: 'burn'"),
    (["data", "download", "imagenet"], "imagenet"),
    (["data", "verify", "imagenet"], "imagenet"),
    (["data", "show", "imagenet"], "imagenet"),
    (["data", "show", "mnist", "--index", "-1"], "--index"),
]


@pytest.mark.parametrize(
    ("argv", "message"), COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_command_line_exits_with_2(capsys, argv, message):
    try:
        code = scratchnet.__main__.main(argv)
    except SystemExit as stop:  # argparse's own
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert "Traceback" not in error


def mnist(root):
    write_idx_dataset(root / "MNIST" / "raw")
    return root / "MNIST" / "raw"


def cifar(root):
    return write_cifar10_binary(root, cifar10_arrays())


TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
ZEROS = np.zeros((30, 28, 28), np.uint8)


def edit(make, name, change):
    """A folder of good files, one of which is changed: change(bytes) → bytes, None removes the file."""

    def build(root):
        path = make(root) / name
        content = change(path.read_bytes())
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        return path

    return build


class Evil:
    def __reduce__(self):
        return print, ("this must not run",)


def pickled(root):
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for name in [name for names in CIFAR10_BATCHES.values() for name in names]:
        (folder / name).write_bytes(pickle.dumps(Evil(), protocol=2))
    return folder / "data_batch_1"


FILES = {
    "missing": ("mnist", edit(mnist, TRAIN_IMAGES, lambda b: None), "expected train-images-idx3-ubyte or .* got neither"),
    "empty": ("mnist", edit(mnist, TRAIN_IMAGES, lambda b: b""), "expected"),
    "cut short": ("mnist", edit(mnist, TRAIN_IMAGES, lambda b: b[:-1]), "expected"),
    "too long": ("mnist", edit(mnist, TRAIN_IMAGES, lambda b: b + b"\0"), "expected"),
    "header only": ("mnist", edit(mnist, TRAIN_IMAGES, lambda b: b[:16]), "expected"),
    "half a header": ("mnist", edit(mnist, TRAIN_IMAGES, lambda b: b[:6]), "expected"),
    "wrong magic": ("mnist", edit(mnist, TRAIN_IMAGES, lambda b: b"\x89PNG" + b[4:]), "magic|IDX"),
    "floats": ("mnist", edit(mnist, TRAIN_IMAGES, lambda b: b[:2] + b"\x0d" + b[3:]), "expected an IDX file of unsigned bytes"),
    "labels for images": ("mnist", edit(mnist, TRAIN_IMAGES, lambda b: idx_bytes(ZEROS[:, 0, 0])), "dimension|ndim|3"),
    "images for labels": ("mnist", edit(mnist, TRAIN_LABELS, lambda b: idx_bytes(ZEROS)), "dimension|ndim|1"),
    "other size": ("mnist", edit(mnist, TRAIN_IMAGES, lambda b: idx_bytes(ZEROS[:, :20])), "28"),
    "fewer labels": ("mnist", edit(mnist, TRAIN_LABELS, lambda b: idx_bytes(ZEROS[:29, 0, 0])), "29"),
    "label 10": ("mnist", edit(mnist, TRAIN_LABELS, lambda b: b[:-1] + b"\x0a"), "10"),
    "huge header": ("mnist", edit(mnist, TRAIN_IMAGES, lambda b: b[:4] + struct.pack(">3I", 2**31, 28, 28) + b[16:]), "expected"),
    "broken gzip": ("mnist", edit(mnist, TRAIN_IMAGES, lambda b: gzip.compress(b)[:200]), "gzip|expected"),
    "gzip of rubbish": ("mnist", edit(mnist, TRAIN_IMAGES, lambda b: gzip.compress(b"rubbish")), "expected"),
    "cifar missing": ("cifar10", edit(cifar, "data_batch_3.bin", lambda b: None), "data_batch_3"),
    "cifar cut": ("cifar10", edit(cifar, "data_batch_2.bin", lambda b: b[:-7]), "3,?073"),
    "cifar empty": ("cifar10", edit(cifar, "data_batch_2.bin", lambda b: b""), "expected"),
    "cifar label": ("cifar10", edit(cifar, "data_batch_1.bin", lambda b: b"\x0b" + b[1:]), "11"),
    "cifar pickle bomb": ("cifar10", pickled, "print"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_exits_with_1_and_is_named(capsys, tmp_path, name):
    dataset, build, message = FILES[name]
    path = build(tmp_path)
    code = scratchnet.__main__.main(["train", dataset, "--data-dir", str(tmp_path), "--limit-batches", "1"])
    output = capsys.readouterr()
    assert code == 1
    assert path.stem in output.err
    assert output.err.count("error:") == 1
    assert re.search(message, output.err), output.err
    assert "Traceback" not in output.err
    assert "this must not run" not in output.out
