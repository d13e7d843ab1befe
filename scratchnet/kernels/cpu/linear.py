"""The fully connected layer in three matrix products. The formula and the derivation are in scratchnet/ops/linear.py.

y = X·Wᵀ sums along rows of X and of W, which lie in memory one number after another: `dot`. In dX = dY·W and
dW = dYᵀ·X the rows of W and of X are what the result is made of, times single numbers of dY: `contract`. Nothing is
transposed.

**Where X is mostly zeros**, as pictures of digits are (four pixels of five), products with zeros are left out. A tile
of `contract` computes ROWS rows of the result in steps, and its tables say which: here only those in which one of its
rows has a number that is not zero. To make single numbers of X its first factor, the sums are turned round::

    y = X·(Wᵀ)       rows: ROWS images; steps: the pixels that are not zero in all of them
    dWᵀ = Xᵀ·dY      rows: ROWS pixels side by side; steps: the images where they are not all zero

Both Wᵀ and dWᵀ are copies, so there have to be enough images. Since 0 · NaN and 0 · ∞ are NaN, nothing is left out
where the other factor is not finite.
"""

import math
from typing import NamedTuple

import numpy

from scratchnet.kernels.cpu._arrays import empty, none, optional, ready, steps
from scratchnet.kernels.cpu._compile import inner, kernel, parts
from scratchnet.kernels.cpu.dropout import keep_mask
from scratchnet.kernels.cpu.elementwise import piece, select
from scratchnet.kernels.cpu.vector import (
    BYTES,
    DOT_COLUMNS,
    ROWS,
    VECTORS,
    at,
    contract,
    copy_row,
    dot,
    lanes_of,
    transpose,
)
from scratchnet.ops.shape import Array

IMAGES, OUTPUTS = 32, 128  # with fewer it does not pay to look for zeros


class LinearCache(NamedTuple):
    x: Array
    weight: Array
    has_bias: bool
    sparse: bool  # x is mostly zeros


class LinearReluCache(NamedTuple):
    linear: LinearCache
    y: Array | None  # (N, O), where ReLU is part of the function: 0 where ReLU or dropout let nothing pass
    scale: float  # 1 / (1 − p) of dropout, else 1


@kernel
def _forward(t, threads, x, weight, bias, relu, x_row, weight_row, y_row, y):
    """y (N, O) = x (N, I) · weight (O, I)ᵀ + bias (O,), with relu max(…, 0); an empty bias is none."""
    (n, i), o = x.shape, weight.shape[0]
    blocks = (o + DOT_COLUMNS - 1) // DOT_COLUMNS
    # a thread computes some columns of y
    start, end = t * blocks // threads * DOT_COLUMNS, min((t + 1) * blocks // threads * DOT_COLUMNS, o)
    dot(
        n, end - start, i, at(x, 0), at(x_row, 0), at(weight, 0), at(weight_row, start), at(y, start), at(y_row, 0),
        False, 1, 0, 0,
    )  # fmt: skip
    _finish(y, bias, relu, start, end)


@inner
def _finish(y, bias, relu, start, end):
    """Bias and ReLU for some columns of y."""
    zero = y.dtype.type(0)
    for k in range(len(y)):
        line = y[k, start:end]
        if bias.size:
            for j in range(line.size):
                line[j] += bias[start + j]
        if relu:
            for j in range(line.size):
                line[j] = select(line[j] <= 0, zero, line[j])


@inner
def _steps_that_count(bits, first, rows, row, steps, step, pitch, everything, x_step, other_step):
    """Of the steps r in which the ROWS numbers bits[first + k·row + r·step] are not all 0: r·step, r·pitch. → how many.

    bits are the numbers of x as integers, 0 for 0.0. Of less than ROWS rows the last is meant once more.
    """
    p, q = first + min(1, rows - 1) * row, first + min(2, rows - 1) * row
    s, found = first + (rows - 1) * row, 0
    for r in range(steps):
        k = r * step
        x_step[found], other_step[found] = k, r * pitch  # the next one writes over it if this does not count
        found += everything | ((bits[first + k] | bits[p + k] | bits[q + k] | bits[s + k]) != 0)
    return found


@inner
def _all_finite(x):
    """Whether no number of a one-dimensional array is infinite or NaN."""
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i] * 0
    return total == 0


@kernel
def _forward_sparse(t, threads, x, bits, weight, bias, relu, x_row, y_row, x_step, other_step, turned, y):
    """_forward of an x that is mostly zeros. x_step, other_step (threads, I), turned (threads, …): scratch memory."""
    (n, i), o = x.shape, weight.shape[0]
    start, end = t * o // threads, (t + 1) * o // threads  # a thread computes some columns of y
    everything = not _all_finite(weight[start:end].reshape(-1))
    pitch = end - start
    transpose(at(turned[t], 0), pitch, at(weight, start * i), i, pitch, i)
    for k in range(0, n, ROWS):
        rows = min(ROWS, n - k)
        found = _steps_that_count(bits, k * i, rows, i, i, 1, pitch, everything, x_step[t], other_step[t])
        contract(
            rows, pitch, found, at(x, k * i), at(x_row, 0), at(x_step[t], 0), at(turned[t], 0), at(other_step[t], 0),
            at(y, k * o + start), at(y_row, 0), False,
        )  # fmt: skip
    _finish(y, bias, relu, start, end)


@kernel
def _backward_x(t, threads, dy, weight, dy_row, dy_step, weight_row, dx_row, dx):
    """dx (N, I) = dy (N, O) · weight (O, I)."""
    (n, o), i = dy.shape, weight.shape[1]
    width = VECTORS * lanes_of(dx)
    blocks = (i + width - 1) // width
    # a thread computes some columns of dx
    for block in range(t * blocks // threads, (t + 1) * blocks // threads):
        j = block * width
        contract(
            n, min(width, i - j), o, at(dy, 0), at(dy_row, 0), at(dy_step, 0), at(weight, j), at(weight_row, 0),
            at(dx, j), at(dx_row, 0), False,
        )  # fmt: skip


@kernel
def _backward_weight(t, threads, dy, x, dy_column, dy_row, panel_row, dweight_row, panels, dweight, dbias):
    """dweight (O, I) = dy (N, O)ᵀ · x (N, I), dbias (O,) = Σ_n dy; an empty dbias is none.

    Some columns of x are copied side by side first, into panels (threads, …): lines of x that lie a power of two apart
    would fall into the same few places of the cache.
    """
    (n, o), i = dy.shape, x.shape[1]
    width, panel = VECTORS * lanes_of(x), at(panels[t], 0)
    blocks = (o + ROWS - 1) // ROWS
    # a thread computes some rows of dweight
    start, end = t * blocks // threads * ROWS, min((t + 1) * blocks // threads * ROWS, o)
    for j in range(0, i, width):
        columns = min(width, i - j)
        for k in range(n):
            copy_row(False, at(panel, k * width), at(x, k * i + j), x.dtype.type(0), columns)
        contract(
            end - start, columns, n, at(dy, 0), at(dy_column, start), at(dy_row, 0), panel, at(panel_row, 0),
            at(dweight, j), at(dweight_row, start), False,
        )  # fmt: skip
    _sum_columns(dy, start, end, dbias)


@inner
def _sum_columns(dy, start, end, dbias):
    if dbias.size:
        dbias[start:end] = 0
        for k in range(len(dy)):
            for j in range(start, end):
                dbias[j] += dy[k, j]


@kernel
def _backward_weight_sparse(t, threads, dy, x, bits, ones, turned_row, x_step, dy_step, turned, dweight, dbias):
    """_backward_weight where x is mostly zeros. x_step, dy_step (threads, N), turned (threads, …): scratch memory."""
    (n, o), i = dy.shape, x.shape[1]
    start, end = t * i // threads, (t + 1) * i // threads  # a thread computes some columns of dweight
    everything = not _all_finite(dy.reshape(-1))
    for j in range(start, end, ROWS):
        rows = min(ROWS, end - j)
        found = _steps_that_count(bits, j, rows, 1, n, i, o, everything, x_step[t], dy_step[t])
        contract(
            rows, o, found, at(x, j), at(ones, 0), at(x_step[t], 0), at(dy, 0), at(dy_step[t], 0),
            at(turned[t], (j - start) * o), at(turned_row, 0), False,
        )  # fmt: skip
    transpose(at(dweight, start), i, at(turned[t], 0), o, end - start, o)
    if t == 0:
        _sum_columns(dy, 0, o, dbias)


@kernel
def _drop(t, threads, y, mask, scale):
    """y = y · mask · scale, in place."""
    factor, zero = y.dtype.type(scale), y.dtype.type(0)
    y, mask = piece(y, t, threads), piece(mask, t, threads)
    for i in range(y.size):
        y[i] = select(mask[i], y[i] * factor, zero)


@kernel
def _relu_dropout_backward(t, threads, dy, y, scale, dx):
    factor, zero = y.dtype.type(scale), y.dtype.type(0)
    y, dy, dx = piece(y, t, threads), piece(dy, t, threads), piece(dx, t, threads)
    for i in range(y.size):
        dx[i] = select(y[i] <= 0, zero, dy[i] * factor)


def linear(x: Array, weight: Array, bias: Array | None) -> tuple[Array, LinearCache]:
    """x (…, I), weight (O, I), bias (O,) or None → y (…, O)."""
    return _linear(x, weight, bias, False)


def _linear(x: Array, weight: Array, bias: Array | None, relu: bool) -> tuple[Array, LinearCache]:
    o, i = weight.shape
    rows = math.prod(x.shape[:-1])
    x, weight = ready(x), ready(weight)
    y, X = empty((*x.shape[:-1], o), x.dtype), x.reshape(rows, i)
    sparse = _is_sparse(X, o)
    if sparse:
        threads = parts(rows * o * i)
        lists = empty((2, threads, i), numpy.int64)
        _forward_sparse.on(
            threads, X, _bits(X), weight, optional(bias, x), relu, steps(ROWS, i), steps(ROWS, o), *lists,
            empty((threads, -(-o // threads) * i), x.dtype), y.reshape(rows, o),
        )  # fmt: skip
    else:
        _forward(
            rows * o * i, X, weight, optional(bias, x), relu, steps(rows, i), steps(o, i), steps(rows, o),
            y.reshape(rows, o),
        )  # fmt: skip
    return y, LinearCache(x, weight, bias is not None, sparse)


def _bits(x: Array) -> Array:
    return x.view(numpy.int32 if x.itemsize == 4 else numpy.int64).reshape(-1)


def _is_sparse(x: Array, o: int) -> bool:
    """Whether x (N, I), times weights (O, I), is worth a look for zeros, to judge by ROWS of the images.

    (ReLU's zeros are too few, and too scattered: four rows seldom have one in common.)
    """
    if len(x) < IMAGES or o < OUTPUTS:
        return False
    middle = len(x) // 2
    some = (x[middle : middle + ROWS] != 0).any(axis=0)
    return 5 * int(numpy.count_nonzero(some)) < 3 * some.size


def linear_relu_dropout(
    x: Array, weight: Array, bias: Array | None, relu: bool, drop: tuple[float, tuple[int, int], int] | None
) -> tuple[Array, LinearReluCache]:
    """dropout(relu(linear(x, weight, bias))) of x (N, I); drop is (p, key, call), with relu only, or None."""
    y, cache = _linear(x, weight, bias, relu)
    if drop is None:
        return y, LinearReluCache(cache, y if relu else None, 1.0)
    p, key, call = drop
    scale = 1 / (1 - p) if p < 1 else 0.0
    _drop(y.size, y.reshape(-1), keep_mask(y.shape, p, key, call).reshape(-1), scale)
    return y, LinearReluCache(cache, y, scale)


def linear_relu_dropout_backward(
    dy: Array, cache: LinearReluCache, wants_dx: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """dy (N, O) → dx (N, I), or None if it is not wanted, dweight (O, I), dbias (O,) or None."""
    if cache.y is not None:
        gated = empty(dy.shape, dy.dtype)
        _relu_dropout_backward(dy.size, ready(dy).reshape(-1), cache.y.reshape(-1), cache.scale, gated.reshape(-1))
        dy = gated
    return linear_backward(dy, cache.linear, wants_dx)


def linear_backward(dy: Array, cache: LinearCache, wants_dx: bool = True) -> tuple[Array | None, Array, Array | None]:
    """dy (…, O) → dx (…, I), or None if it is not wanted, dweight (O, I), dbias (O,) or None."""
    x, weight, has_bias, sparse = cache
    o, i = weight.shape
    rows = math.prod(x.shape[:-1])
    dY = ready(dy).reshape(rows, o)  # (N, O)
    dx, dweight = empty(x.shape, x.dtype) if wants_dx else None, empty(weight.shape, x.dtype)
    dbias = empty((o,), x.dtype) if has_bias else none(x)
    work = rows * o * i
    if dx is not None:
        _backward_x(work, dY, weight, steps(rows, o), steps(o, 1), steps(o, i), steps(rows, i), dx.reshape(rows, i))
    X, threads = x.reshape(rows, i), parts(work)
    if sparse:
        lists = empty((2, threads, rows), numpy.int64)
        _backward_weight_sparse.on(
            threads, dY, X, _bits(X), steps(ROWS, 1), steps(ROWS, o), *lists,
            empty((threads, -(-i // threads) * o), x.dtype), dweight, dbias,
        )  # fmt: skip
    else:
        width = VECTORS * BYTES // x.itemsize
        _backward_weight.on(
            threads, dY, X, steps(o, 1), steps(rows, o), steps(rows, width), steps(o, i),
            empty((threads, rows * width), x.dtype), dweight, dbias,
        )  # fmt: skip
    return dx, dweight, dbias if has_bias else None
