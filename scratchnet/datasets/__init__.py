"""Datasets as uint8 arrays, transforms over whole batches, and a loader that can be resumed.

Example:
    >>> train = load("mnist", "train")
    >>> loader = DataLoader(train, batch_size=50, shuffle=True, rng=0, transform=ToFloat())
    >>> x, labels = next(iter(loader))
    >>> x.shape, x.dtype, labels.shape
    ((50, 1, 28, 28), dtype('float32'), (50,))
"""

from scratchnet.datasets.base import ArrayDataset, DatasetError, DatasetNotFoundError, DownloadError
from scratchnet.datasets.downloads import download
from scratchnet.datasets.folder import FolderDataset, load_folder
from scratchnet.datasets.integrity import Verification, verify
from scratchnet.datasets.loader import DataLoader
from scratchnet.datasets.paths import data_root
from scratchnet.datasets.random_transforms import RandomCrop, RandomHorizontalFlip, crop, hflip
from scratchnet.datasets.registry import DATASETS, load
from scratchnet.datasets.transforms import Compose, Normalize, ToFloat

__all__ = [
    "DATASETS",
    "ArrayDataset",
    "Compose",
    "DataLoader",
    "DatasetError",
    "DatasetNotFoundError",
    "DownloadError",
    "FolderDataset",
    "Normalize",
    "RandomCrop",
    "RandomHorizontalFlip",
    "ToFloat",
    "Verification",
    "crop",
    "data_root",
    "download",
    "hflip",
    "load",
    "load_folder",
    "verify",
]
