import hashlib
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torchvision
from dataset_files import (
    CIFAR10_BATCHES,
    CIFAR10_CLASSES,
    cifar10_arrays,
    python2_batch,
    python2_pickle,
    write_cifar10_binary,
    write_cifar10_python,
)

from scratchnet.datasets import DatasetError, DatasetNotFoundError, load
from scratchnet.datasets.sources import SOURCES

REAL = os.environ.get("SCRATCHNET_DATA", "")
WRITERS = {"binary": write_cifar10_binary, "python": write_cifar10_python}
ARRAYS = cifar10_arrays()
PIXELS = np.zeros((4, 3072), np.uint8)


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch, tmp_path):
    monkeypatch.delenv("SCRATCHNET_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no cache"))


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_both_layouts(tmp_path, layout, split):
    WRITERS[layout](tmp_path, ARRAYS)
    cifar10 = load("cifar10", split, tmp_path)
    batches = [ARRAYS[batch] for batch in CIFAR10_BATCHES[split]]
    np.testing.assert_array_equal(cifar10.images, np.concatenate([images for images, _ in batches]))
    np.testing.assert_array_equal(cifar10.labels, np.concatenate([labels for _, labels in batches]))
    assert cifar10.images.dtype == np.uint8
    assert cifar10.images.shape == (20 if split == "train" else 4, 3, 32, 32)
    assert cifar10.labels.dtype == np.int64
    assert cifar10.classes == tuple(CIFAR10_CLASSES)


@pytest.mark.parametrize("split", ["train", "test"])
def test_python_layout_is_what_torchvision_reads(tmp_path, monkeypatch, split):
    write_cifar10_python(tmp_path, ARRAYS)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    theirs = torchvision.datasets.CIFAR10(tmp_path, train=split == "train")
    ours = load("cifar10", split, tmp_path)
    np.testing.assert_array_equal(ours.images, theirs.data.transpose(0, 3, 1, 2))
    assert ours.labels.tolist() == theirs.targets
    assert list(ours.classes) == theirs.classes


def test_the_batches_of_these_tests_are_written_as_the_published_ones_are(tmp_path):
    """The one published file whose content is known in full comes out the same to the last byte."""
    meta = write_cifar10_python(tmp_path, ARRAYS) / "batches.meta"
    assert f"md5:{hashlib.md5(meta.read_bytes()).hexdigest()}" == SOURCES["cifar10"].members["batches.meta"]


def test_a_binary_record_is_label_red_green_blue(tmp_path):
    folder = write_cifar10_binary(tmp_path, ARRAYS)
    record = bytes([7]) + bytes([1]) * 31 + bytes([9]) + bytes([1]) * 992 + bytes([2]) * 1024 + bytes([3]) * 1024
    (folder / "test_batch.bin").write_bytes(record)
    cifar10 = load("cifar10", "test", tmp_path)
    assert cifar10.labels.tolist() == [7]
    assert cifar10.images[0, 0, 0, 31] == 9
    assert [np.bincount(channel.ravel()).argmax() for channel in cifar10.images[0]] == [1, 2, 3]


def test_binary_goes_first_and_an_incomplete_folder_is_passed_over(tmp_path):
    write_cifar10_python(tmp_path, cifar10_arrays(seed=1))
    folder = write_cifar10_binary(tmp_path, ARRAYS)
    np.testing.assert_array_equal(load("cifar10", "test", tmp_path).images, ARRAYS["test_batch"][0])
    (folder / "test_batch.bin").unlink()
    np.testing.assert_array_equal(load("cifar10", "test", tmp_path).images, cifar10_arrays(seed=1)["test_batch"][0])


def test_data_roots_in_their_order(tmp_path, monkeypatch):
    roots = {
        name: tmp_path / name for name in ("argument", "environment", "cache/scratchnet", "home/.cache/scratchnet")
    }
    for seed, root in enumerate(roots.values()):
        write_cifar10_binary(root, cifar10_arrays(seed))

    def seed_of(**options):
        images = load("cifar10", "test", **options).images
        return [np.array_equal(images, cifar10_arrays(seed)["test_batch"][0]) for seed in range(4)].index(True)

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCRATCHNET_DATA", str(roots["environment"]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert seed_of(data_dir=str(roots["argument"])) == 0
    assert seed_of() == 1
    monkeypatch.setenv("SCRATCHNET_DATA", "")
    assert seed_of() == 2
    for value in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert seed_of() == 3
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert seed_of() == 3


def test_a_missing_dataset_says_where_and_how(tmp_path):
    with pytest.raises(DatasetNotFoundError) as caught:
        load("cifar10", "train", tmp_path)
    message = str(caught.value)
    for part in (
        f"data_batch_5.bin in {tmp_path / 'cifar-10-batches-bin'}",
        f"data_batch_5 in {tmp_path / 'cifar-10-batches-py'}",
        "got neither folder",
        f"`python -m scratchnet.data download cifar10 --data-dir {tmp_path}`",
        "fetch cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/",
        f"put it into {tmp_path}",
    ):
        assert part in message
    with pytest.raises(DatasetNotFoundError, match=r"`python -m scratchnet.data download cifar10` downloads it"):
        load("cifar10", "train")


@pytest.mark.parametrize(("layout", "file"), [("binary", "data_batch_3.bin"), ("python", "data_batch_3")])
def test_a_missing_batch_is_named(tmp_path, layout, file):
    (WRITERS[layout](tmp_path, ARRAYS) / file).unlink()
    with pytest.raises(DatasetNotFoundError, match=f"got {re.escape(file)} missing"):
        load("cifar10", "train", tmp_path)
    assert len(load("cifar10", "test", tmp_path)) == 4


RECORD = bytes(3073)
WRONG_BINARY = {
    "empty": (b"", "expected whole records of 3073 bytes .*got 0 bytes"),
    "truncated": (RECORD * 3 + RECORD[:-1], "expected whole records of 3073 bytes .*got 12291 bytes"),
    "too long": (RECORD * 3 + b"\n", "expected whole records .*got 9220 bytes"),
    "CIFAR-100": (bytes(3074) * 4, "expected whole records .*got 12296 bytes"),
    "a label of 10": (RECORD * 2 + b"\x0a" + bytes(3072), "labels in 0 … 9, got 10 at position 2"),
    "a label of 255": (b"\xff" + bytes(3072), "labels in 0 … 9, got 255 at position 0"),
}


@pytest.mark.parametrize(("data", "cause"), WRONG_BINARY.values(), ids=WRONG_BINARY.keys())
def test_wrong_binary_batches(tmp_path, data, cause):
    path = write_cifar10_binary(tmp_path, ARRAYS) / "data_batch_4.bin"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=f"^{re.escape(str(path))}: .*{cause}"):
        load("cifar10", "train", tmp_path)


WRONG_PYTHON = {
    "truncated": (python2_batch(PIXELS, [0, 1, 2, 3])[:-100], "damaged"),
    "another global": (pickle.dumps({"data": Path("x")}, 2), r"refused: .*pathlib"),
    "no labels": (python2_pickle({"data": PIXELS}), r"expected the keys 'data' and 'labels', got \['data'\]"),
    "CIFAR-100": (python2_pickle({"data": PIXELS, "fine_labels": [1]}), "got .*'fine_labels'"),
    "fewer labels": (python2_batch(PIXELS, [0, 1, 2]), "got 4 images and 3 labels"),
    "no images": (python2_batch(PIXELS[:0], []), "got 0 images and 0 labels"),
    "other pixels": (python2_batch(PIXELS[:, :-1], [0, 1, 2, 3]), r"shape \(N, 3072\), got uint8 \(4, 3071\)"),
    "images of four dimensions": (
        python2_batch(PIXELS.reshape(4, 3, 32, 32), [0, 1, 2, 3]),
        r"got uint8 \(4, 3, 32, 32\)",
    ),
    "wide pixels": (python2_batch(PIXELS.astype("<i4"), [0, 1, 2, 3]), r"got int32 \(4, 3072\)"),
    "a list of pixels": (python2_pickle({"data": [1, 2], "labels": [0, 1]}), "uint8 array .*got list"),
    "a label of 10": (python2_batch(PIXELS, [0, 1, 10, 3]), "labels in 0 … 9, got 10 at position 2"),
    "a label of -1": (python2_batch(PIXELS, [0, 1, 2, -1]), "labels in 0 … 9, got -1 at position 3"),
    "a huge label": (pickle.dumps({"data": PIXELS, "labels": [0, 1, 2, 2**80]}, 2), "labels in 0 … 9, got 12089"),
    "labels of text": (pickle.dumps({"data": PIXELS, "labels": ["a"] * 4}, 2), "'labels' to be a list of integers"),
    "labels of bools": (pickle.dumps({"data": PIXELS, "labels": [True] * 4}, 2), "'labels' to be a list of integers"),
}


@pytest.mark.parametrize(("data", "cause"), WRONG_PYTHON.values(), ids=WRONG_PYTHON.keys())
def test_wrong_python_batches(tmp_path, data, cause):
    path = write_cifar10_python(tmp_path, ARRAYS) / "data_batch_4"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=f"^{re.escape(str(path))}: .*{cause}"):
        load("cifar10", "train", tmp_path)


def test_labels_as_an_array(tmp_path):
    path = write_cifar10_python(tmp_path, ARRAYS) / "test_batch"
    path.write_bytes(pickle.dumps({"data": PIXELS, "labels": np.array([3, 1, 4, 1])}, 4))
    assert load("cifar10", "test", tmp_path).labels.tolist() == [3, 1, 4, 1]


@pytest.mark.parametrize("layout", WRITERS)
def test_class_names_are_compared_where_they_are_given(tmp_path, layout):
    folder = WRITERS[layout](tmp_path, ARRAYS)
    path = folder / ("batches.meta.txt" if layout == "binary" else "batches.meta")
    swapped = ["automobile", "airplane", *CIFAR10_CLASSES[2:]]
    data = "\n".join(swapped).encode() if layout == "binary" else python2_pickle({"label_names": swapped})
    path.write_bytes(data)
    with pytest.raises(
        DatasetError, match=f"^{re.escape(str(path))}: expected the classes airplane, .*automobile, air"
    ):
        load("cifar10", "test", tmp_path)
    path.write_bytes(b"" if layout == "binary" else python2_pickle({"label_names": 3}))
    with pytest.raises(DatasetError, match=r"expected the classes airplane, .*got ''"):
        load("cifar10", "test", tmp_path)
    path.unlink()
    assert len(load("cifar10", "test", tmp_path)) == 4


def test_unknown_split():
    with pytest.raises(ValueError, match="cifar10: unknown split 'val'; expected one of 'train', 'test'"):
        load("cifar10", "val")


@pytest.mark.skipif(
    not any((Path(REAL or "/nowhere") / folder).is_dir() for folder in ("cifar-10-batches-bin", "cifar-10-batches-py")),
    reason="SCRATCHNET_DATA names no folder with CIFAR-10",
)
@pytest.mark.parametrize(("split", "n"), [("train", 50_000), ("test", 10_000)])
def test_real_cifar10(split, n):
    cifar10 = load("cifar10", split, REAL)
    assert cifar10.images.shape == (n, 3, 32, 32)
    assert np.bincount(cifar10.labels).tolist() == [n // 10] * 10
    # the constants of every tutorial, to what a JPEG copy keeps of them
    np.testing.assert_allclose(cifar10.images.mean(axis=(0, 2, 3)) / 255, [0.4914, 0.4822, 0.4465], atol=5e-3)
