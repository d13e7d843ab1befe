"""Launchers of dropout.cu; the mathematics is in scratchnet/ops/dropout.py. The masks are those of every other rung."""

import math

import numpy

from scratchnet.kernels.gpu._launch import THREADS, blocks, each, empty, launch, ready
from scratchnet.ops.dropout import DropoutCache
from scratchnet.ops.shape import Array


def keep_mask(shape: tuple[int, ...], p: float, key: tuple[int, int], call: int) -> Array:
    """The mask: True with probability 1 − p. The same bits as scratchnet.ops.dropout.keep_mask gives."""
    mask, (seed, stream) = empty(shape, numpy.bool_), key
    launch(
        "dropout", "keep_mask", numpy.float32, blocks(-(-mask.size // 4)), THREADS, numpy.uint32(seed),
        numpy.uint32(stream), numpy.uint64(call), numpy.uint64(round(p * 2**32)), mask, numpy.int64(mask.size),
    )  # fmt: skip
    return mask


def dropout(x: Array, p: float, key: tuple[int, int], call: int, channels: bool = False) -> tuple[Array, DropoutCache]:
    """Drop each element of x with probability p; with channels, whole channels of x (N, C, …) instead."""
    mask = keep_mask((*x.shape[:2], *[1] * (x.ndim - 2)) if channels else x.shape, p, key, call)
    cache = DropoutCache(mask, 1 / (1 - p) if p < 1 else 0.0)
    return _masked(x, cache), cache


def dropout_backward(dy: Array, cache: DropoutCache) -> Array:
    return _masked(dy, cache)


def _masked(x: Array, cache: DropoutCache) -> Array:
    y = empty(x.shape, x.dtype)
    inner = 1 if cache.mask.shape == x.shape else math.prod(x.shape[2:])
    each("dropout", "apply_mask", x, ready(x), cache.mask, float(cache.scale), y, inner)
    return y
