"""Mistakes in pooling. Each function is the right one of scratchnet/ops/pool.py but for the mistake."""

import numpy

from scratchnet.ops import pool
from scratchnet.ops.pad import crop, pad_with
from scratchnet.ops.pool import AvgPool2dCache, MaxPool2dCache, _divisor, _pads
from scratchnet.ops.shape import Array, Pair, array_module, pair, pooled_size, tap
from scratchnet.study.museum.exhibit import Bug, exhibit, replaces

FAMILY = "pooling"


class TiesCache(tuple):
    """(x, y, the cache of the right forward pass)"""


def _max_pool2d_keeping_x(x: Array, *options: object) -> tuple[Array, TiesCache]:
    y, cache = pool.max_pool2d(x, *options)  # type: ignore[arg-type]
    return y, TiesCache((x, y, cache))


def feed_all_ties(dy: Array, cache: TiesCache) -> Array:
    x, y, (_, x_shape, kernel_size, stride, padding, dilation) = cache
    xp = array_module(dy)
    kh, kw = pair(kernel_size)
    out = dy.shape[2:]
    pads = _pads(x_shape, out, kernel_size, stride, padding, dilation)
    x_padded = pad_with(x, pads, -float("inf"))
    dx = pad_with(xp.zeros(x_shape, dy.dtype), pads)  # (N, C, top + H + bottom, left + W + right)
    for u in range(kh):
        for v in range(kw):
            window = tap(u, v, stride, dilation, out)
            dx[window] += xp.where(x_padded[window] == y, dy, 0)
    return crop(dx, pads)


exhibit(
    "max-pool-feeds-all-ties",
    title="Every tied maximum gets the whole gradient",
    family=FAMILY,
    right=pool.max_pool2d_backward,
    bug=lambda wrong: replaces("max_pool2d", wrong)(_max_pool2d_keeping_x),
    check="gradcheck",
    case="tied max pool",
    why="mask = (x == y) is the shortest way to find the winner, and with random numbers there is only one. After a "
    "ReLU many pixels are exactly 0, and a blank background gives windows of equal pixels.",
    effect="A window of k equal pixels sends back k times its gradient. On images with blank regions the gradient of "
    "the layers below is inflated, in the regions that carry no information.",
    notice="Random inputs never show it. Feed small whole numbers: gradcheck moves the tied pixels together and finds "
    "that their gradients sum to more than the slope. Which of the tied pixels should win is a convention, and only "
    "parity with torch decides it.",
    seen=(
        "CS231n's max pooling by reshaping says in its docstring that it assigns the gradient to all argmax elements, "
        "and that this is actually incorrect but unlikely in practice",
    ),
)(feed_all_ties)


def _scattered_by_assignment(dy: Array, cache: MaxPool2dCache) -> Array:
    """Each window assigns to its winner alone, the last window for good."""
    winner, x_shape, kernel_size, stride, padding, dilation = cache
    (_, kw), (sh, sw), (dh, dw) = pair(kernel_size), pair(stride), pair(dilation)
    pads = _pads(x_shape, dy.shape[2:], kernel_size, stride, padding, dilation)
    dx = pad_with(array_module(dy).zeros(x_shape, dy.dtype), pads)
    for n, c, i, j in numpy.ndindex(dy.shape):
        u, v = divmod(int(winner[n, c, i, j]), kw)
        dx[n, c, i * sh + u * dh, j * sw + v * dw] = dy[n, c, i, j]
    return crop(dx, pads)


@exhibit(
    "max-pool-overwrites",
    title="Overlapping windows overwrite each other's gradient",
    family=FAMILY,
    right=pool.max_pool2d_backward,
    bug=replaces("max_pool2d_backward"),
    check="gradcheck",
    case="overlapping max pool",
    variants=(Bug(overrides={"max_pool2d_backward": _scattered_by_assignment}),),
    why="With the usual kernel 2 and stride 2 every pixel is in one window, and = does what += does.",
    effect="A pixel that wins several windows keeps the gradient of one of them, or loses it to a window that it did "
    "not win.",
    notice="Right for stride ≥ kernel size. Check with kernel 3, stride 1: the winners of several windows have too "
    "little gradient.",
    seen=(
        "FluxML/NNlib.jl issue 205: the max pool gradient is wrong with stride 1",
        "0809zheng/CS231n-assignment2019 issue 19: = passes the course's test, whose windows do not overlap",
    ),
)
def max_pool_overwrites(dy: Array, cache: MaxPool2dCache) -> Array:
    winner, x_shape, kernel_size, stride, padding, dilation = cache
    xp = array_module(dy)
    kh, kw = pair(kernel_size)
    out = dy.shape[2:]
    pads = _pads(x_shape, out, kernel_size, stride, padding, dilation)
    dx = pad_with(xp.zeros(x_shape, dy.dtype), pads)  # (N, C, top + H + bottom, left + W + right)
    for u in range(kh):
        for v in range(kw):
            dx[tap(u, v, stride, dilation, out)] = xp.where(winner == u * kw + v, dy, 0)
    return crop(dx, pads)


@exhibit(
    "max-pool-pads-with-zero",
    title="Max pooling padded with zeros",
    family=FAMILY,
    right=pool.max_pool2d,
    bug=replaces("max_pool2d"),
    check="parity",
    case="padded max pool",
    why="Convolution pads with zeros, and the helper that pads is already there.",
    effect="Where a window at the border holds only negative numbers, 0 wins: the output has a frame of zeros, and the "
    "pixels of that frame get no gradient. With a ReLU right before or behind it (as in the museum's network) nothing "
    "changes, which is why the bug lives long.",
    notice="gradcheck passes: 0 as the maximum has gradient 0, forward and backward agree. Feed negative numbers only: "
    "no output may be 0.",
    seen=(
        "apache/mxnet issue 2753: 0 in the corner where cuDNN gives −1; a maintainer: “I padded 0, seems it is this "
        "problem.”",
    ),
)
def max_pool_pads_with_zero(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, MaxPool2dCache]:
    xp = array_module(x)
    n, c, h, w = x.shape
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = pair(kernel_size), pair(stride), pair(padding), pair(dilation)
    out = pooled_size(h, kh, sh, ph, dh, ceil_mode), pooled_size(w, kw, sw, pw, dw, ceil_mode)
    x_padded = pad_with(x, _pads(x.shape, out, kernel_size, stride, padding, dilation), 0.0)

    y = xp.full((n, c, *out), -float("inf"), x.dtype)
    winner = xp.full((n, c, *out), -1)  # −1: no pixel seen yet
    for u in range(kh):
        for v in range(kw):
            pixel = x_padded[tap(u, v, stride, dilation, out)]  # (N, C, OH, OW)
            better = (pixel > y) | xp.isnan(pixel) | (winner < 0)  # > and not ≥: the first of equals stays
            y = xp.where(better, pixel, y)
            winner = xp.where(better, u * kw + v, winner)
    return y, MaxPool2dCache(winner, x.shape, kernel_size, stride, padding, dilation)


@exhibit(
    "max-pool-last-tie-wins",
    title="Of tied maxima the last one wins",
    family=FAMILY,
    right=pool.max_pool2d,
    bug=replaces("max_pool2d"),
    check="parity",
    case="tied max pool",
    why="≥ where torch's convention needs >. It is no error of mathematics: at a tie the maximum has no derivative, "
    "and any winner gives a valid subgradient.",
    effect="Training goes as well as before, along another path: runs cannot be compared number by number with torch.",
    notice="Only parity on inputs with ties sees it. Random inputs have none.",
)
def max_pool_last_tie_wins(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, MaxPool2dCache]:
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
            better = (pixel >= y) | xp.isnan(pixel) | (winner < 0)
            better &= inside
            y = xp.where(better, pixel, y)
            winner = xp.where(better, u * kw + v, winner)
    return y, MaxPool2dCache(winner, x.shape, kernel_size, stride, padding, dilation)


@exhibit(
    "avg-pool-counts-padding",
    title="Average pooling divides by the whole window at the border",
    family=FAMILY,
    right=pool.avg_pool2d,
    bug=replaces("avg_pool2d"),
    check="parity",
    case="padded average pool",
    why="1/(KH·KW) is the obvious divisor, and torch's own default (count_include_pad=True) counts padding. With "
    "count_include_pad=False, ONNX's default, only real pixels count.",
    effect="The border of every feature map is darker than it should be: a corner with 4 of 9 pixels comes out at 4/9. "
    "A network that is trained this way adapts; one that is imported computes something else.",
    notice="gradcheck passes: forward and backward share the divisor. Average an image of ones: with "
    "count_include_pad=False every output is 1.",
    seen=(
        "pytorch/pytorch issue 13934: an ONNX export that ignored count_include_pad, true by default in one and "
        "false in the other",
    ),
)
def avg_pool_counts_padding(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Array, AvgPool2dCache]:
    xp = array_module(x)
    n, c, h, w = x.shape
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel_size), pair(stride), pair(padding)
    out = pooled_size(h, kh, sh, ph, 1, ceil_mode), pooled_size(w, kw, sw, pw, 1, ceil_mode)
    x_padded = pad_with(x, _pads(x.shape, out, kernel_size, stride, padding))

    total = xp.zeros((n, c, *out), x.dtype)
    for u in range(kh):
        for v in range(kw):
            total += x_padded[tap(u, v, stride, 1, out)]  # (N, C, OH, OW)
    divisor = _divisor(xp, x.shape, out, kernel_size, stride, padding, True, divisor_override)
    divisor = divisor.astype(x.dtype)
    return total / divisor, AvgPool2dCache(divisor, x.shape, kernel_size, stride, padding)


@exhibit(
    "avg-pool-gradient-undivided",
    title="Each pixel of an average gets the whole gradient",
    family=FAMILY,
    right=pool.avg_pool2d_backward,
    bug=replaces("avg_pool2d_backward"),
    check="gradcheck",
    case="padded average pool",
    why="“The gradient is spread over the window” is remembered, and the division by its size is not.",
    effect="All layers below get a gradient that is KH·KW times too large: their learning rate is 4 or 9 times what "
    "was asked for, once for each such pool on the way.",
    notice="numeric = analytic / 4 (or 9) all over; at a border with count_include_pad=False another factor.",
)
def avg_pool_gradient_undivided(dy: Array, cache: AvgPool2dCache) -> Array:
    _, x_shape, kernel_size, stride, padding = cache
    kh, kw = pair(kernel_size)
    out = dy.shape[2:]
    pads = _pads(x_shape, out, kernel_size, stride, padding)
    dx = pad_with(array_module(dy).zeros(x_shape, dy.dtype), pads)
    for u in range(kh):
        for v in range(kw):
            dx[tap(u, v, stride, 1, out)] += dy
    return crop(dx, pads)
