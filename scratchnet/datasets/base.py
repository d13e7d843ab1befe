"""A labelled image dataset held in memory, and the errors that datasets raise."""

import operator
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


class DatasetError(ValueError):
    """A dataset's file or array is wrong. The message names it, what was expected and what came."""


class DatasetNotFoundError(DatasetError, FileNotFoundError):
    """A dataset's file is missing. The message says where it was looked for and which layout is expected."""


class DownloadError(DatasetError, ConnectionError):
    """No mirror delivered a file. The message says what each of them did, and how to place the file by hand."""


@dataclass(frozen=True, eq=False, repr=False)
class ArrayDataset:
    """Images and their labels as two read-only arrays. Pixels stay bytes until a batch is drawn.

    Args:
        name: the dataset, e.g. ``"mnist"``.
        split: ``"train"`` or ``"test"``.
        images: uint8, pixel values 0 … 255.
        labels: integers, each an index into ``classes``; kept as int64.
        classes: the name of each class.

    Shape:
        - images: (N, C, H, W)
        - labels: (N,)

    The arrays are made C-contiguous where they are not, and the dataset's views of them are read-only;
    the caller's own arrays keep their flags.

    Raises:
        DatasetError: wrong dtype or number of dimensions, different lengths, or a label outside ``classes``.
    """

    name: str
    split: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        where = f"{self.name} {self.split}"
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DatasetError(
                f"{where}: expected images of dtype uint8 and shape (N, C, H, W), "
                f"got {images.dtype} and shape {images.shape}"
            )
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise DatasetError(
                f"{where}: expected integer labels of shape (N,), got {labels.dtype} and shape {labels.shape}"
            )
        if len(images) != len(labels):
            raise DatasetError(f"{where}: expected a label for each of {len(images)} images, got {len(labels)} labels")
        check_labels(labels, len(self.classes), where)
        object.__setattr__(self, "images", _read_only(images))
        object.__setattr__(self, "labels", _read_only(labels.astype(np.int64)))
        object.__setattr__(self, "classes", tuple(self.classes))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, {self.split!r}, images=uint8 {self.images.shape}, "
            f"labels=int64 {self.labels.shape}, {len(self.classes)} classes)"
        )

    def subset(self, n: int) -> "ArrayDataset":
        """The first ``n`` samples, sharing memory with this dataset.

        Raises:
            ValueError: ``n`` is negative or more than there are.
        """
        n = operator.index(n)
        if not 0 <= n <= len(self):
            raise ValueError(f"subset: expected n between 0 and {len(self)} ({self.name} {self.split}), got {n}")
        return replace(self, images=self.images[:n], labels=self.labels[:n])


def read_file(path: "Traversable", kind: str) -> bytes:
    """A file's bytes, or a DatasetError that names the file; ``kind`` is what it was expected to be."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DatasetNotFoundError(f"{path}: expected {kind}, got no such file") from None
    except OSError as error:
        cause = os.strerror(error.errno) if error.errno else str(error)
        raise DatasetError(f"{path}: expected a readable file, got: {cause}") from error


def check_labels(labels: np.ndarray, n_classes: int, where: object) -> None:
    """Raise a DatasetError that names the first label outside 0 … n_classes − 1 and its position."""
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if wrong.size:
        position = int(wrong[0])
        raise DatasetError(
            f"{where}: expected labels in 0 … {n_classes - 1}, got {labels[position]} at position {position}"
        )


def check_split(name: str, split: str, known: tuple[str, ...]) -> None:
    """Raise a ValueError that lists the splits a dataset has, if ``split`` is none of them."""
    if split not in known:
        raise ValueError(f"{name}: unknown split {split!r}; expected one of {', '.join(map(repr, known))}")


def _read_only(array: np.ndarray) -> np.ndarray:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
