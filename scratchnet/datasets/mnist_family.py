"""MNIST, Fashion-MNIST and KMNIST: one file format, three folders in torchvision's layout.

    ROOT/{MNIST,FashionMNIST,KMNIST}/raw/{train,t10k}-images-idx3-ubyte[.gz]
    ROOT/{MNIST,FashionMNIST,KMNIST}/raw/{train,t10k}-labels-idx1-ubyte[.gz]

MNIST also comes with the package; those files are by Y. LeCun, C. Cortes and C. Burges (CC BY-SA 3.0).
"""

import os
from importlib import resources
from typing import TYPE_CHECKING

from scratchnet.datasets.base import ArrayDataset, DatasetError, DatasetNotFoundError, check_labels, check_split
from scratchnet.datasets.idx import read_idx
from scratchnet.datasets.paths import data_root
from scratchnet.datasets.sources import SOURCES, by_hand, download_command

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}
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
    return _load("mnist", split, data_dir)


def load_fashion_mnist(split: str = "train", data_dir: str | os.PathLike[str] | None = None) -> ArrayDataset:
    """Zalando's 60,000 training or 10,000 test images of clothes (H. Xiao et al., 2017), (N, 1, 28, 28).

    Raises as ``load_mnist`` does; the files are looked for in the data root.
    """
    return _load("fashion_mnist", split, data_dir)


def load_kmnist(split: str = "train", data_dir: str | os.PathLike[str] | None = None) -> ArrayDataset:
    """60,000 training or 10,000 test images of ten Hiragana (T. Clanuwat et al., 2018), (N, 1, 28, 28).

    Raises as ``load_mnist`` does; the files are looked for in the data root.
    """
    return _load("kmnist", split, data_dir)


def idx_files(name: str, split: str, data_dir: str | os.PathLike[str] | None) -> list["Traversable"]:
    """The image file and the label file of a split, or a DatasetNotFoundError."""
    check_split(name, split, tuple(FILES))
    folder = _folder(name, data_dir)
    return [_find(name, folder, file, split, data_dir) for file in FILES[split]]


def _load(name: str, split: str, data_dir: str | os.PathLike[str] | None) -> ArrayDataset:
    images_path, labels_path = idx_files(name, split, data_dir)
    images = read_idx(images_path, ndim=3)  # (N, 28, 28)
    if images.shape[1:] != IMAGE_SIZE:
        height, width = images.shape[1:]
        raise DatasetError(f"{images_path}: expected images of 28×28 pixels, got {height}×{width}")
    labels = read_idx(labels_path, ndim=1)  # (N,)
    if len(labels) != len(images):
        raise DatasetError(
            f"{labels_path}: expected {len(images)} labels, one for each image in {images_path}, got {len(labels)}"
        )
    check_labels(labels, len(CLASSES[name]), labels_path)
    return ArrayDataset(name, split, images[:, None], labels, CLASSES[name])


def _folder(name: str, data_dir: str | os.PathLike[str] | None) -> "Traversable":
    packaged = resources.files("scratchnet.datasets") / "mnist"
    if name == "mnist" and data_dir is None and not os.environ.get("SCRATCHNET_DATA"):
        return packaged
    folder = data_root(data_dir) / SOURCES[name].folder
    return packaged if name == "mnist" and data_dir is None and not folder.is_dir() else folder


def _find(
    name: str, folder: "Traversable", file: str, split: str, data_dir: str | os.PathLike[str] | None
) -> "Traversable":
    for candidate in (file, f"{file}.gz"):  # the plain one first: it needs no decompression
        path = folder / candidate
        if path.is_file():
            return path
    every_file = ", ".join(name for pair in FILES.values() for name in pair)
    message = (
        f"{name} {split}: expected {file} or {file}.gz in {folder}, got neither. The layout is "
        f"DATA_DIR/{SOURCES[name].folder}/ with {every_file}, each plain or gzip-compressed (.gz). "
        f"`{download_command(name, data_dir)}` downloads them. {by_hand(name, data_dir)}"
    )
    if name == "mnist":
        message += " Without a data directory the MNIST that comes with the package is read."
    raise DatasetNotFoundError(message)
