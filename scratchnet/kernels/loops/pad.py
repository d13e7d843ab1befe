"""Padding of images, pixel by pixel. The table of the modes is in scratchnet/ops/pad.py."""

from typing import NamedTuple

import numpy

from scratchnet.kernels.loops._index import double, indices
from scratchnet.ops.shape import Array

Pads = tuple[int, int, int, int]


class Pad2dCache(NamedTuple):
    x_shape: tuple[int, ...]
    pads: Pads
    mode: str


def source(i: int, size: int, mode: str) -> int | None:
    """s(i): where an axis of this size is read for position i, which may be negative; None in a border of zeros."""
    if 0 <= i < size:
        return i
    if mode == "zeros":
        return None
    if mode == "reflect":
        return -i if i < 0 else 2 * (size - 1) - i
    if mode == "replicate":
        return 0 if i < 0 else size - 1
    return i % size  # circular


def pad2d(x: Array, pads: Pads, mode: str = "zeros") -> tuple[Array, Pad2dCache]:
    """Pad x (N, C, H, W) with mode zeros, reflect, replicate or circular."""
    (n_images, channels, h, w), (left, right, top, bottom) = x.shape, pads
    y = numpy.zeros((n_images, channels, top + h + bottom, left + w + right), x.dtype)
    for n, c, i, j in indices(*y.shape):
        row, column = source(i - top, h, mode), source(j - left, w, mode)
        if row is not None and column is not None:
            y[n, c, i, j] = x[n, c, row, column]
    return y, Pad2dCache(x.shape, pads, mode)


def pad2d_backward(dy: Array, cache: Pad2dCache) -> Array:
    """dy of the padded shape → dx (N, C, H, W)."""
    dtype, dy = dy.dtype, double(dy)
    (_, _, h, w), (left, _, top, _) = cache.x_shape, cache.pads
    dx = numpy.zeros(cache.x_shape)
    for n, c, i, j in indices(*dy.shape):
        row, column = source(i - top, h, cache.mode), source(j - left, w, cache.mode)
        if row is not None and column is not None:
            dx[n, c, row, column] += dy[n, c, i, j]
    return dx.astype(dtype)
