import numpy as np
import pytest

from scratchnet.datasets import ArrayDataset, DatasetError


def make(images=None, labels=None, classes=("a", "b", "c")):
    images = np.zeros((4, 1, 2, 3), np.uint8) if images is None else images
    labels = np.array([0, 1, 2, 1]) if labels is None else labels
    return ArrayDataset("toy", "train", images, labels, classes)


def test_arrays_are_contiguous_read_only_and_the_callers_stay_writable():
    images = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2, 1).transpose(0, 3, 2, 1)  # (4, 1, 2, 3)
    labels = np.array([0, 1, 2, 1], np.uint8)
    dataset = make(images, labels)
    np.testing.assert_array_equal(dataset.images, images)
    assert dataset.images.dtype == np.uint8
    assert dataset.images.flags.c_contiguous
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.tolist() == [0, 1, 2, 1]
    for array in (dataset.images, dataset.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    contiguous = np.zeros((4, 1, 2, 3), np.uint8)
    make(contiguous, dataset.labels)
    assert contiguous.flags.writeable


def test_is_frozen():
    with pytest.raises(AttributeError):
        make().name = "other"


def test_len_and_repr():
    assert len(make()) == 4
    assert repr(make()) == ("ArrayDataset('toy', 'train', images=uint8 (4, 1, 2, 3), labels=int64 (4,), 3 classes)")


@pytest.mark.parametrize("n", [0, 1, 4])
def test_subset_is_the_first_n(n):
    images = np.arange(24, dtype=np.uint8).reshape(4, 1, 2, 3)
    dataset = make(images)
    subset = dataset.subset(n)
    assert len(subset) == n
    np.testing.assert_array_equal(subset.images, images[:n])
    assert subset.labels.tolist() == [0, 1, 2, 1][:n]
    assert (subset.name, subset.split, subset.classes) == ("toy", "train", ("a", "b", "c"))
    assert n == 0 or np.shares_memory(subset.images, dataset.images)


@pytest.mark.parametrize("n", [-1, 5])
def test_subset_rejects_what_is_not_there(n):
    with pytest.raises(ValueError, match=f"between 0 and 4 .*got {n}"):
        make().subset(n)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((4, 1, 2, 3), np.float32)}, "uint8 .* got float32"),
        ({"images": np.zeros((4, 2, 3), np.uint8)}, r"\(N, C, H, W\), got uint8 and shape \(4, 2, 3\)"),
        ({"labels": np.zeros(4)}, "integer labels .* got float64"),
        ({"labels": np.zeros((4, 1), int)}, r"got int64 and shape \(4, 1\)"),
        ({"labels": np.zeros(3, int)}, "each of 4 images, got 3 labels"),
        ({"labels": np.array([0, 1, 3, 4])}, "labels in 0 … 2, got 3 at position 2"),
        ({"labels": np.array([0, 1, 2, -1])}, "labels in 0 … 2, got -1 at position 3"),
    ],
)
def test_rejects_wrong_arrays(changes, message):
    with pytest.raises(DatasetError, match=f"toy train: expected .*{message}"):
        make(**changes)
