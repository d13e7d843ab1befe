"""A folder of the user's own images, one directory for each class.

    PATH/train/CLASS/*  and  PATH/test/CLASS/*      or      PATH/CLASS/*

Directory names, sorted, are the classes. In the first layout those of ``train`` count. In the second, every class is
split by itself: its files are ranked by the SHA-256 of their path below the class directory, and the first
fifth (rounded down, at least one of two) is the test split. So the split is the same on every machine, and adding
files moves few of the others.
"""

import hashlib
import os
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scratchnet.datasets.base import ArrayDataset, DatasetError, DatasetNotFoundError, check_split

SPLITS = ("train", "test")
CHANNELS = {"L": 1, "RGB": 3}
LITTER = ("thumbs.db", "desktop.ini")
LAYOUT = "PATH/train/CLASS/* and PATH/test/CLASS/*, or PATH/CLASS/*"


@dataclass(frozen=True, eq=False, repr=False)
class FolderDataset(ArrayDataset):
    """An ``ArrayDataset`` that also knows which files could not be read, each with the reason."""

    skipped: tuple[str, ...] = ()


def load_folder(
    path: str | os.PathLike[str],
    split: str = "train",
    data_dir: str | os.PathLike[str] | None = None,
    size: int | tuple[int, int] = (28, 28),
    mode: str = "L",
    strict: bool = False,
) -> FolderDataset:
    """The images below ``path``, decoded by Pillow and scaled to one size, (N, C, H, W).

    Args:
        path: the folder; a relative one is looked for in ``data_dir`` if that is given.
        split: ``"train"`` or ``"test"``.
        size: (H, W), or one number for both. Images are stretched to it by Pillow's bilinear filter, as by
            torchvision's ``Resize((H, W))``.
        mode: ``"L"`` for one grey channel, ``"RGB"`` for three.
        strict: a file that cannot be read is an error. Otherwise it is left out, with a warning, and listed in
            the dataset's ``skipped``.

    Files and directories whose names start with a dot or ``__`` are left out. Images are turned as their EXIF
    orientation says, transparency is dropped, and of 16-bit greys the upper eight bits are kept.

    Raises:
        ValueError: an unknown split or mode, or a size below 1.
        TypeError: a size that is neither an int nor two of them.
        DatasetNotFoundError: ``path`` or its split is no directory.
        DatasetError: fewer than two classes, a training class without an image, no image at all, a test class
            that the training split does not have, or, with ``strict``, a file that cannot be read.
    """
    check_split("folder", split, SPLITS)
    height, width = _size(size)
    if mode not in CHANNELS:
        raise ValueError(f"folder: expected mode 'L' or 'RGB', got {mode!r}")
    root = (Path() if data_dir is None else Path(data_dir).expanduser()) / Path(path).expanduser()
    classes, files = _listing(root, split)

    images, labels, skipped = [], [], []
    for label, name in enumerate(classes):
        for file in files[name]:
            try:
                images.append(_decode(file, height, width, mode))
            except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
                reason = f"{file}: {_reason(error)}"
                if strict:
                    raise DatasetError(f"{reason}; expected an image") from error
                skipped.append(reason)
            else:
                labels.append(label)
    _check_images(root, split, classes, labels, skipped)
    if skipped:
        warnings.warn(
            f"{root}: {len(skipped)} of {len(skipped) + len(images)} {split} files left out: {_shortened(skipped)}",
            stacklevel=2,
        )
    return FolderDataset(f"folder:{path}", split, np.stack(images), np.array(labels), classes, tuple(skipped))


def _size(size: int | tuple[int, int]) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, (tuple, list)) else ()
    if len(pair) != 2 or not all(type(side) is int for side in pair):
        raise TypeError(f"folder: expected size to be an int or (height, width), got {size!r}")
    if min(pair) < 1:
        raise ValueError(f"folder: expected a size of at least 1×1, got {size!r}")
    return pair


def _listing(root: Path, split: str) -> tuple[tuple[str, ...], dict[str, list[Path]]]:
    """The classes, and for each of them the files of the split, sorted."""
    if not root.is_dir():
        raise DatasetNotFoundError(f"{root}: expected a directory of images ({LAYOUT}), got no such directory")
    if any(_directories(root / name) for name in SPLITS):
        for name in ("train", split):
            if not (root / name).is_dir():
                raise DatasetNotFoundError(f"{root / name}: expected a directory for each class, got no such directory")
        classes = _classes(root / "train")
        unknown = sorted(set(_directories(root / split)) - set(classes))
        if unknown:
            raise DatasetError(
                f"{root / split}: expected only the classes of {root / 'train'} ({', '.join(classes)}), "
                f"got {', '.join(unknown)} as well"
            )
        return classes, {name: _files(root / split / name) for name in classes}
    classes = _classes(root)
    return classes, {name: _split(root / name, split) for name in classes}


def _classes(folder: Path) -> tuple[str, ...]:
    names = _directories(folder)
    if len(names) < 2:
        got = f"only {names[0]!r}" if names else "none"
        raise DatasetError(f"{folder}: expected at least two class directories ({LAYOUT}), got {got}")
    return tuple(names)


def _directories(folder: Path) -> list[str]:
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted(entry.name for entry in entries if entry.is_dir() and _visible(entry.name))


def _files(folder: Path) -> list[Path]:
    """Every visible file at any depth."""
    return sorted(
        file for file in folder.rglob("*") if file.is_file() and all(map(_visible, file.relative_to(folder).parts))
    )


def _split(folder: Path, split: str) -> list[Path]:
    files = _files(folder)
    ranked = sorted(files, key=lambda file: _rank(file.relative_to(folder)))
    n_test = max(1, len(files) // 5) if len(files) > 1 else 0
    return sorted(ranked[:n_test] if split == "test" else ranked[n_test:])


def _rank(path: Path) -> bytes:
    name = unicodedata.normalize("NFC", path.as_posix())  # file systems differ in how they write an é
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def _visible(name: str) -> bool:
    return not name.startswith((".", "__")) and name.lower() not in LITTER


def _decode(file: Path, height: int, width: int, mode: str) -> np.ndarray:
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):  # convert("L") would clip at 255
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise ValueError("pixels of 32 bits, whose range is not known")
        elif image.mode == "P":
            image = image.convert("RGBA")
        image = image.convert(mode).resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image).reshape(height, width, CHANNELS[mode])
    return pixels.transpose(2, 0, 1)  # (C, H, W)


def _check_images(root: Path, split: str, classes: tuple[str, ...], labels: list[int], skipped: list[str]) -> None:
    unread = f"; could not be read: {_shortened(skipped)}" if skipped else ""
    if not labels:
        raise DatasetError(f"{root}: expected {split} images ({LAYOUT}), got none{unread}")
    empty = [classes[label] for label in sorted(set(range(len(classes))) - set(labels))]
    if empty and split == "train":
        raise DatasetError(f"{root}: expected training images of every class, got none of {', '.join(empty)}{unread}")


def _shortened(reasons: list[str]) -> str:
    return "; ".join(reasons[:3]) + (" …" if len(reasons) > 3 else "")


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    return "no image that Pillow can read" if isinstance(error, UnidentifiedImageError) else str(error) or repr(error)
