import dataclasses
import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from dataset_files import cifar10_arrays, write_cifar10_binary, write_cifar10_python, write_idx_dataset
from PIL import Image

from scratchnet.datasets import DatasetNotFoundError, verify
from scratchnet.datasets.integrity import CIFAR10_SUMS
from scratchnet.datasets.sources import SOURCES

REAL = os.environ.get("SCRATCHNET_DATA", "")
ARRAYS = cifar10_arrays()


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch, tmp_path):
    monkeypatch.delenv("SCRATCHNET_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no cache"))


def publish(monkeypatch, name, images, **checksums):
    monkeypatch.setitem(SOURCES, name, dataclasses.replace(SOURCES[name], images=images, **checksums))


def md5(data: bytes) -> str:
    return f"md5:{hashlib.md5(data).hexdigest()}"


@pytest.mark.parametrize(("split", "n"), [("train", "60,000"), ("test", "10,000")])
def test_the_packaged_mnist_is_the_published_one(split, n):
    result = verify("mnist", split)
    assert (result.readable, result.published, result.problems) == (True, True, ())
    assert result.message == f"readable: {n} images 1×28×28 in 10 classes, the published data"


@pytest.mark.parametrize("compressed", [False, True])
def test_another_mnist_is_readable_but_not_the_published_one(tmp_path, compressed):
    folder = tmp_path / "MNIST" / "raw"
    write_idx_dataset(folder)
    if compressed:
        for path in list(folder.iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    result = verify("mnist", "test", tmp_path)
    assert (result.readable, result.published) == (True, False)
    assert result.message == "readable: 20 images 1×28×28 in 10 classes, but not the published files"
    suffix = ".gz" if compressed else ""
    assert result.problems == (
        f"{folder / 't10k-images-idx3-ubyte'}{suffix}: another checksum",
        f"{folder / 't10k-labels-idx1-ubyte'}{suffix}: another checksum",
        "20 images instead of 10,000",
    )


def test_files_of_which_nothing_is_published(tmp_path, monkeypatch):
    folder = tmp_path / "KMNIST" / "raw"
    write_idx_dataset(folder)
    publish(monkeypatch, "kmnist", (30, 20))
    result = verify("kmnist", "train", tmp_path)
    assert (result.readable, result.published) == (True, None)
    assert result.message.endswith("; no published checksum for train-images-idx3-ubyte, train-labels-idx1-ubyte")


def test_downloads_are_compared(tmp_path, monkeypatch):
    folder = tmp_path / "KMNIST" / "raw"
    write_idx_dataset(folder)
    files = {f"{path.name}.gz": gzip.compress(path.read_bytes()) for path in list(folder.iterdir())}
    for path in list(folder.iterdir()):
        path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    publish(monkeypatch, "kmnist", (30, 20), downloads={name: md5(data) for name, data in files.items()})
    assert verify("kmnist", "train", tmp_path).published is True
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1))
    result = verify("kmnist", "train", tmp_path)
    assert (result.readable, result.published, result.problems) == (True, False, (f"{path}: another checksum",))
    path.write_bytes(path.read_bytes()[:-20])
    result = verify("kmnist", "train", tmp_path)
    assert (result.readable, result.message) == (False, "unreadable")
    assert result.problems[0].startswith(f"{path}: truncated")


def test_python_batches_are_compared(tmp_path, monkeypatch):
    folder = write_cifar10_python(tmp_path, ARRAYS)
    checksums = {path.name: md5(path.read_bytes()) for path in folder.iterdir()}
    publish(monkeypatch, "cifar10", (20, 4), members=checksums)
    assert verify("cifar10", "train", tmp_path).published is True
    publish(monkeypatch, "cifar10", (20, 4), members={**checksums, "data_batch_2": md5(b"")})
    result = verify("cifar10", "train", tmp_path)
    assert (result.readable, result.published) == (True, False)
    assert result.problems == (f"{folder / 'data_batch_2'}: another checksum",)
    (folder / "data_batch_2").write_bytes(b"\x80\x02cos\nsystem\n.")
    result = verify("cifar10", "train", tmp_path)
    assert result.readable is False
    assert "os.system" in result.problems[0]


def test_binary_batches_are_compared_by_their_sums(tmp_path, monkeypatch):
    write_cifar10_binary(tmp_path, ARRAYS)
    publish(monkeypatch, "cifar10", (20, 4))
    result = verify("cifar10", "test", tmp_path)
    assert (result.readable, result.published) == (True, False)
    assert result.problems == ("the sums of the pixels differ",)
    sums = ARRAYS["test_batch"][0].astype(int).sum(axis=(0, 2, 3)).tolist()
    monkeypatch.setitem(CIFAR10_SUMS, "test", sums)
    result = verify("cifar10", "test", tmp_path)
    assert result.published is True
    assert result.message.endswith("in 10 classes, with the published sums of pixels")
    monkeypatch.setitem(CIFAR10_SUMS, "test", [sums[0], sums[1], sums[2] + 1])
    assert verify("cifar10", "test", tmp_path).published is False


def test_sums_are_the_well_known_means():
    pixels = {"train": 50_000 * 1024, "test": 10_000 * 1024}
    means = {split: [total / pixels[split] for total in sums] for split, sums in CIFAR10_SUMS.items()}
    assert means["train"] == [125.306918046875, 122.950394140625, 113.86538318359375]
    assert means["test"] == [126.02464140625, 123.70850419921875, 114.85431865234375]


def test_a_folder_of_ones_own(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "train" / name / "x.png")
    result = verify(f"folder:{tmp_path}", "train")
    assert (result.readable, result.published) == (True, None)
    assert result.message == "readable: 2 images 1×28×28 in 2 classes"


def test_what_is_not_there():
    for name in ("cifar10", "kmnist", "folder:/nowhere"):
        with pytest.raises(DatasetNotFoundError):
            verify(name, "train")
    with pytest.raises(ValueError, match="unknown dataset 'nothing'"):
        verify("nothing", "train")


@pytest.mark.skipif(
    not (Path(REAL or "/nowhere") / "cifar-10-batches-bin").is_dir(), reason="SCRATCHNET_DATA names no binary CIFAR-10"
)
def test_real_cifar10_is_readable():
    result = verify("cifar10", "test", REAL)
    assert result.readable
    assert result.published in (True, False)
    assert result.message.startswith("readable: 10,000 images 3×32×32 in 10 classes, ")
