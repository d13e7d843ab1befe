"""Max, average and adaptive average pooling. Formulas and derivations are in scratchnet/ops/pool.py.

The textbook runs over the whole batch once for each position of the window. Here each image (n, c) is read once and
stays in the cache meanwhile. Images are independent, so a thread takes some of the P = N·C of them.

Nearly every max pooling is 2 × 2 with stride 2, whose windows share no pixel. A vector of such windows is pooled at
once, and backward writes each pixel of dx exactly once: dy or 0. Other windows take plain loops, and padding is not
stored: positions outside of the image are left out.

The mean of a window is the sum of its rows first, which are vectors, and then of its columns. Ordinary and adaptive
average pooling differ only in where the windows start and stop, so a table of that makes them one kernel.
"""

import functools
from typing import Any, NamedTuple

import numpy

from scratchnet.kernels.cpu._arrays import empty, ready
from scratchnet.kernels.cpu._compile import inner, kernel
from scratchnet.kernels.cpu.elementwise import select, spread_to_squares
from scratchnet.kernels.cpu.vector import at, lanes_of, max_of_squares
from scratchnet.ops.pool import adaptive_windows
from scratchnet.ops.shape import Array, Pair, pair, pooled_size


class MaxPool2dCache(NamedTuple):
    winner: Array  # (N, C, OH, OW): 0 … 3 in 2 × 2 windows (uint8), else row·W + column in the image (int32), −1: none
    x_shape: tuple[int, ...]


class AvgPool2dCache(NamedTuple):
    rows: Array  # (OH, 2): where each window starts and stops in the image
    columns: Array  # (OW, 2)
    divisor: Array  # (OH, OW)
    x_shape: tuple[int, ...]


@inner
def _better(best, winner, pixel, position):
    """The maximum so far and its position, once one more pixel is seen."""
    better = (pixel > best) | (pixel != pixel)  # > and not ≥: the first of equals stays; NaN beats all
    return select(better, pixel, best), select(better, position, winner)


@kernel
def _max_of_squares(t, threads, x, y, winner):
    """2 × 2 windows, stride 2: x (P, H, W) → y, winner (P, H // 2, W // 2)."""
    _, h, w = x.shape
    planes, oh, ow = y.shape
    lanes = lanes_of(x)
    for p in range(t * planes // threads, (t + 1) * planes // threads):
        for i in range(oh):
            out, top = (p * oh + i) * ow, (p * h + 2 * i) * w  # where the rows start
            bottom = top + w
            for j in range(0, ow, lanes):
                a, b, c = top + 2 * j, bottom + 2 * j, out + j
                if b + 2 * lanes <= x.size:
                    count = min(lanes, ow - j)
                    max_of_squares(False, at(x, a), at(x, b), -0.0, at(y, c), at(winner, c), count)
                else:  # whole vectors would reach beyond the end of x
                    for k in range(j, ow):
                        best, where = x[p, 2 * i, 2 * k], numpy.uint8(0)
                        best, where = _better(best, where, x[p, 2 * i, 2 * k + 1], numpy.uint8(1))
                        best, where = _better(best, where, x[p, 2 * i + 1, 2 * k], numpy.uint8(2))
                        best, where = _better(best, where, x[p, 2 * i + 1, 2 * k + 1], numpy.uint8(3))
                        y[p, i, k], winner[p, i, k] = best, where
                    break


@kernel
def _max_of_squares_backward(t, threads, dy, winner, dx):
    """dy, winner (P, H // 2, W // 2) → dx (P, H, W)."""
    planes, h, w = dx.shape
    _, oh, ow = dy.shape
    lanes = lanes_of(dx)
    for p in range(t * planes // threads, (t + 1) * planes // threads):
        for i in range(oh):
            out, top = (p * oh + i) * ow, (p * h + 2 * i) * w  # where the rows start
            for j in range(0, ow, lanes):
                a, c = top + 2 * j, out + j
                spread_to_squares(at(dy, c), at(winner, c), at(dx, a), at(dx, a + w), min(lanes, ow - j))
            if w > 2 * ow:
                dx[p, 2 * i, w - 1] = 0
                dx[p, 2 * i + 1, w - 1] = 0
        if h > 2 * oh:
            dx[p, h - 1] = 0


@kernel
def _max_of_windows(t, threads, x, kh, kw, sh, sw, ph, pw, dh, dw, y, winner):
    """Any windows: x (P, H, W) → y, winner (P, OH, OW)."""
    _, h, w = x.shape
    planes, oh, ow = y.shape
    for p in range(t * planes // threads, (t + 1) * planes // threads):
        for i in range(oh):
            for j in range(ow):
                best, where = x.dtype.type(-numpy.inf), -1
                for row in range(i * sh - ph, i * sh - ph + kh * dh, dh):
                    for column in range(j * sw - pw, j * sw - pw + kw * dw, dw):
                        if 0 <= row < h and 0 <= column < w:
                            pixel = x[p, row, column]
                            if where < 0 or pixel > best or pixel != pixel:
                                best, where = pixel, row * w + column
                y[p, i, j], winner[p, i, j] = best, where


@kernel
def _max_of_windows_backward(t, threads, dy, winner, dx):
    """dy, winner (P, OH·OW) → dx (P, H·W): a pixel adds up what it gets from the windows that it won."""
    planes, windows = dy.shape
    for p in range(t * planes // threads, (t + 1) * planes // threads):
        dx[p] = 0
        for j in range(windows):
            if winner[p, j] >= 0:
                dx[p, winner[p, j]] += dy[p, j]


@inner
def _add(x, total):
    for i in range(total.size):
        total[i] += x[i]


@kernel
def _mean(t, threads, x, rows, columns, divisor, y):
    """x (P, H, W) → y (P, OH, OW); rows (OH, 2), columns (OW, 2), divisor (OH, OW)."""
    _, _, w = x.shape
    planes, oh, ow = y.shape
    total = numpy.empty(w, x.dtype)
    for p in range(t * planes // threads, (t + 1) * planes // threads):
        for i in range(oh):
            total[:] = 0
            for row in range(rows[i, 0], rows[i, 1]):
                _add(x[p, row], total)
            for j in range(ow):
                window = x.dtype.type(0)
                for column in range(columns[j, 0], columns[j, 1]):
                    window += total[column]
                y[p, i, j] = window / divisor[i, j]


@kernel
def _mean_backward(t, threads, dy, rows, columns, divisor, dx):
    """dy (P, OH, OW) → dx (P, H, W)."""
    planes, oh, ow = dy.shape
    _, _, w = dx.shape
    share = numpy.empty(w, dx.dtype)  # what each pixel of a row gets from the windows of one row
    for p in range(t * planes // threads, (t + 1) * planes // threads):
        dx[p] = 0
        for i in range(oh):
            share[:] = 0
            for j in range(ow):
                pixel = dy[p, i, j] / divisor[i, j]
                for column in range(columns[j, 0], columns[j, 1]):
                    share[column] += pixel
            for row in range(rows[i, 0], rows[i, 1]):
                _add(share, dx[p, row])


def max_pool2d(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, MaxPool2dCache]:
    """The largest pixel of each window: x (N, C, H, W) → y (N, C, OH, OW)."""
    x = ready(x)
    n, c, h, w = x.shape
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = pair(kernel_size), pair(stride), pair(padding), pair(dilation)
    oh, ow = pooled_size(h, kh, sh, ph, dh, ceil_mode), pooled_size(w, kw, sw, pw, dw, ceil_mode)
    squares = kh == kw == sh == sw == 2 and (ph, pw, dh, dw) == (0, 0, 1, 1) and (oh, ow) == (h // 2, w // 2)
    y = empty((n, c, oh, ow), x.dtype)
    winner = empty(y.shape, numpy.uint8 if squares else numpy.int32)
    planes = x.reshape(n * c, h, w), y.reshape(n * c, oh, ow), winner.reshape(n * c, oh, ow)
    if squares:
        _max_of_squares(x.size, *planes)
    else:
        _max_of_windows(8 * y.size * kh * kw, planes[0], kh, kw, sh, sw, ph, pw, dh, dw, *planes[1:])
    return y, MaxPool2dCache(winner, x.shape)


def max_pool2d_backward(dy: Array, cache: MaxPool2dCache) -> Array:
    """dy (N, C, OH, OW) → dx (N, C, H, W)."""
    winner, (n, c, h, w) = cache
    (oh, ow), planes = dy.shape[2:], n * c
    dy, dx = ready(dy), empty(cache.x_shape, dy.dtype)
    if winner.dtype == numpy.uint8:
        _max_of_squares_backward(
            dx.size, dy.reshape(planes, oh, ow), winner.reshape(planes, oh, ow), dx.reshape(planes, h, w)
        )
    else:
        windows = planes, oh * ow
        _max_of_windows_backward(
            dx.size + 4 * dy.size, dy.reshape(windows), winner.reshape(windows), dx.reshape(planes, h * w)
        )
    return dx


@functools.lru_cache(1024)
def _windows(
    size: tuple[int, int], out: tuple[int, int], kernel: Pair, stride: Pair, padding: Pair, count_include_pad: bool,
    override: int | None, dtype: Any,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The tables of average pooling: rows (OH, 2), columns (OW, 2), divisor (OH, OW)."""
    tables, counts = [], []
    for length, o, k, s, p in zip(size, out, pair(kernel), pair(stride), pair(padding), strict=True):
        start = numpy.arange(o) * s - p
        stop = (start + k).clip(None, length + p)
        table = numpy.stack([start, stop], axis=1).clip(0, length)
        tables.append(table)
        counts.append(stop - start if count_include_pad else table[:, 1] - table[:, 0])
    divisor = numpy.outer(*counts) if override is None else numpy.full(out, override)
    return tables[0], tables[1], divisor.astype(dtype)


@functools.lru_cache(1024)
def _adaptive_windows(size: tuple[int, int], out: tuple[int, int], dtype: Any) -> tuple[Array, Array, Array]:
    """The tables of adaptive average pooling."""
    tables = [
        numpy.array([(window.start, window.stop) for window in adaptive_windows(length, o)], int).reshape(o, 2)
        for length, o in zip(size, out, strict=True)
    ]
    divisor = numpy.outer(*[table[:, 1] - table[:, 0] for table in tables])
    return tables[0], tables[1], divisor.astype(dtype)


def _pool_mean(x: Array, rows: Array, columns: Array, divisor: Array) -> tuple[Array, AvgPool2dCache]:
    x = ready(x)
    (n, c, h, w), (oh, ow) = x.shape, divisor.shape
    y = empty((n, c, oh, ow), x.dtype)
    _mean(x.size + 4 * y.size, x.reshape(n * c, h, w), rows, columns, divisor, y.reshape(n * c, oh, ow))
    return y, AvgPool2dCache(rows, columns, divisor, x.shape)


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
    size = x.shape[2:]
    oh, ow = (
        pooled_size(length, k, s, p, 1, ceil_mode)
        for length, k, s, p in zip(size, pair(kernel_size), pair(stride), pair(padding), strict=True)
    )
    options = kernel_size, stride, padding, count_include_pad, divisor_override
    return _pool_mean(x, *_windows(size, (oh, ow), *options, x.dtype))


def avg_pool2d_backward(dy: Array, cache: AvgPool2dCache) -> Array:
    """dy (N, C, OH, OW) → dx (N, C, H, W)."""
    rows, columns, divisor, (n, c, h, w) = cache
    dx = empty(cache.x_shape, dy.dtype)
    dY = ready(dy).reshape(n * c, *divisor.shape)
    _mean_backward(dx.size + 4 * dy.size, dY, rows, columns, divisor, dx.reshape(n * c, h, w))
    return dx


def adaptive_avg_pool2d(x: Array, output_size: tuple[int, int]) -> tuple[Array, AvgPool2dCache]:
    """The means of OH × OW windows that share out the image: x (N, C, H, W) → y (N, C, OH, OW)."""
    return _pool_mean(x, *_adaptive_windows(x.shape[2:], tuple(output_size), x.dtype))


def adaptive_avg_pool2d_backward(dy: Array, cache: AvgPool2dCache) -> Array:
    """dy (N, C, OH, OW) → dx (N, C, H, W)."""
    return avg_pool2d_backward(dy, cache)
