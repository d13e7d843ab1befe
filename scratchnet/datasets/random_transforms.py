"""Data augmentation: random crops and flips of whole batches.

Each is a pure function of the batch and of what was drawn for each image, ``crop`` and ``hflip``, and a class that
draws. Put them before ``ToFloat``: bytes are four times fewer.
"""

import operator
from typing import Any

import numpy as np

from scratchnet.ops.shape import array_module


def crop(
    images: np.ndarray, tops: np.ndarray, lefts: np.ndarray, size: int | tuple[int, int], padding: int = 0
) -> np.ndarray:
    """Cut a window out of every image. Equal to torchvision's ``crop(pad(image, padding), top, left, h, w)``.

    Args:
        images: any dtype.
        tops, lefts: integers, where the window of each image begins within the image with its padding.
        size: (h, w) of the window, or one number for both.
        padding: rows and columns of zeros on every side.

    Shape:
        - images: (N, C, H, W)
        - tops, lefts: (N,)
        - Output: (N, C, h, w), a new array

    Raises:
        ValueError: a shape that does not fit, or a window that reaches beyond its image.
    """
    height, width = _pair("crop", size)
    padding = _integer("crop", "padding", padding, at_least=0)
    _check_images("crop", images)
    n, _, h, w = images.shape
    room = (h + 2 * padding - height, w + 2 * padding - width)
    tops, lefts = np.asarray(tops), np.asarray(lefts)
    for name, starts, last in (("tops", tops, room[0]), ("lefts", lefts, room[1])):
        if starts.shape != (n,) or starts.dtype.kind not in "iu":
            raise ValueError(f"crop: expected {name} to be {n} integers, got {starts.dtype} of shape {starts.shape}")
        if n and not 0 <= starts.min() <= starts.max() <= last:
            raise ValueError(f"crop: expected {name} between 0 and {last}, got {starts.min()} … {starts.max()}")
    xp = array_module(images)
    padded = xp.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    if n == 0:
        return xp.zeros((*images.shape[:2], height, width), images.dtype)
    windows = xp.lib.stride_tricks.sliding_window_view(padded, (height, width), (2, 3))
    return windows[xp.arange(n), :, xp.asarray(tops), xp.asarray(lefts)]  # (N, C, rows, columns, h, w) → (N, C, h, w)


def hflip(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mirror left and right the images where ``mask`` is True. Equal to torchvision's ``hflip`` of each.

    Shape:
        - images: (N, C, H, W), any dtype
        - mask: bool, (N,)
        - Output: (N, C, H, W), a new array

    Raises:
        ValueError: a shape that does not fit, or a mask that is not bool.
    """
    _check_images("hflip", images)
    mask = np.asarray(mask)
    if mask.shape != images.shape[:1] or mask.dtype != np.bool_:
        raise ValueError(f"hflip: expected a mask of {len(images)} bools, got {mask.dtype} of shape {mask.shape}")
    xp = array_module(images)
    return xp.where(xp.asarray(mask)[:, None, None, None], images[..., ::-1], images)


class RandomCrop:
    """A window of each image at a place of its own, every place being equally likely.

    Args:
        size: (h, w) of the window, or one number for both.
        padding: rows and columns of zeros that are put around the image first.

    Shape:
        - Input: (N, C, H, W), any dtype
        - Output: (N, C, h, w)

    Raises:
        TypeError, ValueError: a size below 1, a negative padding, or images that are smaller than the window.

    Example:
        >>> Compose([RandomCrop(32, padding=4), RandomHorizontalFlip(), ToFloat()])
        Compose(
            RandomCrop(size=(32, 32), padding=4)
            RandomHorizontalFlip(p=0.5)
            ToFloat(dtype=float32)
        )
    """

    random = True

    def __init__(self, size: int | tuple[int, int], padding: int = 0) -> None:
        self.size = _pair("RandomCrop", size)
        self.padding = _integer("RandomCrop", "padding", padding, at_least=0)

    def __call__(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        _check_call("RandomCrop", batch, rng)
        n, _, h, w = batch.shape
        (height, width), padding = self.size, self.padding
        if h + 2 * padding < height or w + 2 * padding < width:
            raise ValueError(
                f"RandomCrop: expected images of at least {height}×{width} with their padding of {padding}, got {h}×{w}"
            )
        tops = rng.integers(h + 2 * padding - height + 1, size=n)
        lefts = rng.integers(w + 2 * padding - width + 1, size=n)
        return crop(batch, tops, lefts, self.size, padding)

    def __repr__(self) -> str:
        return f"RandomCrop(size={self.size}, padding={self.padding})"


class RandomHorizontalFlip:
    """Mirror each image left and right with probability ``p``.

    Shape:
        - Input: (N, C, H, W), any dtype
        - Output: the same shape

    Raises:
        ValueError: ``p`` is outside [0, 1].
    """

    random = True

    def __init__(self, p: float = 0.5) -> None:
        if isinstance(p, bool) or not isinstance(p, (int, float)):
            raise TypeError(f"RandomHorizontalFlip: expected p to be a number, got {p!r}")
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: expected p between 0 and 1, got {p}")
        self.p = p

    def __call__(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        _check_call("RandomHorizontalFlip", batch, rng)
        return hflip(batch, rng.random(len(batch)) < self.p)

    def __repr__(self) -> str:
        return f"RandomHorizontalFlip(p={self.p})"


def _check_call(where: str, images: np.ndarray, rng: np.random.Generator) -> None:
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"{where}: expected a numpy Generator as the second argument, got {rng!r}")
    _check_images(where, images)


def _check_images(where: str, images: np.ndarray) -> None:
    if images.ndim != 4:
        raise ValueError(f"{where}: expected a batch of shape (N, C, H, W), got {images.shape}")


def _pair(where: str, size: Any) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2:
        raise ValueError(f"{where}: expected size to be an int or (height, width), got {size!r}")
    height, width = (_integer(where, "size", side, at_least=1) for side in sides)
    return height, width


def _integer(where: str, name: str, value: Any, at_least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{where}: expected {name} in whole pixels, got {value!r}") from None
    if isinstance(value, bool) or number < at_least:
        raise ValueError(f"{where}: expected {name} of at least {at_least}, got {value!r}")
    return number
