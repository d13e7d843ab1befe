"""The fully connected layer in three matrix products. The formula and the derivation are in scratchnet/ops/linear.py.

y = X·Wᵀ sums along rows of X and of W, which lie in memory one number after another: `dot`. In dX = dY·W and
dW = dYᵀ·X the rows of W and of X are what the result is made of, times single numbers of dY: `contract`. Nothing is
copied or transposed.
"""

import math
from typing import NamedTuple

from scratchnet.kernels.cpu._arrays import empty, none, optional, ready, steps
from scratchnet.kernels.cpu._compile import kernel
from scratchnet.kernels.cpu.dropout import keep_mask
from scratchnet.kernels.cpu.elementwise import piece, select
from scratchnet.kernels.cpu.vector import DOT_COLUMNS, ROWS, VECTORS, at, contract, dot, lanes_of
from scratchnet.ops.shape import Array


class LinearCache(NamedTuple):
    x: Array
    weight: Array
    has_bias: bool


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
    zero = y.dtype.type(0)
    for k in range(n):
        line = y[k, start:end]
        if bias.size:
            for j in range(line.size):
                line[j] += bias[start + j]
        if relu:
            for j in range(line.size):
                line[j] = select(line[j] <= 0, zero, line[j])


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
def _backward_weight(t, threads, dy, x, dy_column, dy_row, x_row, dweight_row, dweight, dbias):
    """dweight (O, I) = dy (N, O)ᵀ · x (N, I), dbias (O,) = Σ_n dy; an empty dbias is none."""
    (n, o), i = dy.shape, x.shape[1]
    width = VECTORS * lanes_of(x)
    blocks = (o + ROWS - 1) // ROWS
    # a thread computes some rows of dweight
    start, end = t * blocks // threads * ROWS, min((t + 1) * blocks // threads * ROWS, o)
    for j in range(0, i, width):
        contract(
            end - start, min(width, i - j), n, at(dy, 0), at(dy_column, start), at(dy_row, 0), at(x, j),
            at(x_row, 0), at(dweight, j), at(dweight_row, start), False,
        )  # fmt: skip
    if dbias.size:
        dbias[start:end] = 0
        for k in range(n):
            for j in range(start, end):
                dbias[j] += dy[k, j]


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
    y = empty((*x.shape[:-1], o), x.dtype)
    _forward(
        rows * o * i, x.reshape(rows, i), weight, optional(bias, x), relu,
        steps(rows, i), steps(o, i), steps(rows, o), y.reshape(rows, o),
    )  # fmt: skip
    return y, LinearCache(x, weight, bias is not None)


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
    x, weight, has_bias = cache
    o, i = weight.shape
    rows = math.prod(x.shape[:-1])
    dY = ready(dy).reshape(rows, o)  # (N, O)
    dx, dweight = empty(x.shape, x.dtype) if wants_dx else None, empty(weight.shape, x.dtype)
    dbias = empty((o,), x.dtype) if has_bias else none(x)
    work = rows * o * i
    if dx is not None:
        _backward_x(work, dY, weight, steps(rows, o), steps(o, 1), steps(o, i), steps(rows, i), dx.reshape(rows, i))
    _backward_weight(
        work, dY, x.reshape(rows, i), steps(o, 1), steps(rows, o), steps(rows, i), steps(o, i), dweight, dbias
    )
    return dx, dweight, dbias if has_bias else None
