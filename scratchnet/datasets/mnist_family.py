"""MNIST from the package or from a folder in torchvision's layout.

    DATA_DIR/MNIST/raw/{train,t10k}-images-idx3-ubyte[.gz]
    DATA_DIR/MNIST/raw/{train,t10k}-labels-idx1-ubyte[.gz]

The packaged files are those of Y. LeCun, C. Cortes and C. Burges (CC BY-SA 3.0).
"""

import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from scratchnet.datasets.base import (
    ArrayDataset,
    DatasetError,
    DatasetNotFoundError,
    check_labels,
    check_split,
)
from scratchnet.datasets.idx import read_idx

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CLASSES = tuple("0123456789")
IMAGE_SIZE = (28, 28)


def load_mnist(split: str = "train", data_dir: str | os.PathLike[str] | None = None) -> ArrayDataset:
    """The 60,000 training or 10,000 test images of handwritten digits, (N, 1, 28, 28).

    ``data_dir``, or else the environment variable ``SCRATCHNET_DATA``, names the data root. The packaged
    files are read when neither is given, and when the root of the environment has no folder ``MNIST/raw``.

    Raises:
        ValueError: an unknown split.
        DatasetNotFoundError: a file is missing.
        DatasetError: a file is damaged, the images are not 28×28, there is not one label for each image, or a
            label is no digit.
    """
    check_split("mnist", split, tuple(FILES))
    folder = _folder(data_dir)
    images_path, labels_path = (_find(folder, file, split) for file in FILES[split])

    images = read_idx(images_path, ndim=3)  # (N, 28, 28)
    if images.shape[1:] != IMAGE_SIZE:
        height, width = images.shape[1:]
        raise DatasetError(f"{images_path}: expected images of 28×28 pixels, got {height}×{width}")
    labels = read_idx(labels_path, ndim=1)  # (N,)
    if len(labels) != len(images):
        raise DatasetError(
            f"{labels_path}: expected {len(images)} labels, one for each image in {images_path}, got {len(labels)}"
        )
    check_labels(labels, len(CLASSES), labels_path)
    return ArrayDataset("mnist", split, images[:, None], labels, CLASSES)


def _folder(data_dir: str | os.PathLike[str] | None) -> "Traversable":
    if data_dir is not None:
        return Path(data_dir).expanduser() / "MNIST" / "raw"
    root = os.environ.get("SCRATCHNET_DATA")
    if root:
        folder = Path(root).expanduser() / "MNIST" / "raw"
        if folder.is_dir():
            return folder
    return resources.files("scratchnet.datasets") / "mnist"


def _find(folder: "Traversable", file: str, split: str) -> "Traversable":
    for name in (file, f"{file}.gz"):  # the plain one first: it needs no decompression
        path = folder / name
        if path.is_file():
            return path
    every_file = ", ".join(name for pair in FILES.values() for name in pair)
    raise DatasetNotFoundError(
        f"mnist {split}: expected {file} or {file}.gz in {folder}, got neither. The layout is "
        f"DATA_DIR/MNIST/raw/ with {every_file}, each plain or gzip-compressed (.gz). "
        f"Without a data directory the MNIST that comes with the package is read."
    )
