"""Batch normalisation, number by number. The formula is in scratchnet/ops/norm.py.

Backward here walks the three paths from an element of x to the loss one after the other, where scratchnet/ops
collects them into one expression: its own x̂, the variance, and the mean.
"""

from typing import NamedTuple

import numpy

from scratchnet.kernels.loops._index import double, indices
from scratchnet.ops.shape import Array


class BatchNormCache(NamedTuple):
    x: Array  # (N, C, …)
    mean: Array  # (C,): μ, of the batch or the running one
    std: Array  # (C,): √(σ² + ε)
    weight: Array | None
    has_bias: bool
    training: bool


def batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[tuple[Array, Array | None, Array | None], BatchNormCache]:
    """Normalise each channel of x (N, C, …) → (y, the new running_mean, the new running_var)."""
    dtype, x_double = x.dtype, double(x)
    channels = x.shape[1]
    n = x.size // channels if x.size else 0  # numbers per channel

    if training:
        mean, var = numpy.zeros(channels), numpy.zeros(channels)
        for index in indices(*x.shape):
            mean[index[1]] += x_double[index]
        for c in range(channels):
            mean[c] /= max(n, 1)
        for index in indices(*x.shape):
            var[index[1]] += (x_double[index] - mean[index[1]]) ** 2
        for c in range(channels):
            var[c] /= max(n, 1)
        if running_mean is not None and running_var is not None and n:  # an empty batch moves nothing
            running_mean, running_var = running_mean.copy(), running_var.copy()
            for c in range(channels):
                running_mean[c] = (1 - momentum) * float(running_mean[c]) + momentum * mean[c]
                running_var[c] = (1 - momentum) * float(running_var[c]) + momentum * var[c] * n / (n - 1)
    else:
        mean, var = double(running_mean), double(running_var)

    std = numpy.zeros(channels)
    for c in range(channels):
        std[c] = numpy.sqrt(var[c] + eps)
    y = numpy.zeros(x.shape)
    for index in indices(*x.shape):
        c = index[1]
        x_hat = (x_double[index] - mean[c]) / std[c]
        y[index] = (1.0 if weight is None else weight[c]) * x_hat + (0.0 if bias is None else bias[c])
    cache = BatchNormCache(x, mean, std, weight, bias is not None, training)
    return (y.astype(dtype), running_mean, running_var), cache


def batch_norm_backward(dy: Array, cache: BatchNormCache) -> tuple[Array, Array | None, Array | None]:
    """dy (N, C, …) → dx (N, C, …), dweight (C,) or None, dbias (C,) or None."""
    _, mean, std, weight, has_bias, training = cache
    dtype, dy, x = dy.dtype, double(dy), double(cache.x)
    channels = x.shape[1]
    n = x.size // channels if x.size else 0

    dweight, dbias = numpy.zeros(channels), numpy.zeros(channels)
    dmean, dvar = numpy.zeros(channels), numpy.zeros(channels)
    dx = numpy.zeros(x.shape)
    for index in indices(*x.shape):
        c = index[1]
        x_hat = (x[index] - mean[c]) / std[c]
        dweight[c] += dy[index] * x_hat
        dbias[c] += dy[index]
        dx_hat = dy[index] * (1.0 if weight is None else weight[c])
        dx[index] += dx_hat / std[c]
        dmean[c] += -dx_hat / std[c]
        dvar[c] += -dx_hat * (x[index] - mean[c]) / (2 * std[c] ** 3)
    if training:  # in evaluation the mean and the variance are constants
        for index in indices(*x.shape):
            c = index[1]
            dx[index] += dmean[c] / n  # mean = Σ x / n
            dx[index] += dvar[c] * 2 * (x[index] - mean[c]) / n  # var = Σ (x − mean)² / n; Σ (x − mean) is 0
    return (
        dx.astype(dtype),
        None if weight is None else dweight.astype(dtype),
        dbias.astype(dtype) if has_bias else None,
    )
