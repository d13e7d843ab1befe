"""The fully connected layer: cuBLAS's matrix products, and the kernels of linear.cu around them.

The formula and the derivation are in scratchnet/ops/linear.py.
"""

import math
from typing import NamedTuple

from scratchnet.kernels.gpu._launch import blocks, each, empty, launch, ready
from scratchnet.kernels.gpu.dropout import keep_mask
from scratchnet.ops.linear import LinearCache
from scratchnet.ops.shape import Array


class LinearReluCache(NamedTuple):
    linear: LinearCache
    y: Array | None  # (N, O), where ReLU is part of the function: 0 where ReLU or dropout let nothing pass
    scale: float  # 1 / (1 − p) of dropout, else 1


def linear(x: Array, weight: Array, bias: Array | None) -> tuple[Array, LinearCache]:
    """x (…, I), weight (O, I), bias (O,) or None → y (…, O)."""
    y = x @ weight.T
    if bias is not None:
        _finish(y, bias)
    return y, LinearCache(x, weight, bias is not None)


def linear_backward(dy: Array, cache: LinearCache, wants_dx: bool = True) -> tuple[Array | None, Array, Array | None]:
    """dy (…, O) → dx (…, I), dweight (O, I), dbias (O,) or None."""
    x, weight, has_bias = cache
    o, i = weight.shape
    rows = math.prod(x.shape[:-1])
    dY = ready(dy).reshape(rows, o)
    dweight = dY.T @ x.reshape(rows, i)
    dbias = None
    if has_bias:
        dbias = empty((o,), dy.dtype)
        launch("linear", "column_sums", dy.dtype, blocks(o, 32), (32, 8), dY, dbias, rows, o)
    return dy @ weight if wants_dx else None, dweight, dbias


def linear_relu_dropout(
    x: Array, weight: Array, bias: Array | None, relu: bool, drop: tuple[float, tuple[int, int], int] | None
) -> tuple[Array, LinearReluCache]:
    """dropout(relu(linear(x, weight, bias))) of x (N, I); drop is (p, key, call), or None for no dropout."""
    y, mask, scale = x @ weight.T, None, 1.0
    if drop is not None and relu:
        p, key, call = drop
        mask, scale = keep_mask(y.shape, p, key, call), 1 / (1 - p) if p < 1 else 0.0
    _finish(y, bias, relu, mask, scale)
    return y, LinearReluCache(LinearCache(x, weight, bias is not None), y if relu else None, scale)


def linear_relu_dropout_backward(
    dy: Array, cache: LinearReluCache, wants_dx: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """dy (N, O) → dx (N, I), or None if it is not wanted, dweight (O, I), dbias (O,) or None."""
    if cache.y is not None:
        gated = empty(dy.shape, dy.dtype)
        each("linear", "relu_dropout_backward", dy, ready(dy), cache.y, float(cache.scale), gated)
        dy = gated
    return linear_backward(dy, cache.linear, wants_dx)


def _finish(y: Array, bias: Array | None, relu: bool = False, mask: Array | None = None, scale: float = 1.0) -> None:
    """Bias, ReLU and dropout, into y itself."""
    bias = None if bias is None else ready(bias)
    each("linear", "bias_relu_dropout", y, y, bias, relu, mask, float(scale), y.shape[-1])
