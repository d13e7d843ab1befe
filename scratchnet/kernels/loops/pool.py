"""Max, average and adaptive average pooling, window by window. The rules are in scratchnet/ops/pool.py."""

import math
from typing import NamedTuple

import numpy

from scratchnet.kernels.loops._index import double, indices, inside
from scratchnet.ops.shape import Array, Pair, pair, pooled_size


class MaxPool2dCache(NamedTuple):
    winner: Array  # (N, C, OH, OW, 2): the row and column of the largest pixel, −1 for a window that has none
    x_shape: tuple[int, ...]


class AvgPool2dCache(NamedTuple):
    x_shape: tuple[int, ...]
    kernel_size: Pair
    stride: Pair
    padding: Pair
    count_include_pad: bool
    divisor_override: int | None


class AdaptiveAvgPool2dCache(NamedTuple):
    x_shape: tuple[int, ...]


def max_pool2d(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, MaxPool2dCache]:
    """The largest pixel of each window: x (N, C, H, W) → y (N, C, OH, OW)."""
    n_images, channels, h, w = x.shape
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = pair(kernel_size), pair(stride), pair(padding), pair(dilation)
    oh, ow = pooled_size(h, kh, sh, ph, dh, ceil_mode), pooled_size(w, kw, sw, pw, dw, ceil_mode)

    y = numpy.full((n_images, channels, oh, ow), -math.inf, x.dtype)
    winner = numpy.full((n_images, channels, oh, ow, 2), -1)
    for n, c, i, j in indices(*y.shape):
        for u, v in indices(kh, kw):
            row, column = i * sh + u * dh - ph, j * sw + v * dw - pw
            if not inside(row, column, x.shape):
                continue
            pixel, first_one = x[n, c, row, column], winner[n, c, i, j, 0] < 0
            if pixel > y[n, c, i, j] or math.isnan(pixel) or first_one:  # > and not ≥: the first of equals stays
                y[n, c, i, j] = pixel
                winner[n, c, i, j] = row, column
    return y, MaxPool2dCache(winner, x.shape)


def max_pool2d_backward(dy: Array, cache: MaxPool2dCache) -> Array:
    """dy (N, C, OH, OW) → dx (N, C, H, W)."""
    dtype, dy = dy.dtype, double(dy)
    dx = numpy.zeros(cache.x_shape)
    for n, c, i, j in indices(*dy.shape):
        row, column = cache.winner[n, c, i, j]
        if row >= 0:
            dx[n, c, row, column] += dy[n, c, i, j]
    return dx.astype(dtype)


def _divisor(i: int, j: int, cache: AvgPool2dCache) -> int:
    """d[i, j]: how many pixels of the window count."""
    if cache.divisor_override is not None:
        return cache.divisor_override
    (kh, kw), (sh, sw), (ph, pw) = pair(cache.kernel_size), pair(cache.stride), pair(cache.padding)
    h, w = cache.x_shape[2:]
    border_h, border_w = (ph, pw) if cache.count_include_pad else (0, 0)
    count = 0
    for u, v in indices(kh, kw):
        row, column = i * sh + u - ph, j * sw + v - pw
        if -border_h <= row < h + border_h and -border_w <= column < w + border_w:
            count += 1
    return count


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
    cache = AvgPool2dCache(x.shape, kernel_size, stride, padding, count_include_pad, divisor_override)
    dtype, x = x.dtype, double(x)
    n_images, channels, h, w = x.shape
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel_size), pair(stride), pair(padding)
    oh, ow = pooled_size(h, kh, sh, ph, 1, ceil_mode), pooled_size(w, kw, sw, pw, 1, ceil_mode)

    y = numpy.zeros((n_images, channels, oh, ow))
    for n, c, i, j in indices(*y.shape):
        total = 0.0
        for u, v in indices(kh, kw):
            row, column = i * sh + u - ph, j * sw + v - pw
            if inside(row, column, x.shape):
                total += x[n, c, row, column]
        y[n, c, i, j] = total / _divisor(i, j, cache)
    return y.astype(dtype), cache


def avg_pool2d_backward(dy: Array, cache: AvgPool2dCache) -> Array:
    """dy (N, C, OH, OW) → dx (N, C, H, W)."""
    dtype, dy = dy.dtype, double(dy)
    (kh, kw), (sh, sw), (ph, pw) = pair(cache.kernel_size), pair(cache.stride), pair(cache.padding)
    dx = numpy.zeros(cache.x_shape)
    for n, c, i, j in indices(*dy.shape):
        for u, v in indices(kh, kw):
            row, column = i * sh + u - ph, j * sw + v - pw
            if inside(row, column, dx.shape):
                dx[n, c, row, column] += dy[n, c, i, j] / _divisor(i, j, cache)
    return dx.astype(dtype)


def window(i: int, size: int, out: int) -> range:
    """The pixels of window i, of the `out` windows that share out an axis: ⌊i·size/out⌋ … ⌈(i + 1)·size/out⌉."""
    return range(i * size // out, -(-(i + 1) * size // out))


def adaptive_avg_pool2d(x: Array, output_size: tuple[int, int]) -> tuple[Array, AdaptiveAvgPool2dCache]:
    """The means of OH × OW windows that share out the image: x (N, C, H, W) → y (N, C, OH, OW)."""
    cache = AdaptiveAvgPool2dCache(x.shape)
    dtype, x = x.dtype, double(x)
    (n_images, channels, h, w), (oh, ow) = x.shape, output_size

    y = numpy.zeros((n_images, channels, oh, ow))
    for n, c, i, j in indices(*y.shape):
        rows, columns = window(i, h, oh), window(j, w, ow)
        total = 0.0
        for row in rows:
            for column in columns:
                total += x[n, c, row, column]
        y[n, c, i, j] = total / (len(rows) * len(columns))
    return y.astype(dtype), cache


def adaptive_avg_pool2d_backward(dy: Array, cache: AdaptiveAvgPool2dCache) -> Array:
    """dy (N, C, OH, OW) → dx (N, C, H, W)."""
    dtype, dy = dy.dtype, double(dy)
    (_, _, h, w), (oh, ow) = cache.x_shape, dy.shape[2:]
    dx = numpy.zeros(cache.x_shape)
    for n, c, i, j in indices(*dy.shape):
        rows, columns = window(i, h, oh), window(j, w, ow)
        for row in rows:
            for column in columns:
                dx[n, c, row, column] += dy[n, c, i, j] / (len(rows) * len(columns))
    return dx.astype(dtype)
