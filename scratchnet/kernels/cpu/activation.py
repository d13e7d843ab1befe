"""Activation functions, in one pass over memory. Formulas and derivatives are in scratchnet/ops/activation.py.

An array expression such as `where(x > 0, x, s * x)` runs over its arrays three times and makes two that are thrown
away. A kernel reads every number once, keeps what lies between in registers, and writes the result once; for relu that
is all the time it takes. Shapes do not matter here, so every array is taken as one long row, cut into one piece for
each thread, and the loop over a piece becomes vector instructions.

sigmoid, tanh and softmax are left to the textbook: nearly all of their time goes into e^x, which NumPy computes by
vectors, and compiled code one by one. For gelu that is still faster, since NumPy has no error function.
"""

import math
from typing import NamedTuple

from scratchnet.kernels.cpu._arrays import empty, ready
from scratchnet.kernels.cpu._compile import kernel
from scratchnet.kernels.cpu.elementwise import piece
from scratchnet.ops.shape import Array

_ROOT_HALF, _ROOT_2_BY_PI, _CUBIC = math.sqrt(0.5), math.sqrt(2 / math.pi), 0.044715


class ReluCache(NamedTuple):
    y: Array  # y tells as well as x where the gradient passes, and the next layer keeps y anyhow


class LeakyReluCache(NamedTuple):
    x: Array
    negative_slope: float


class GeluCache(NamedTuple):
    x: Array
    approximate: str


@kernel
def _relu(t, threads, x, y):
    a, b = piece(x, t, threads), piece(y, t, threads)
    for i in range(b.size):
        b[i] = 0 if a[i] <= 0 else a[i]  # NaN ≤ 0 is false: NaN stays


@kernel
def _relu_backward(t, threads, dy, y, dx):
    g, a, b = piece(dy, t, threads), piece(y, t, threads), piece(dx, t, threads)
    for i in range(b.size):
        b[i] = 0 if a[i] <= 0 else g[i]


@kernel
def _leaky_relu(t, threads, x, slope, y):
    a, b = piece(x, t, threads), piece(y, t, threads)
    for i in range(b.size):
        b[i] = a[i] if a[i] > 0 else a[i] * slope


@kernel
def _leaky_relu_backward(t, threads, dy, x, slope, dx):
    g, a, b = piece(dy, t, threads), piece(x, t, threads), piece(dx, t, threads)
    for i in range(b.size):
        b[i] = g[i] if a[i] > 0 else g[i] * slope


@kernel
def _gelu(t, threads, x, exact, y):
    a, b = piece(x, t, threads), piece(y, t, threads)
    for i in range(b.size):
        v = a[i]
        if exact:
            b[i] = 0.5 * v * (1 + math.erf(v * _ROOT_HALF))
        else:
            b[i] = 0.5 * v * (1 + math.tanh(_ROOT_2_BY_PI * (v + _CUBIC * v * v * v)))


@kernel
def _gelu_backward(t, threads, dy, x, exact, dx):
    g, a, b = piece(dy, t, threads), piece(x, t, threads), piece(dx, t, threads)
    for i in range(b.size):
        v = a[i]
        if exact:
            distribution = 0.5 * (1 + math.erf(v * _ROOT_HALF))  # Φ(x)
            density = math.exp(-0.5 * v * v) * (0.5 * _ROOT_2_BY_PI)  # φ(x): 1/√(2π) = ½·√(2/π)
            b[i] = g[i] * (distribution + v * density)
        else:
            u = math.tanh(_ROOT_2_BY_PI * (v + _CUBIC * v * v * v))
            slope = _ROOT_2_BY_PI * (1 + 3 * _CUBIC * v * v)
            b[i] = g[i] * (0.5 * (1 + u) + 0.5 * v * (1 - u * u) * slope)


def relu(x: Array) -> tuple[Array, ReluCache]:
    """y = max(x, 0), any shape."""
    x = ready(x)
    y = empty(x.shape, x.dtype)
    _relu(x.size, x.reshape(-1), y.reshape(-1))
    return y, ReluCache(y)


def relu_backward(dy: Array, cache: ReluCache) -> Array:
    dx = empty(dy.shape, dy.dtype)
    _relu_backward(dy.size, ready(dy).reshape(-1), cache.y.reshape(-1), dx.reshape(-1))
    return dx


def leaky_relu(x: Array, negative_slope: float) -> tuple[Array, LeakyReluCache]:
    """y = x where x > 0, else negative_slope · x; any shape."""
    x = ready(x)
    y = empty(x.shape, x.dtype)
    _leaky_relu(x.size, x.reshape(-1), x.dtype.type(negative_slope), y.reshape(-1))
    return y, LeakyReluCache(x, negative_slope)


def leaky_relu_backward(dy: Array, cache: LeakyReluCache) -> Array:
    x, slope = cache
    dx = empty(dy.shape, dy.dtype)
    _leaky_relu_backward(dy.size, ready(dy).reshape(-1), x.reshape(-1), x.dtype.type(slope), dx.reshape(-1))
    return dx


def gelu(x: Array, approximate: str) -> tuple[Array, GeluCache]:
    """y = x·Φ(x), exactly (approximate "none") or by the tanh form ("tanh"); any shape."""
    x = ready(x)
    y = empty(x.shape, x.dtype)
    _gelu(20 * x.size, x.reshape(-1), approximate == "none", y.reshape(-1))
    return y, GeluCache(x, approximate)


def gelu_backward(dy: Array, cache: GeluCache) -> Array:
    x, approximate = cache
    dx = empty(dy.shape, dy.dtype)
    _gelu_backward(30 * x.size, ready(dy).reshape(-1), x.reshape(-1), approximate == "none", dx.reshape(-1))
    return dx
