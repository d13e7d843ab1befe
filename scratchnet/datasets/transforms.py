"""Transforms of whole batches, named after torchvision's transforms of single images.

A transform is any callable from an array to an array. These are pure: they leave their input as it was,
unless ``inplace=True`` says otherwise. A random transform has an attribute ``random`` that is True and takes a
``numpy.random.Generator`` as its second argument (``random_transforms.py``). All take NumPy's arrays and CuPy's; what
is random is drawn by NumPy, so that it is the same on every device.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from scratchnet.ops.shape import array_module

Transform = Callable[..., np.ndarray]


def is_random(transform: Transform) -> bool:
    """Whether a transform takes a generator beside the batch."""
    return getattr(transform, "random", False) is True


def apply(transform: Transform, batch: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """Call a transform, with the generator if it takes one."""
    return transform(batch, rng) if is_random(transform) else transform(batch)


class ToFloat:
    """Bytes to floats in [0, 1]: ``y = x / 255``. Equal, bit for bit, to torchvision's ``ToTensor``.

    Args:
        dtype: float32 or float64.

    Shape:
        - Input: uint8, any shape
        - Output: the same shape, of ``dtype``, C-contiguous

    Raises:
        TypeError: the input is not uint8.
        ValueError: ``dtype`` is neither float32 nor float64.
    """

    def __init__(self, dtype: DTypeLike = "float32") -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise ValueError(f"ToFloat: expected dtype float32 or float64, got {self.dtype}")

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        if batch.dtype != np.uint8:
            raise TypeError(f"ToFloat: expected a batch of dtype uint8, got {batch.dtype}")
        x = batch.astype(self.dtype, order="C")
        x /= 255.0
        return x

    def __repr__(self) -> str:
        return f"ToFloat(dtype={self.dtype.name})"


class Normalize:
    """``y = (x − mean) / std``, channel by channel. Equal, bit for bit, to torchvision's ``Normalize``.

    Args:
        mean, std: one number for every channel, or a sequence with one number per channel.
        inplace: write the result into the input. Saves an allocation behind ``ToFloat``, whose output is new.

    Shape:
        - Input: floats, (..., C, H, W)
        - Output: the same shape and dtype

    Raises:
        TypeError: the input is not floating point.
        ValueError: ``std`` holds a zero, a number is not finite in float32, ``mean`` and ``std`` differ in
            length, or the input has another number of channels.
    """

    def __init__(self, mean: ArrayLike, std: ArrayLike, inplace: bool = False) -> None:
        self.mean = _per_channel("mean", mean)
        self.std = _per_channel("std", std)
        self.inplace = inplace
        if np.any(np.abs(self.std) < np.finfo(np.float32).tiny):
            raise ValueError(f"Normalize: expected a std other than 0 in every channel, got {self.std.tolist()}")
        if self.mean.size != self.std.size and 1 not in (self.mean.size, self.std.size):
            raise ValueError(
                f"Normalize: expected mean and std for the same channels, got {self.mean.size} and {self.std.size}"
            )

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        if batch.dtype.kind != "f":
            raise TypeError(f"Normalize: expected a floating-point batch, got {batch.dtype}; put ToFloat before it")
        channels = max(self.mean.size, self.std.size)
        if batch.ndim < 3 or channels not in (1, batch.shape[-3]):
            raise ValueError(
                f"Normalize: expected a batch of shape (..., {'C' if channels == 1 else channels}, H, W), "
                f"got {batch.shape}"
            )
        mean = self.mean.astype(batch.dtype).reshape(-1, 1, 1)  # (C, 1, 1)
        std = self.std.astype(batch.dtype).reshape(-1, 1, 1)  # (C, 1, 1)
        xp = array_module(batch)
        y = xp.subtract(batch, xp.asarray(mean), out=batch if self.inplace else None)
        y /= xp.asarray(std)
        return y

    def __repr__(self) -> str:
        inplace = ", inplace=True" if self.inplace else ""
        return f"Normalize(mean={tuple(self.mean.tolist())}, std={tuple(self.std.tolist())}{inplace})"


class Compose:
    """Several transforms, one after the other. It is random, and needs a generator, if one of them is.

    Example:
        >>> Compose([ToFloat(), Normalize(0.1307, 0.3081, inplace=True)])
        Compose(
            ToFloat(dtype=float32)
            Normalize(mean=(0.1307,), std=(0.3081,), inplace=True)
        )
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)
        for transform in self.transforms:
            if not callable(transform):
                raise TypeError(f"Compose: expected callables, got {transform!r}")

    @property
    def random(self) -> bool:
        return any(is_random(transform) for transform in self.transforms)

    def __call__(self, batch: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        for transform in self.transforms:
            batch = apply(transform, batch, rng)
        return batch

    def __repr__(self) -> str:
        lines = "".join(f"\n    {line}" for t in self.transforms for line in repr(t).splitlines())
        return f"Compose({lines}\n)"


def _per_channel(name: str, values: ArrayLike) -> np.ndarray:
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"Normalize: expected {name} to be a number or one number per channel, got {values!r}")
    if not np.all(np.abs(array) <= np.finfo(np.float32).max):
        raise ValueError(f"Normalize: expected {name} to be finite, got {array.tolist()}")
    return array
