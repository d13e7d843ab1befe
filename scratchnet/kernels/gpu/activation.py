"""Launchers of activation.cu. Formulas and derivatives are in scratchnet/ops/activation.py."""

import math
from typing import NamedTuple

from scratchnet.kernels.gpu._launch import each, empty, launch, ready
from scratchnet.ops.activation import OutputCache, SoftmaxCache
from scratchnet.ops.shape import Array

_ROW_THREADS = 128  # of the block that works on a row of softmax


class ReluCache(NamedTuple):
    y: Array  # y tells as well as x where the gradient passes, and the next layer keeps y anyhow


class LeakyReluCache(NamedTuple):
    x: Array
    negative_slope: float


class GeluCache(NamedTuple):
    x: Array
    approximate: str


def relu(x: Array) -> tuple[Array, ReluCache]:
    """y = max(x, 0), any shape."""
    y = _like(x, "relu", ready(x))
    return y, ReluCache(y)


def relu_backward(dy: Array, cache: ReluCache) -> Array:
    return _like(dy, "relu_backward", ready(dy), cache.y)


def leaky_relu(x: Array, negative_slope: float) -> tuple[Array, LeakyReluCache]:
    """y = x where x > 0, else negative_slope · x; any shape."""
    x = ready(x)
    return _like(x, "leaky_relu", x, float(negative_slope)), LeakyReluCache(x, float(negative_slope))


def leaky_relu_backward(dy: Array, cache: LeakyReluCache) -> Array:
    return _like(dy, "leaky_relu_backward", ready(dy), *cache)


def sigmoid(x: Array) -> tuple[Array, OutputCache]:
    """y = 1 / (1 + e^−x), any shape."""
    y = _like(x, "sigmoid", ready(x))
    return y, OutputCache(y)


def sigmoid_backward(dy: Array, cache: OutputCache) -> Array:
    return _like(dy, "sigmoid_backward", ready(dy), cache.y)


def tanh(x: Array) -> tuple[Array, OutputCache]:
    y = _like(x, "tanh_", ready(x))
    return y, OutputCache(y)


def tanh_backward(dy: Array, cache: OutputCache) -> Array:
    return _like(dy, "tanh_backward", ready(dy), cache.y)


def gelu(x: Array, approximate: str) -> tuple[Array, GeluCache]:
    """y = x·Φ(x), exactly (approximate "none") or by the tanh form ("tanh"); any shape."""
    x = ready(x)
    return _like(x, "gelu", x, approximate == "none"), GeluCache(x, approximate)


def gelu_backward(dy: Array, cache: GeluCache) -> Array:
    return _like(dy, "gelu_backward", ready(dy), cache.x, cache.approximate == "none")


def softmax(x: Array, dim: int) -> tuple[Array, SoftmaxCache]:
    """y = e^x / Σ e^x along dim."""
    y = empty(x.shape, x.dtype)
    _rows("softmax", x, dim, ready(x), y, None)
    return y, SoftmaxCache(y, dim)


def softmax_backward(dy: Array, cache: SoftmaxCache) -> Array:
    return _softmax_backward("softmax_backward", dy, cache)


def log_softmax(x: Array, dim: int) -> tuple[Array, SoftmaxCache]:
    """y = x − log Σ e^x along dim."""
    y, log_y = empty(x.shape, x.dtype), empty(x.shape, x.dtype)
    _rows("softmax", x, dim, ready(x), y, log_y)
    return log_y, SoftmaxCache(y, dim)


def log_softmax_backward(dy: Array, cache: SoftmaxCache) -> Array:
    return _softmax_backward("log_softmax_backward", dy, cache)


def _like(x: Array, kernel: str, *args: Array | float | bool) -> Array:
    """A new array of x's shape, made by an elementwise kernel of args."""
    y = empty(x.shape, x.dtype)
    each("activation", kernel, y, *args, y)
    return y


def _softmax_backward(kernel: str, dy: Array, cache: SoftmaxCache) -> Array:
    dx = empty(dy.shape, dy.dtype)
    _rows(kernel, dy, cache.dim, ready(dy), cache.y, dx)
    return dx


def _rows(kernel: str, x: Array, dim: int, *args: Array | None) -> None:
    """One block for each row along dim."""
    if x.size:
        size = x.shape[dim] if x.ndim else 1
        inner = math.prod(x.shape[dim:][1:])
        launch("activation", kernel, x.dtype, x.size // size, _ROW_THREADS, *args, size, inner)
