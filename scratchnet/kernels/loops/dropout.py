"""Dropout, element by element. Which mask, and why, is in scratchnet/ops/dropout.py."""

from typing import NamedTuple

import numpy

from scratchnet.kernels.loops._index import indices
from scratchnet.ops.shape import Array

Words = tuple[int, int, int, int]


class DropoutCache(NamedTuple):
    mask: Array  # of x's shape: True where x is kept
    scale: float  # 1 / (1 − p)


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """Philox4x32-10: four random 32-bit words from four counter words and two key words."""
    (a, b, c, d), (k0, k1) = counter, key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * a, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c, 2**32)
        a, b, c, d = high1 ^ b ^ k0, low1, high0 ^ d ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return a, b, c, d


def keep(element: int, p: float, key: tuple[int, int], call: int) -> bool:
    """Whether element number `element`, counted in row-major order, is kept: with probability 1 − p."""
    block, word = divmod(element, 4)
    high, low = divmod(call, 2**32)
    return philox4x32((block, 0, low, high), key)[word] >= round(p * 2**32)


def dropout(x: Array, p: float, key: tuple[int, int], call: int, channels: bool = False) -> tuple[Array, DropoutCache]:
    """Drop each element of x with probability p; with channels, whole channels of x (N, C, …) instead."""
    scale = 1 / (1 - p) if p < 1 else 0.0
    drawn = x.shape[:2] if channels else x.shape  # one draw each
    y, mask = numpy.zeros(x.shape, x.dtype), numpy.zeros(x.shape, bool)
    for element, index in enumerate(indices(*drawn)):
        kept = keep(element, p, key, call)
        for rest in indices(*x.shape[len(drawn) :]):
            mask[*index, *rest] = kept
            if kept:
                y[*index, *rest] = x[*index, *rest] * scale
    return y, DropoutCache(mask, scale)


def dropout_backward(dy: Array, cache: DropoutCache) -> Array:
    """dy of y's shape → dx, with the mask of the forward call."""
    dx = numpy.zeros(dy.shape, dy.dtype)
    for index in indices(*dy.shape):
        if cache.mask[index]:
            dx[index] = dy[index] * cache.scale
    return dx
