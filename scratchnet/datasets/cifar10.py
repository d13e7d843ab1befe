"""CIFAR-10 (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009) in both of its layouts.

    ROOT/cifar-10-batches-bin/{data_batch_1.bin … data_batch_5.bin,test_batch.bin}   the binary version
    ROOT/cifar-10-batches-py/{data_batch_1 … data_batch_5,test_batch}                the Python version, torchvision's

A binary file is a row of records: the label in one byte, then 1,024 bytes of red, green and blue each, row by row.
A Python batch is a pickled dict with ``data``, uint8 (N, 3072), and ``labels``, a list of N integers; it is read by
an interpreter that runs nothing of it (``batch_pickle``). The binary version is read if both are there.
"""

import os
from pathlib import Path

import numpy as np

from scratchnet.datasets.base import (
    ArrayDataset,
    DatasetError,
    DatasetNotFoundError,
    check_labels,
    check_split,
    read_file,
)
from scratchnet.datasets.batch_pickle import read_batch
from scratchnet.datasets.paths import data_root
from scratchnet.datasets.sources import by_hand, download_command

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
RECORD = 1 + PIXELS  # bytes
BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
BINARY, PYTHON = "cifar-10-batches-bin", "cifar-10-batches-py"


def load_cifar10(split: str = "train", data_dir: str | os.PathLike[str] | None = None) -> ArrayDataset:
    """The 50,000 training or 10,000 test images in ten classes, (N, 3, 32, 32), channels red, green, blue.

    Raises:
        ValueError: an unknown split.
        DatasetNotFoundError: neither layout is complete in the data root.
        DatasetError: a file is truncated or damaged, holds other arrays, a label outside 0 … 9 or other classes,
            or is a pickle that asks for more than arrays.
    """
    files = cifar10_files(split, data_dir)
    read = _read_binary if files[0].parent.name == BINARY else _read_python
    _check_class_names(files[0].parent)
    batches = [read(path) for path in files]
    images = np.concatenate([images for images, _ in batches])  # (N, 3, 32, 32)
    labels = np.concatenate([labels for _, labels in batches])  # (N,)
    return ArrayDataset("cifar10", split, images, labels, CLASSES)


def cifar10_files(split: str, data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """The batches of a split in the first layout that has all of them, or a DatasetNotFoundError."""
    check_split("cifar10", split, tuple(BATCHES))
    root = data_root(data_dir)
    layouts = (
        [root / BINARY / f"{batch}.bin" for batch in BATCHES[split]],
        [root / PYTHON / batch for batch in BATCHES[split]],
    )
    for files in layouts:
        if all(path.is_file() for path in files):
            return files
    looked_for = " or ".join(f"{', '.join(path.name for path in files)} in {files[0].parent}" for files in layouts)
    missing = [path.name for files in layouts if files[0].parent.is_dir() for path in files if not path.is_file()]
    got = f"{', '.join(missing)} missing" if missing else "neither folder"
    raise DatasetNotFoundError(
        f"cifar10 {split}: expected {looked_for}, got {got}. "
        f"`{download_command('cifar10', data_dir)}` downloads it. {by_hand('cifar10', data_dir)}"
    )


def _read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    data = read_file(path, "a binary CIFAR-10 batch")
    if len(data) % RECORD or not data:
        raise DatasetError(
            f"{path}: truncated or of another format: expected whole records of {RECORD} bytes "
            f"(a label and 3×32×32 pixels), got {len(data)} bytes"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    labels, images = records[:, 0], records[:, 1:].reshape(-1, *IMAGE_SHAPE)
    check_labels(labels, len(CLASSES), path)
    return images, labels


def _read_python(path: Path) -> tuple[np.ndarray, np.ndarray]:
    batch = read_batch(path)
    if not {"data", "labels"} <= set(batch):
        raise DatasetError(f"{path}: expected the keys 'data' and 'labels', got {sorted(batch)!r:.200}")
    data = batch["data"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS:
        got = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DatasetError(f"{path}: expected 'data' to be a uint8 array of shape (N, {PIXELS}), got {got}")
    labels = _labels(batch["labels"], path)
    if len(labels) != len(data) or not len(data):
        raise DatasetError(f"{path}: expected a label for each image, got {len(data)} images and {len(labels)} labels")
    return data.reshape(-1, *IMAGE_SHAPE), labels


def _labels(labels: object, path: Path) -> np.ndarray:
    if isinstance(labels, np.ndarray) and labels.ndim == 1:
        labels = labels.tolist()
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DatasetError(f"{path}: expected 'labels' to be a list of integers, got {type(labels).__name__} of others")
    array = np.array(labels, dtype=object)  # whatever the size of the integers
    check_labels(array, len(CLASSES), path)
    return array.astype(np.int64)


def _check_class_names(folder: Path) -> None:
    """Where a file says what the labels mean, it has to be what ``CLASSES`` says."""
    if (path := folder / "batches.meta.txt").is_file():
        names = read_file(path, "class names").decode("latin1").split()
    elif (path := folder / "batches.meta").is_file():
        names = _texts(read_batch(path).get("label_names"))
    else:
        return
    if tuple(names) != CLASSES:
        raise DatasetError(f"{path}: expected the classes {', '.join(CLASSES)}, got {', '.join(names)!r:.200}")


def _texts(values: object) -> list[str]:
    items = values if isinstance(values, list) else []
    texts = [item for item in items if isinstance(item, str | bytes)]
    return [text.decode("latin1") if isinstance(text, bytes) else text for text in texts]
