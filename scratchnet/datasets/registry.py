"""Which datasets there are, by name."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scratchnet.datasets.base import ArrayDataset
from scratchnet.datasets.cifar10 import cifar10_files, load_cifar10
from scratchnet.datasets.folder import load_folder
from scratchnet.datasets.mnist_family import idx_files, load_fashion_mnist, load_kmnist, load_mnist

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

DATASETS: dict[str, Callable[[str, str | os.PathLike[str] | None], ArrayDataset]] = {
    "mnist": load_mnist,
    "fashion_mnist": load_fashion_mnist,
    "kmnist": load_kmnist,
    "cifar10": load_cifar10,
}
FOLDER = "folder:"


def load(
    name: str, split: str = "train", data_dir: str | os.PathLike[str] | None = None, **options: Any
) -> ArrayDataset:
    """A dataset by its name. Nothing is ever downloaded by this.

    Args:
        name: a key of ``DATASETS``, e.g. ``"mnist"``, or ``"folder:PATH"`` for images of your own.
        split: ``"train"`` or ``"test"``.
        data_dir: the data root. Without it, the environment variable ``SCRATCHNET_DATA`` names the root, or else
            it is ``$XDG_CACHE_HOME/scratchnet`` (``~/.cache/scratchnet``). MNIST, which comes with the package,
            needs none.
        options: ``size``, ``mode`` and ``strict`` of a folder, see ``load_folder``.

    Raises:
        ValueError: an unknown name or split; the message lists the known ones.
        TypeError: a name that is no text, or an option that the dataset does not have.
        DatasetNotFoundError: a file is missing; the message says where it was looked for and how to get it.
        DatasetError: a file is damaged or holds something else.

    Example:
        >>> load("mnist", "test")
        ArrayDataset('mnist', 'test', images=uint8 (10000, 1, 28, 28), labels=int64 (10000,), 10 classes)
    """
    if not isinstance(name, str):
        raise TypeError(f"load: expected a dataset's name, got {name!r}")
    path = folder_path(name)
    if path is not None:
        return load_folder(path, split, data_dir, **options)
    if name not in DATASETS:
        known = ", ".join(map(repr, sorted(DATASETS)))
        raise ValueError(f"unknown dataset {name!r}; expected one of {known} or 'folder:PATH'")
    if options:
        raise TypeError(f"{name}: expected no options, which are for 'folder:PATH', got {', '.join(options)}")
    return DATASETS[name](split, data_dir)


def folder_path(name: str) -> str | None:
    """PATH of ``"folder:PATH"``, None for any other name."""
    if not name.startswith(FOLDER):
        return None
    path = name.removeprefix(FOLDER)
    if not path:
        raise ValueError("expected 'folder:PATH' with the path of your images, got 'folder:'")
    return path


def dataset_files(name: str, split: str, data_dir: str | os.PathLike[str] | None = None) -> "list[Traversable]":
    """The files that ``load`` would read for a key of ``DATASETS``, or a DatasetNotFoundError."""
    return [*cifar10_files(split, data_dir)] if name == "cifar10" else idx_files(name, split, data_dir)
