"""Launchers of pool.cu; the rules are in scratchnet/ops/pool.py."""

from typing import NamedTuple

import numpy

from scratchnet.kernels.gpu._launch import each, empty, ready
from scratchnet.ops.shape import Array, Pair, pair, pooled_size


class MaxPool2dCache(NamedTuple):
    winner: Array  # (N, C, OH, OW) int32: u·KW + v of each window's maximum
    x_shape: tuple[int, ...]
    windows: tuple[int, ...]  # KH, KW, SH, SW, PH, PW, DH, DW


class AvgPool2dCache(NamedTuple):
    x_shape: tuple[int, ...]
    windows: tuple[int, ...]  # KH, KW, SH, SW, PH, PW
    count_include_pad: bool
    divisor_override: float  # 0: none


def max_pool2d(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair = 0, dilation: Pair = 1, ceil_mode: bool = False
) -> tuple[Array, MaxPool2dCache]:
    """The largest pixel of each window: x (N, C, H, W) → y (N, C, OH, OW)."""
    windows = *pair(kernel_size), *pair(stride), *pair(padding), *pair(dilation)
    y = empty(_pooled(x.shape, windows, ceil_mode), x.dtype)
    winner = empty(y.shape, numpy.int32)
    each("pool", "max_pool2d", y, ready(x), y, winner, *x.shape[2:], *y.shape[2:], *windows)
    return y, MaxPool2dCache(winner, x.shape, windows)


def max_pool2d_backward(dy: Array, cache: MaxPool2dCache) -> Array:
    """dy (N, C, OH, OW) → dx (N, C, H, W)."""
    winner, x_shape, windows = cache
    dx = empty(x_shape, dy.dtype)
    each("pool", "max_pool2d_backward", dx, ready(dy), winner, dx, *x_shape[2:], *dy.shape[2:], *windows)
    return dx


def avg_pool2d(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Array, AvgPool2dCache]:
    """The mean of each window: x (N, C, H, W) → y (N, C, OH, OW)."""
    windows = *pair(kernel_size), *pair(stride), *pair(padding)
    y = empty(_pooled(x.shape, (*windows, 1, 1), ceil_mode), x.dtype)
    cache = AvgPool2dCache(x.shape, windows, bool(count_include_pad), float(divisor_override or 0))
    each("pool", "avg_pool2d", y, ready(x), y, *x.shape[2:], *y.shape[2:], *windows, *cache[2:])
    return y, cache


def avg_pool2d_backward(dy: Array, cache: AvgPool2dCache) -> Array:
    """dy (N, C, OH, OW) → dx (N, C, H, W)."""
    x_shape, windows, *divisor = cache
    dx = empty(x_shape, dy.dtype)
    each("pool", "avg_pool2d_backward", dx, ready(dy), dx, *x_shape[2:], *dy.shape[2:], *windows, *divisor)
    return dx


def adaptive_avg_pool2d(x: Array, output_size: tuple[int, int]) -> tuple[Array, tuple[int, ...]]:
    """The means of OH × OW windows that share out the image: x (N, C, H, W) → y (N, C, OH, OW)."""
    y = empty((*x.shape[:2], *output_size), x.dtype)
    each("pool", "adaptive_avg_pool2d", y, ready(x), y, *x.shape[2:], *output_size)
    return y, x.shape


def adaptive_avg_pool2d_backward(dy: Array, cache: tuple[int, ...]) -> Array:
    """dy (N, C, OH, OW) → dx (N, C, H, W)."""
    dx = empty(cache, dy.dtype)
    each("pool", "adaptive_avg_pool2d_backward", dx, ready(dy), dx, *cache[2:], *dy.shape[2:])
    return dx


def _pooled(x_shape: tuple[int, ...], windows: tuple[int, ...], ceil_mode: bool) -> tuple[int, ...]:
    (n, c, h, w), (kh, kw, sh, sw, ph, pw, dh, dw) = x_shape, windows
    return n, c, pooled_size(h, kh, sh, ph, dh, ceil_mode), pooled_size(w, kw, sw, pw, dw, ceil_mode)
