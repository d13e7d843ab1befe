"""Max, average and adaptive average pooling.

Pooling slides a KH × KW window over each channel on its own and keeps one number of each window: its largest
pixel, or its mean.

Max pooling
-----------
    y[n, c, i, j] = max over (u, v) of x[n, c, i·SH + u·DH − PH, j·SW + v·DW − PW]

The maximum copies one pixel and ignores the others, so the derivative is 1 for the winner and 0 for the rest:
all of dy[i, j] goes to the winner, and a pixel that wins in several overlapping windows adds up what it gets.
Ties are common (after ReLU many pixels are 0): the FIRST maximum in row-major order wins, and the others get
nothing. NaN beats every number, and of several NaNs the last wins. Padding never wins: it acts as −∞.

Average pooling
---------------
    y[n, c, i, j] = 1/d[i, j] · Σ_{u, v} x̂[n, c, i·SH + u, j·SW + v]        x̂ is x padded by zeros

Each pixel of the window has derivative 1/d, so it gets dy[i, j] / d[i, j]. The divisor d counts the window's
pixels: those in the padding too with count_include_pad, only real ones without, or it is what
divisor_override says. Positions beyond the padding, where ceil_mode lets a window hang over, never count.

Adaptive average pooling
------------------------
The output size is given, and window i of an axis spans ⌊i·H/OH⌋ … ⌈(i + 1)·H/OH⌉: all of nearly the same size,
overlapping where H is no multiple of OH. The gradient is average pooling's.

Source: torch.nn.functional.max_pool2d, avg_pool2d, adaptive_avg_pool2d for the meaning of every option.
"""

from typing import NamedTuple

from scratchnet.ops.pad import crop, pad_with
from scratchnet.ops.shape import Array, Pair, array_module, pair, pooled_size, tap


class MaxPool2dCache(NamedTuple):
    winner: Array  # (N, C, OH, OW): the window position u·KW + v of the maximum
    x_shape: tuple[int, int, int, int]
    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair


class AvgPool2dCache(NamedTuple):
    divisor: Array  # (OH, OW)
    x_shape: tuple[int, int, int, int]
    kernel_size: Pair
    stride: Pair
    padding: Pair


class AdaptiveAvgPool2dCache(NamedTuple):
    x_shape: tuple[int, int, int, int]


def _pads(
    x_shape: tuple[int, ...],
    out: tuple[int, int],
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair = 1,
) -> tuple[int, int, int, int]:
    """The border (left, right, top, bottom) that holds every window, also one that ceil_mode lets hang over."""
    after = [
        max(p, (o - 1) * s + d * (k - 1) + 1 - p - size)
        for size, o, k, s, p, d in zip(
            x_shape[2:], out, pair(kernel), pair(stride), pair(padding), pair(dilation), strict=True
        )
    ]
    top, left = pair(padding)
    return left, after[1], top, after[0]


def max_pool2d(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, MaxPool2dCache]:
    """The largest pixel of each window: x (N, C, H, W) → y (N, C, OH, OW)."""
    xp = array_module(x)
    n, c, h, w = x.shape
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = pair(kernel_size), pair(stride), pair(padding), pair(dilation)
    out = pooled_size(h, kh, sh, ph, dh, ceil_mode), pooled_size(w, kw, sw, pw, dw, ceil_mode)
    x_padded = pad_with(x, _pads(x.shape, out, kernel_size, stride, padding, dilation), -float("inf"))

    y = xp.full((n, c, *out), -float("inf"), x.dtype)
    winner = xp.full((n, c, *out), -1)  # −1: no pixel seen yet
    for u in range(kh):
        row = xp.arange(out[0]) * sh + u * dh - ph
        for v in range(kw):
            column = xp.arange(out[1]) * sw + v * dw - pw
            inside = ((row >= 0) & (row < h))[:, None] & (column >= 0) & (column < w)  # (OH, OW)
            pixel = x_padded[tap(u, v, stride, dilation, out)]  # (N, C, OH, OW)
            better = (pixel > y) | xp.isnan(pixel) | (winner < 0)  # > and not ≥: the first of equals stays
            better &= inside
            y = xp.where(better, pixel, y)
            winner = xp.where(better, u * kw + v, winner)
    return y, MaxPool2dCache(winner, x.shape, kernel_size, stride, padding, dilation)


def max_pool2d_indices(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Array:
    """Where each window's maximum is, (N, C, OH, OW): row·W + column of its image; −1 where a window has no pixel."""
    winner = max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode)[1].winner
    xp = array_module(winner)
    (kw, (sh, sw), (ph, pw), (dh, dw)) = pair(kernel_size)[1], pair(stride), pair(padding), pair(dilation)
    row = xp.arange(winner.shape[2])[:, None] * sh + winner // kw * dh - ph
    column = xp.arange(winner.shape[3]) * sw + winner % kw * dw - pw
    return xp.where(winner < 0, -1, row * x.shape[3] + column)


def max_pool2d_backward(dy: Array, cache: MaxPool2dCache) -> Array:
    """dy (N, C, OH, OW) → dx (N, C, H, W)."""
    winner, x_shape, kernel_size, stride, padding, dilation = cache
    xp = array_module(dy)
    kh, kw = pair(kernel_size)
    out = dy.shape[2:]
    pads = _pads(x_shape, out, kernel_size, stride, padding, dilation)
    dx = pad_with(xp.zeros(x_shape, dy.dtype), pads)  # (N, C, top + H + bottom, left + W + right)
    for u in range(kh):
        for v in range(kw):
            dx[tap(u, v, stride, dilation, out)] += xp.where(winner == u * kw + v, dy, 0)
    return crop(dx, pads)


def _divisor(
    xp, x_shape, out, kernel: Pair, stride: Pair, padding: Pair, count_include_pad: bool, override: int | None
) -> Array:
    """d[i, j] (OH, OW): by how much each window's sum is divided, in integers."""
    if override is not None:
        return xp.full(out, override)
    counts = []
    for size, o, k, s, p in zip(x_shape[2:], out, pair(kernel), pair(stride), pair(padding), strict=True):
        start = xp.arange(o) * s - p
        first, last = (-p, size + p) if count_include_pad else (0, size)  # what counts along this axis
        counts.append((start + k).clip(None, last) - start.clip(first, None))
    return counts[0][:, None] * counts[1]


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
    xp = array_module(x)
    n, c, h, w = x.shape
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel_size), pair(stride), pair(padding)
    out = pooled_size(h, kh, sh, ph, 1, ceil_mode), pooled_size(w, kw, sw, pw, 1, ceil_mode)
    x_padded = pad_with(x, _pads(x.shape, out, kernel_size, stride, padding))

    total = xp.zeros((n, c, *out), x.dtype)
    for u in range(kh):
        for v in range(kw):
            total += x_padded[tap(u, v, stride, 1, out)]  # (N, C, OH, OW)
    divisor = _divisor(xp, x.shape, out, kernel_size, stride, padding, count_include_pad, divisor_override)
    divisor = divisor.astype(x.dtype)
    return total / divisor, AvgPool2dCache(divisor, x.shape, kernel_size, stride, padding)


def avg_pool2d_backward(dy: Array, cache: AvgPool2dCache) -> Array:
    """dy (N, C, OH, OW) → dx (N, C, H, W)."""
    divisor, x_shape, kernel_size, stride, padding = cache
    kh, kw = pair(kernel_size)
    out = dy.shape[2:]
    pads = _pads(x_shape, out, kernel_size, stride, padding)
    dx = pad_with(array_module(dy).zeros(x_shape, dy.dtype), pads)
    share = dy / divisor  # (N, C, OH, OW): what each pixel of a window gets
    for u in range(kh):
        for v in range(kw):
            dx[tap(u, v, stride, 1, out)] += share
    return crop(dx, pads)


def adaptive_windows(size: int, out: int) -> list[slice]:
    """The `out` windows that cover an axis of `size` pixels: ⌊i·size/out⌋ … ⌈(i + 1)·size/out⌉."""
    return [slice(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]


def adaptive_avg_pool2d(x: Array, output_size: tuple[int, int]) -> tuple[Array, AdaptiveAvgPool2dCache]:
    """The means of OH × OW windows that share out the image: x (N, C, H, W) → y (N, C, OH, OW)."""
    n, c, h, w = x.shape
    oh, ow = output_size
    y = array_module(x).empty((n, c, oh, ow), x.dtype)
    for i, rows in enumerate(adaptive_windows(h, oh)):
        for j, columns in enumerate(adaptive_windows(w, ow)):
            y[..., i, j] = x[..., rows, columns].mean(axis=(2, 3))
    return y, AdaptiveAvgPool2dCache(x.shape)


def adaptive_avg_pool2d_backward(dy: Array, cache: AdaptiveAvgPool2dCache) -> Array:
    """dy (N, C, OH, OW) → dx (N, C, H, W)."""
    h, w = cache.x_shape[2:]
    oh, ow = dy.shape[2:]
    dx = array_module(dy).zeros(cache.x_shape, dy.dtype)
    for i, rows in enumerate(adaptive_windows(h, oh)):
        for j, columns in enumerate(adaptive_windows(w, ow)):
            count = (rows.stop - rows.start) * (columns.stop - columns.start)
            dx[..., rows, columns] += dy[..., i, j, None, None] / count
    return dx
