"""Activation functions: elementwise y = f(x), and softmax, which ties the elements of an axis together.

For an elementwise function each output depends on one input, so the chain rule has one term: dx = dy · f′(x).

    relu         max(x, 0)                    f′ = 1 where x > 0, else 0; relu′(0) = 0 by convention
    leaky_relu   x where x > 0, else s·x      f′ = 1 where x > 0, else s (at 0 too)
    sigmoid      σ(x) = 1 / (1 + e^−x)        f′ = y · (1 − y)
    tanh         tanh(x)                      f′ = 1 − y²
    gelu         x · Φ(x)                     f′ = Φ(x) + x · φ(x), the normal distribution function and its density
    gelu, tanh   ½·x·(1 + tanh u)             u = √(2/π)·(x + 0.044715·x³);  f′ = ½(1 + tanh u) + ½·x·(1 − tanh² u)·u′

sigmoid and tanh have their derivative written in y, so y is all they save.

Softmax
-------
    y_i = e^x_i / Σ_k e^x_k         every y_i depends on every x_j:   ∂y_i/∂x_j = y_i·([i = j] − y_j)

    dx_j = Σ_i dy_i · y_i·([i = j] − y_j) = y_j · (dy_j − Σ_i dy_i·y_i)

Subtracting the largest x changes nothing (it cancels in the fraction) and keeps e^x from overflowing. log_softmax
is x_i − log Σ_k e^x_k, computed that way since log(softmax) loses small probabilities: dx_j = dy_j − y_j·Σ_i dy_i
with y = softmax(x).

NaN goes through: relu(NaN) = NaN with gradient dy, as in torch.
Sources: D. Hendrycks, K. Gimpel, "Gaussian Error Linear Units", 2016 (gelu); torch for the conventions at 0.
"""

import math
from typing import NamedTuple

import numpy

from scratchnet.ops.shape import Array, array_module


class ReluCache(NamedTuple):
    active: Array  # where the gradient passes


class LeakyReluCache(NamedTuple):
    active: Array
    negative_slope: float


class OutputCache(NamedTuple):
    y: Array  # sigmoid and tanh


class GeluCache(NamedTuple):
    x: Array
    approximate: str


class SoftmaxCache(NamedTuple):
    y: Array  # softmax(x), for log_softmax too
    dim: int


def relu(x: Array) -> tuple[Array, ReluCache]:
    """y = max(x, 0), any shape."""
    return array_module(x).maximum(x, 0), ReluCache(~(x <= 0))  # not x > 0: NaN stays active


def relu_backward(dy: Array, cache: ReluCache) -> Array:
    return array_module(dy).where(cache.active, dy, 0)


def leaky_relu(x: Array, negative_slope: float) -> tuple[Array, LeakyReluCache]:
    """y = x where x > 0, else negative_slope · x; any shape."""
    active = x > 0
    return array_module(x).where(active, x, x * negative_slope), LeakyReluCache(active, negative_slope)


def leaky_relu_backward(dy: Array, cache: LeakyReluCache) -> Array:
    return array_module(dy).where(cache.active, dy, dy * cache.negative_slope)


def sigmoid(x: Array) -> tuple[Array, OutputCache]:
    """y = 1 / (1 + e^−x), any shape."""
    xp = array_module(x)
    e = xp.exp(-abs(x))  # never overflows: for x < 0 the fraction is widened by e^x
    y = xp.where(x < 0, e, 1) / (1 + e)
    return y, OutputCache(y)


def sigmoid_backward(dy: Array, cache: OutputCache) -> Array:
    return dy * cache.y * (1 - cache.y)


def tanh(x: Array) -> tuple[Array, OutputCache]:
    y = array_module(x).tanh(x)
    return y, OutputCache(y)


def tanh_backward(dy: Array, cache: OutputCache) -> Array:
    return dy * (1 - cache.y * cache.y)


def _erf(x: Array) -> Array:
    """The error function, elementwise; NumPy has none."""
    if array_module(x) is numpy:
        return numpy.vectorize(math.erf, otypes=[x.dtype])(x)
    from cupyx.scipy.special import erf

    return erf(x)


_GELU_CUBIC = 0.044715


def _gelu_tanh(x: Array) -> Array:
    """tanh u of the tanh form."""
    return array_module(x).tanh(math.sqrt(2 / math.pi) * (x + _GELU_CUBIC * x * x * x))


def gelu(x: Array, approximate: str) -> tuple[Array, GeluCache]:
    """y = x·Φ(x), exactly (approximate "none") or by the tanh form ("tanh"); any shape."""
    t = _gelu_tanh(x) if approximate == "tanh" else _erf(x * math.sqrt(0.5))
    return 0.5 * x * (1 + t), GeluCache(x, approximate)


def gelu_backward(dy: Array, cache: GeluCache) -> Array:
    x = cache.x
    if cache.approximate == "tanh":
        t = _gelu_tanh(x)
        du = math.sqrt(2 / math.pi) * (1 + 3 * _GELU_CUBIC * x * x)
        return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du)
    distribution = 0.5 * (1 + _erf(x * math.sqrt(0.5)))  # Φ(x)
    density = array_module(x).exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))  # φ(x)
    return dy * (distribution + x * density)


def _shifted(x: Array, dim: int) -> Array:
    """x less the largest element along axis dim; an empty array has none."""
    return x - x.max(axis=dim, keepdims=True) if x.size else x


def softmax(x: Array, dim: int) -> tuple[Array, SoftmaxCache]:
    """Probabilities along axis dim; any shape."""
    e = array_module(x).exp(_shifted(x, dim))
    y = e / e.sum(axis=dim, keepdims=True)
    return y, SoftmaxCache(y, dim)


def softmax_backward(dy: Array, cache: SoftmaxCache) -> Array:
    y, dim = cache
    return y * (dy - (dy * y).sum(axis=dim, keepdims=True))


def log_softmax(x: Array, dim: int) -> tuple[Array, SoftmaxCache]:
    """log of softmax along axis dim; any shape."""
    xp = array_module(x)
    shifted = _shifted(x, dim)
    y = shifted - xp.log(xp.exp(shifted).sum(axis=dim, keepdims=True))
    return y, SoftmaxCache(xp.exp(y), dim)


def log_softmax_backward(dy: Array, cache: SoftmaxCache) -> Array:
    y, dim = cache
    return dy - y * dy.sum(axis=dim, keepdims=True)
