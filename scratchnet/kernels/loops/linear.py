"""The fully connected layer. The formula and the derivation are in scratchnet/ops/linear.py."""

from typing import NamedTuple

import numpy

from scratchnet.kernels.loops._index import double, indices
from scratchnet.ops.shape import Array


class LinearCache(NamedTuple):
    x: Array  # (…, I)
    weight: Array  # (O, I)
    has_bias: bool


def linear(x: Array, weight: Array, bias: Array | None) -> tuple[Array, LinearCache]:
    """x (…, I), weight (O, I), bias (O,) or None → y (…, O)."""
    cache = LinearCache(x, weight, bias is not None)
    dtype, x, weight = x.dtype, double(x), double(weight)
    out_features, in_features = weight.shape

    y = numpy.zeros((*x.shape[:-1], out_features))
    for *n, o in indices(*y.shape):
        total = 0.0 if bias is None else float(bias[o])
        for i in range(in_features):
            total += weight[o, i] * x[*n, i]
        y[*n, o] = total
    return y.astype(dtype), cache


def linear_backward(dy: Array, cache: LinearCache) -> tuple[Array, Array, Array | None]:
    """dy (…, O) → dx (…, I), dweight (O, I), dbias (O,) or None."""
    dtype, dy, x, weight = dy.dtype, double(dy), double(cache.x), double(cache.weight)
    out_features, in_features = weight.shape

    dx, dweight, dbias = numpy.zeros(x.shape), numpy.zeros(weight.shape), numpy.zeros(out_features)
    for *n, o in indices(*dy.shape):
        dbias[o] += dy[*n, o]
        for i in range(in_features):
            dweight[o, i] += dy[*n, o] * x[*n, i]
            dx[*n, i] += dy[*n, o] * weight[o, i]
    return dx.astype(dtype), dweight.astype(dtype), dbias.astype(dtype) if cache.has_bias else None
