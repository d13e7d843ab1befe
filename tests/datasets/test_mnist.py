import gzip
import hashlib
import re
import struct
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torchvision

from scratchnet.datasets import DATASETS, DatasetError, DatasetNotFoundError, load
from scratchnet.datasets.mnist_family import FILES

TRAIN_IMAGES, TRAIN_LABELS = FILES["train"]
SHA256 = {  # of the decompressed files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
HISTOGRAM = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch):
    monkeypatch.delenv("SCRATCHNET_DATA", raising=False)


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_small_mnist(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Plain files with 30 training and 20 test samples; returns the arrays of each split."""
    rng = np.random.default_rng(0)
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    arrays = {}
    for (split, (images_file, labels_file)), n in zip(FILES.items(), (30, 20), strict=True):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, n, dtype=np.uint8)
        (folder / images_file).write_bytes(idx_bytes(images))
        (folder / labels_file).write_bytes(idx_bytes(labels))
        arrays[split] = images, labels
    return arrays


def packaged(file):
    return (resources.files("scratchnet.datasets") / "mnist" / f"{file}.gz").read_bytes()


@pytest.mark.parametrize("file", SHA256)
def test_packaged_file_is_the_original(file):
    assert hashlib.sha256(gzip.decompress(packaged(file))).hexdigest() == SHA256[file]


@pytest.mark.parametrize("file", SHA256)
def test_packaged_file_holds_neither_a_time_nor_a_name(file):
    flags, time = packaged(file)[3], packaged(file)[4:8]
    assert flags == 0
    assert time == bytes(4)


@pytest.mark.parametrize(("split", "n"), [("train", 60_000), ("test", 10_000)])
def test_packaged_mnist(split, n):
    mnist = load("mnist", split)
    assert (mnist.name, mnist.split, len(mnist)) == ("mnist", split, n)
    assert mnist.images.shape == (n, 1, 28, 28)
    assert mnist.images.dtype == np.uint8
    assert mnist.images.flags.c_contiguous
    assert not mnist.images.flags.writeable
    assert mnist.labels.dtype == np.int64
    assert np.bincount(mnist.labels).tolist() == HISTOGRAM[split]
    assert mnist.classes == tuple("0123456789")


def test_first_training_samples_are_the_well_known_ones():
    mnist = load("mnist")
    assert mnist.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)  # the constant of every tutorial


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("how", ["plain", "gzip", "gzip without the suffix"])
def test_reads_torchvisions_layout(tmp_path, split, how):
    arrays = write_small_mnist(tmp_path)
    theirs = torchvision.datasets.MNIST(tmp_path, train=split == "train", download=False)
    if how != "plain":
        for path in list((tmp_path / "MNIST" / "raw").iterdir()):
            data = gzip.compress(path.read_bytes())
            path.unlink()
            path.with_name(path.name + (".gz" if how == "gzip" else "")).write_bytes(data)
    ours = load("mnist", split, data_dir=str(tmp_path))
    np.testing.assert_array_equal(ours.images[:, 0], theirs.data.numpy())
    np.testing.assert_array_equal(ours.labels, theirs.targets.numpy())
    np.testing.assert_array_equal(ours.images[:, 0], arrays[split][0])


@pytest.mark.parametrize("split", ["train", "test"])
def test_packaged_files_are_what_torchvision_reads(tmp_path, split):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for file in SHA256:
        (folder / file).write_bytes(gzip.decompress(packaged(file)))
    theirs = torchvision.datasets.MNIST(tmp_path, train=split == "train", download=False)
    ours = load("mnist", split)
    np.testing.assert_array_equal(ours.images[:, 0], theirs.data.numpy())
    np.testing.assert_array_equal(ours.labels, theirs.targets.numpy())


def test_argument_goes_before_environment_goes_before_package(tmp_path, monkeypatch):
    argument, environment = tmp_path / "argument", tmp_path / "environment"
    of_argument = write_small_mnist(argument)["test"][1]
    write_small_mnist(environment)
    labels_file = environment / "MNIST" / "raw" / FILES["test"][1]
    labels_file.write_bytes(idx_bytes(np.full(20, 7, np.uint8)))

    monkeypatch.setenv("SCRATCHNET_DATA", str(environment))
    assert load("mnist", "test").labels.tolist() == [7] * 20
    assert load("mnist", "test", argument).labels.tolist() == of_argument.tolist()
    for root in ("", str(tmp_path / "nowhere")):
        monkeypatch.setenv("SCRATCHNET_DATA", root)
        assert len(load("mnist", "test")) == 10_000


def test_tilde_in_the_data_root(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_small_mnist(tmp_path / "data")
    assert len(load("mnist", "test", "~/data")) == 20
    monkeypatch.setenv("SCRATCHNET_DATA", "~/data")
    assert len(load("mnist", "test")) == 20


def test_an_explicit_data_dir_without_mnist_is_an_error(tmp_path):
    folder = re.escape(str(tmp_path / "MNIST" / "raw"))
    message = f"expected {TRAIN_IMAGES} or {TRAIN_IMAGES}.gz in {folder}, got neither.*DATA_DIR/MNIST/raw/"
    with pytest.raises(DatasetNotFoundError, match=message) as caught:
        load("mnist", "train", tmp_path)
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("through", ["argument", "environment"])
@pytest.mark.parametrize("file", [TRAIN_IMAGES, TRAIN_LABELS])
def test_one_missing_file_is_an_error(tmp_path, monkeypatch, file, through):
    write_small_mnist(tmp_path)
    (tmp_path / "MNIST" / "raw" / file).unlink()
    monkeypatch.setenv("SCRATCHNET_DATA", str(tmp_path))
    with pytest.raises(DatasetNotFoundError, match=f"expected {file} or .*{re.escape(str(tmp_path))}"):
        load("mnist", "train", tmp_path if through == "argument" else None)


WRONG = {
    "fewer labels": (TRAIN_LABELS, np.zeros(29, np.uint8), f"expected 30 labels, .*{TRAIN_IMAGES}, got 29"),
    "more labels": (TRAIN_LABELS, np.zeros(31, np.uint8), "expected 30 labels, .*got 31"),
    "fewer images": (TRAIN_IMAGES, np.zeros((29, 28, 28), np.uint8), "expected 29 labels, .*got 30"),
    "a label of 10": (
        TRAIN_LABELS,
        np.array([9] * 20 + [10] * 10, np.uint8),
        "expected labels in 0 … 9, got 10 at position 20",
    ),
    "a label of 255": (
        TRAIN_LABELS,
        np.array([0] * 29 + [255], np.uint8),
        "expected labels in 0 … 9, got 255 at position 29",
    ),
    "other pixels": (
        TRAIN_IMAGES,
        np.zeros((30, 28, 32), np.uint8),
        "expected images of 28×28 pixels, got 28×32",
    ),
    "labels as images": (
        TRAIN_IMAGES,
        np.zeros(30, np.uint8),
        "wrong number of dimensions: expected 3, got 1",
    ),
    "images as labels": (
        TRAIN_LABELS,
        np.zeros((30, 28, 28), np.uint8),
        "wrong number of dimensions: expected 1, got 3",
    ),
}


@pytest.mark.parametrize(("file", "array", "cause"), WRONG.values(), ids=WRONG.keys())
def test_files_that_do_not_fit(tmp_path, file, array, cause):
    write_small_mnist(tmp_path)
    (tmp_path / "MNIST" / "raw" / file).write_bytes(idx_bytes(array))
    named = TRAIN_LABELS if "labels," in cause else file
    with pytest.raises(DatasetError, match=f"^{re.escape(str(tmp_path / 'MNIST' / 'raw' / named))}: .*{cause}"):
        load("mnist", "train", tmp_path)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown dataset 'minst'; expected one of .*'mnist'"):
        load("minst")
    with pytest.raises(ValueError, match="unknown split 'val'; expected one of 'train', 'test'"):
        load("mnist", "val")


def test_a_registered_dataset_is_found(monkeypatch):
    calls = []
    monkeypatch.setitem(DATASETS, "toy", lambda split, data_dir: calls.append((split, data_dir)))
    load("toy", "test", "root")
    assert calls == [("test", "root")]


def test_import_needs_only_numpy():
    code = (
        "import sys, scratchnet.datasets\n"
        "top = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(top & {'torch', 'torchvision', 'PIL', 'numba', 'cupy', 'matplotlib', 'tqdm'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
