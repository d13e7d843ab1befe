"""Which datasets there are, by name."""

import os
from collections.abc import Callable

from scratchnet.datasets.base import ArrayDataset
from scratchnet.datasets.mnist_family import load_mnist

DATASETS: dict[str, Callable[[str, str | os.PathLike[str] | None], ArrayDataset]] = {
    "mnist": load_mnist,
}


def load(name: str, split: str = "train", data_dir: str | os.PathLike[str] | None = None) -> ArrayDataset:
    """A dataset by its name.

    Args:
        name: a key of ``DATASETS``, e.g. ``"mnist"``.
        split: ``"train"`` or ``"test"``.
        data_dir: the data root. Without it, the environment variable ``SCRATCHNET_DATA`` names the root, and
            MNIST, which comes with the package, needs none.

    Raises:
        ValueError: an unknown name or split; the message lists the known ones.
        DatasetNotFoundError: a file is missing.
        DatasetError: a file is damaged or holds something else.

    Example:
        >>> load("mnist", "test")
        ArrayDataset('mnist', 'test', images=uint8 (10000, 1, 28, 28), labels=int64 (10000,), 10 classes)
    """
    if name not in DATASETS:
        raise ValueError(f"unknown dataset {name!r}; expected one of {', '.join(map(repr, sorted(DATASETS)))}")
    return DATASETS[name](split, data_dir)
