"""The fully connected layer.

Formula
-------
    y[n, o] = Σ_i weight[o, i] · x[n, i] + bias[o]            Y = X · Wᵀ + bias

Backward
--------
y is linear in each of its three inputs, so each gradient is dy summed along every path to the loss::

    dx[n, i]      = Σ_o dy[n, o] · weight[o, i]               dX = dY · W
    dweight[o, i] = Σ_n dy[n, o] · x[n, i]                    dW = dYᵀ · X
    dbias[o]      = Σ_n dy[n, o]

A quick check that also tells which factor goes where: a gradient has the shape of what it is the gradient of, and
only one order of the factors gives it.
"""

import math
from typing import NamedTuple

from scratchnet.ops.shape import Array


class LinearCache(NamedTuple):
    x: Array
    weight: Array
    has_bias: bool


def linear(x: Array, weight: Array, bias: Array | None) -> tuple[Array, LinearCache]:
    """x (…, I), weight (O, I), bias (O,) or None → y (…, O)."""
    y = x @ weight.T  # (…, O)
    if bias is not None:
        y += bias
    return y, LinearCache(x, weight, bias is not None)


def linear_backward(dy: Array, cache: LinearCache) -> tuple[Array, Array, Array | None]:
    """dy (…, O) → dx (…, I), dweight (O, I), dbias (O,) or None."""
    x, weight, has_bias = cache
    out_features, in_features = weight.shape
    rows = math.prod(x.shape[:-1])  # N: all leading axes together
    dY = dy.reshape(rows, out_features)  # (N, O)
    dweight = dY.T @ x.reshape(rows, in_features)  # (O, I)
    dbias = dY.sum(axis=0) if has_bias else None  # (O,)
    dx = dy @ weight  # (…, I)
    return dx, dweight, dbias
