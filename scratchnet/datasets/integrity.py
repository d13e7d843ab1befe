"""Whether a dataset can be read, and whether it is the published one."""

import gzip
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scratchnet.datasets.base import ArrayDataset, DatasetError, DatasetNotFoundError
from scratchnet.datasets.cifar10 import BINARY
from scratchnet.datasets.registry import dataset_files, folder_path, load
from scratchnet.datasets.sources import SOURCES, Source

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

# No checksums are published for the files of CIFAR-10's binary version, but the means of the channels are known to the
# last digit, in training (125.306918046875, 122.950394140625, 113.86538318359375) and test
# (126.02464140625, 123.70850419921875, 114.85431865234375). Times the number of pixels, they are these sums.
CIFAR10_SUMS = {
    "train": [6_415_714_204, 6_295_060_180, 5_829_907_619],
    "test": [1_290_492_328, 1_266_775_083, 1_176_108_223],
}


@dataclass(frozen=True)
class Verification:
    """What ``verify`` found in one split.

    Args:
        readable: it could be loaded.
        published: it is the published data; None where there is nothing to compare with.
        message: a sentence that says both.
        problems: files that differ from the published ones, or the error that loading raised.
    """

    readable: bool
    published: bool | None
    message: str
    problems: tuple[str, ...] = ()


def verify(name: str, split: str, data_dir: str | os.PathLike[str] | None = None) -> Verification:
    """Read a split as ``load`` does, and compare its files with the published checksums where they are known.

    Data that can be read and are not the published ones are no error: a copy may have been compressed again, or
    be a part of the whole.

    Raises:
        ValueError: an unknown dataset or split.
        DatasetNotFoundError: the dataset is not there.
    """
    files = dataset_files(name, split, data_dir) if folder_path(name) is None and name in SOURCES else []
    try:
        dataset = load(name, split, data_dir)
    except DatasetNotFoundError:
        raise
    except DatasetError as error:
        return Verification(False, False, "unreadable", (str(error),))
    found = f"readable: {len(dataset):,} images {'×'.join(map(str, dataset.images.shape[1:]))}"
    found += f" in {len(dataset.classes)} classes"
    if not files:
        return Verification(True, None, found)
    source = SOURCES[name]
    differences, unknown = _compare(files, source, dataset)
    expected = source.images[split == "test"]
    if len(dataset) != expected:
        differences.append(f"{len(dataset):,} images instead of {expected:,}")
    if differences:
        return Verification(True, False, f"{found}, but not the published files", tuple(differences))
    if unknown:
        return Verification(True, None, f"{found}; no published checksum for {', '.join(unknown)}")
    how = "with the published sums of pixels" if _is_binary_cifar10(files) else "the published data"
    return Verification(True, True, f"{found}, {how}")


def _compare(files: "list[Traversable]", source: Source, dataset: ArrayDataset) -> tuple[list[str], list[str]]:
    """The files that differ, and those of which nothing is published."""
    if _is_binary_cifar10(files):
        sums = [int(sum_) for sum_ in dataset.images.sum(axis=(0, 2, 3), dtype="uint64")]
        differ = sums != CIFAR10_SUMS[dataset.split]
        return (["the sums of the pixels differ"] if differ else []), []
    differences, unknown = [], []
    for file in files:
        same = _is_published(file, source)
        if same is None:
            unknown.append(file.name)
        elif not same:
            differences.append(f"{file}: another checksum")
    return differences, unknown


def _is_binary_cifar10(files: "list[Traversable]") -> bool:
    return isinstance(files[0], Path) and files[0].parent.name == BINARY


def _is_published(file: "Traversable", source: Source) -> bool | None:
    data = file.read_bytes()
    checksums = {**source.downloads, **source.members, **source.unpacked}
    if _has(data, checksums.get(file.name)):
        return True
    plain = file.name.removesuffix(".gz")
    if file.name in source.downloads and plain in source.unpacked:  # the same content, compressed again
        return _has(gzip.decompress(data), source.unpacked[plain])
    return False if file.name in checksums else None


def _has(data: bytes, checksum: str | None) -> bool:
    if checksum is None:
        return False
    algorithm, _, expected = checksum.partition(":")
    return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest() == expected
