"""Activation functions, number by number. Formulas and derivatives are in scratchnet/ops/activation.py."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy

from scratchnet.kernels.loops._index import double, indices
from scratchnet.ops.shape import Array


class ElementwiseCache(NamedTuple):
    x: Array


class LeakyReluCache(NamedTuple):
    x: Array
    negative_slope: float


class GeluCache(NamedTuple):
    x: Array
    approximate: str


class SoftmaxCache(NamedTuple):
    x: Array
    dim: int


def _each(function: Callable[[float], float], x: Array) -> Array:
    """y = function(x), element by element."""
    y = numpy.zeros(x.shape, x.dtype)
    for index in indices(*x.shape):
        y[index] = function(float(x[index]))
    return y


def _chain(dy: Array, derivative: Callable[[float], float], x: Array) -> Array:
    """dx = dy · derivative(x), element by element: the chain rule."""
    dx = numpy.zeros(x.shape, x.dtype)
    for index in indices(*x.shape):
        dx[index] = float(dy[index]) * derivative(float(x[index]))
    return dx


def relu(x: Array) -> tuple[Array, ElementwiseCache]:
    """y = max(x, 0), any shape."""
    return _each(lambda v: 0.0 if v <= 0 else v, x), ElementwiseCache(x)


def relu_backward(dy: Array, cache: ElementwiseCache) -> Array:
    dx = numpy.zeros(dy.shape, dy.dtype)
    for index in indices(*dy.shape):
        if not cache.x[index] <= 0:  # not x > 0: NaN stays active
            dx[index] = dy[index]
    return dx


def leaky_relu(x: Array, negative_slope: float) -> tuple[Array, LeakyReluCache]:
    """y = x where x > 0, else negative_slope · x; any shape."""
    return _each(lambda v: v if v > 0 else negative_slope * v, x), LeakyReluCache(x, negative_slope)


def leaky_relu_backward(dy: Array, cache: LeakyReluCache) -> Array:
    return _chain(dy, lambda v: 1.0 if v > 0 else cache.negative_slope, cache.x)


def _sigmoid(v: float) -> float:
    e = math.exp(-abs(v))  # never overflows: for v < 0 the fraction is widened by e^v
    return (e if v < 0 else 1.0) / (1 + e)


def sigmoid(x: Array) -> tuple[Array, ElementwiseCache]:
    """y = 1 / (1 + e^−x), any shape."""
    return _each(_sigmoid, x), ElementwiseCache(x)


def sigmoid_backward(dy: Array, cache: ElementwiseCache) -> Array:
    return _chain(dy, lambda v: _sigmoid(v) * (1 - _sigmoid(v)), cache.x)


def tanh(x: Array) -> tuple[Array, ElementwiseCache]:
    """y = tanh(x), any shape."""
    return _each(math.tanh, x), ElementwiseCache(x)


def tanh_backward(dy: Array, cache: ElementwiseCache) -> Array:
    return _chain(dy, lambda v: 1 - math.tanh(v) ** 2, cache.x)


def _gelu(v: float) -> float:
    return 0.5 * v * (1 + math.erf(v / math.sqrt(2)))  # x·Φ(x)


def _gelu_derivative(v: float) -> float:
    distribution = 0.5 * (1 + math.erf(v / math.sqrt(2)))  # Φ(x)
    density = math.exp(-0.5 * v * v) / math.sqrt(2 * math.pi)  # φ(x)
    return distribution + v * density


def _gelu_tanh(v: float) -> float:
    return 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v * v * v)))


def _gelu_tanh_derivative(v: float) -> float:
    t = math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v * v * v))
    du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * v * v)
    return 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * du


def gelu(x: Array, approximate: str) -> tuple[Array, GeluCache]:
    """y = x·Φ(x), exactly (approximate "none") or by the tanh form ("tanh"); any shape."""
    return _each(_gelu_tanh if approximate == "tanh" else _gelu, x), GeluCache(x, approximate)


def gelu_backward(dy: Array, cache: GeluCache) -> Array:
    return _chain(dy, _gelu_tanh_derivative if cache.approximate == "tanh" else _gelu_derivative, cache.x)


def axis_last(x: Array, dim: int) -> Array:
    """A view of x with axis dim last: axis_last(x, dim)[index] is one row of numbers that softmax ties together."""
    return numpy.moveaxis(x, dim, -1)


def softmax_row(row: Array) -> list[float]:
    """e^z / Σ e^z, with the largest z taken out so that nothing overflows."""
    largest = max(row)
    exponentials = [math.exp(z - largest) for z in row]
    total = sum(exponentials)
    return [e / total for e in exponentials]


def log_softmax_row(row: Array) -> list[float]:
    """z − log Σ e^z."""
    largest = max(row)
    log_total = math.log(sum(math.exp(z - largest) for z in row))
    return [z - largest - log_total for z in row]


def _row_indices(x_rows: Array) -> Iterator[tuple[int, ...]]:
    """The index of every row; there are none where rows are empty."""
    return indices(*x_rows.shape[:-1]) if x_rows.size else iter(())


def _each_row(function: Callable[[Array], list[float]], x: Array, dim: int) -> Array:
    """y = function(x), row by row along axis dim."""
    y = numpy.zeros(x.shape, x.dtype)
    x_rows, y_rows = axis_last(double(x), dim), axis_last(y, dim)
    for index in _row_indices(x_rows):
        for k, value in enumerate(function(x_rows[index])):
            y_rows[*index, k] = value
    return y


def softmax(x: Array, dim: int) -> tuple[Array, SoftmaxCache]:
    """Probabilities along axis dim; any shape."""
    return _each_row(softmax_row, x, dim), SoftmaxCache(x, dim)


def softmax_backward(dy: Array, cache: SoftmaxCache) -> Array:
    x, dim = cache
    dx = numpy.zeros(x.shape, x.dtype)
    x_rows, dy_rows, dx_rows = axis_last(double(x), dim), axis_last(double(dy), dim), axis_last(dx, dim)
    for index in _row_indices(x_rows):
        y, dy_row = softmax_row(x_rows[index]), dy_rows[index]
        for j in range(len(y)):
            total = 0.0
            for i in range(len(y)):
                total += dy_row[i] * y[i] * ((i == j) - y[j])  # ∂y_i/∂x_j = y_i·([i = j] − y_j)
            dx_rows[*index, j] = total
    return dx


def log_softmax(x: Array, dim: int) -> tuple[Array, SoftmaxCache]:
    """log of softmax along axis dim; any shape."""
    return _each_row(log_softmax_row, x, dim), SoftmaxCache(x, dim)


def log_softmax_backward(dy: Array, cache: SoftmaxCache) -> Array:
    x, dim = cache
    dx = numpy.zeros(x.shape, x.dtype)
    x_rows, dy_rows, dx_rows = axis_last(double(x), dim), axis_last(double(dy), dim), axis_last(dx, dim)
    for index in _row_indices(x_rows):
        p, dy_row = softmax_row(x_rows[index]), dy_rows[index]
        for j in range(len(p)):
            total = 0.0
            for i in range(len(p)):
                total += dy_row[i] * ((i == j) - p[j])  # ∂y_i/∂x_j = [i = j] − p_j
            dx_rows[*index, j] = total
    return dx
