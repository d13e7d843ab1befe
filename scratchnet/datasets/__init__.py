"""Datasets as uint8 arrays, transforms over whole batches, and a loader that can be resumed.

Example:
    >>> train = load("mnist", "train")
    >>> loader = DataLoader(train, batch_size=50, shuffle=True, rng=0, transform=ToFloat())
    >>> x, labels = next(iter(loader))
    >>> x.shape, x.dtype, labels.shape
    ((50, 1, 28, 28), dtype('float32'), (50,))
"""

from scratchnet.datasets.base import ArrayDataset, DatasetError, DatasetNotFoundError
from scratchnet.datasets.loader import DataLoader
from scratchnet.datasets.registry import DATASETS, load
from scratchnet.datasets.transforms import Compose, Normalize, ToFloat

__all__ = [
    "DATASETS",
    "ArrayDataset",
    "Compose",
    "DataLoader",
    "DatasetError",
    "DatasetNotFoundError",
    "Normalize",
    "ToFloat",
    "load",
]
