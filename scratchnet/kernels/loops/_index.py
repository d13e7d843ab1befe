"""What the loops share: running through all indices of a shape, and numbers in double precision."""

from collections.abc import Iterator
from itertools import product

import numpy

from scratchnet.ops.shape import Array


def indices(*sizes: int) -> Iterator[tuple[int, ...]]:
    """indices(2, 3) → (0, 0), (0, 1), (0, 2), (1, 0), …: one nested loop for each size, the last the innermost."""
    return product(*map(range, sizes))


def double(x: Array) -> Array:
    """A copy of x in float64, so that every sum over its elements is taken in double precision."""
    return x.astype(numpy.float64)


def inside(row: int, column: int, shape: tuple[int, ...]) -> bool:
    """Whether the pixel lies in an image (…, H, W), and not in the padding around it."""
    return 0 <= row < shape[-2] and 0 <= column < shape[-1]
