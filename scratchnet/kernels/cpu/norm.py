"""Batch normalisation, channel by channel. Formulas and derivations are in scratchnet/ops/norm.py.

The textbook makes an array of x's size for each sign in the formula. Here a thread takes one channel after another and
runs over it three times, for the mean, the variance and the result: a channel is small enough to stay in the cache of
the processor meanwhile. Backward runs over it twice. What is kept for it is x and two numbers a channel; x̂ is computed
again from them.

The loops are in planes.py. One thread adds up a whole channel, in a fixed order, so that the result does not depend on
the number of threads.
"""

import math
from typing import NamedTuple

import numpy

from scratchnet.kernels.cpu._arrays import empty, none, optional, ready
from scratchnet.kernels.cpu._compile import inner, kernel
from scratchnet.kernels.cpu.planes import (
    differentiate_planes,
    normalise_planes,
    sum_planes,
    sum_products,
    sum_squares,
)
from scratchnet.kernels.cpu.vector import at
from scratchnet.ops.shape import Array


class BatchNormCache(NamedTuple):
    x: Array  # (N, C, S), as `_planes` makes it
    mean: Array  # (C,): μ
    inv_std: Array  # (C,): s
    weight: Array | None  # (C,): γ
    has_bias: bool
    training: bool  # whether μ and σ² came from the batch


@inner
def _scale(dy, scale, dx):
    for i in range(dx.size):
        dx[i] = dy[i] * scale


@inner
def statistics(x, c, running_mean, running_var, training, momentum, eps, mean, inv_std, new_mean, new_var):
    """mean[c] and inv_std[c] of channel c of x (N, C, S); in training new_mean[c], new_var[c], if they are kept."""
    images, channels, pixels = x.shape
    n = max(images * pixels, 1)
    if not training:
        mean[c] = running_mean[c]
        inv_std[c] = 1 / math.sqrt(running_var[c] + eps)
        return
    channel, step = at(x, c * pixels), channels * pixels
    total = sum_planes(channel, images, step, pixels)
    mean[c] = total / n
    squares = sum_squares(channel, mean[c], images, step, pixels)
    inv_std[c] = 1 / math.sqrt(squares / n + eps)
    if running_mean.size:
        new_mean[c] = (1 - momentum) * running_mean[c] + momentum * (total / n)
        new_var[c] = (1 - momentum) * running_var[c] + momentum * (squares / (n - 1))


@kernel
def _forward(
    t, threads, x, weight, bias, running_mean, running_var, training, momentum, eps, mean, inv_std, new_mean, new_var, y
):  # fmt: skip
    """x (N, C, S) → y (N, C, S), mean, inv_std and, in training, new_mean, new_var (C,).

    Empty weight, bias and running statistics are none.
    """
    images, channels, pixels = x.shape
    step = channels * pixels
    for c in range(t * channels // threads, (t + 1) * channels // threads):
        statistics(x, c, running_mean, running_var, training, momentum, eps, mean, inv_std, new_mean, new_var)
        scale = inv_std[c] * weight[c] if weight.size else inv_std[c]
        shift = bias[c] if bias.size else x.dtype.type(0)
        first = c * pixels
        normalise_planes(at(x, first), mean[c], scale, shift, False, at(y, first), images, step, step, pixels)


@inner
def backward_channel(dy, x, c, mean, inv_std, weight, training, dx, dweight, dbias):
    """dx[:, c], dweight[c] and dbias[c] from dy, x (N, C, S); dx may be dy, and an empty weight is none."""
    images, channels, pixels = x.shape
    n, first, step = max(images * pixels, 1), c * pixels, channels * pixels
    total, products = sum_products(at(dy, first), at(x, first), mean[c], images, step, pixels)
    products *= inv_std[c]  # Σ dy·x̂
    dweight[c], dbias[c] = products, total
    scale = inv_std[c] * weight[c] if weight.size else inv_std[c]
    if training:
        shift, slope = x.dtype.type(total / n), x.dtype.type(products / n * inv_std[c])
        differentiate_planes(
            at(dy, first), at(x, first), mean[c], scale, shift, slope, at(dx, first), images, step, pixels
        )  # fmt: skip
    else:
        for k in range(images):
            _scale(dy[k, c], scale, dx[k, c])


@kernel
def _backward(t, threads, dy, x, mean, inv_std, weight, training, dx, dweight, dbias):
    """dx (N, C, S), dweight, dbias (C,) from dy, x (N, C, S); an empty weight is none."""
    channels = x.shape[1]
    for c in range(t * channels // threads, (t + 1) * channels // threads):
        backward_channel(dy, x, c, mean, inv_std, weight, training, dx, dweight, dbias)


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
    """Normalise each channel of x (N, C, …) → (y, the new running_mean, the new running_var).

    The other arrays have shape (C,) or are None. With training the batch's statistics normalise, and the running
    ones move if they are given; without, the running ones normalise and stay.
    """
    planes, channels = _planes(x), x.shape[1]
    y, mean, inv_std = empty(planes.shape, x.dtype), empty((channels,), x.dtype), empty((channels,), x.dtype)
    moves = training and running_mean is not None and running_var is not None and x.size  # an empty batch moves nothing
    new_mean, new_var = (empty((channels,), x.dtype), empty((channels,), x.dtype)) if moves else (none(x), none(x))
    old_mean, old_var = (running_mean, running_var) if moves or not training else (None, None)
    _forward(
        8 * x.size, planes, optional(weight, x), optional(bias, x), optional(old_mean, x), optional(old_var, x),
        training, float(momentum), float(eps), mean, inv_std, new_mean, new_var, y,
    )  # fmt: skip
    if moves:
        running_mean, running_var = new_mean, new_var
    cache = BatchNormCache(planes, mean, inv_std, weight, bias is not None, training)
    return (_as(x.shape, y), running_mean, running_var), cache


def batch_norm_backward(dy: Array, cache: BatchNormCache) -> tuple[Array, Array | None, Array | None]:
    """dy (N, C, …) → dx (N, C, …), dweight (C,) or None, dbias (C,) or None."""
    x, mean, inv_std, weight, has_bias, training = cache
    dx, dweight, dbias = empty(x.shape, x.dtype), empty(mean.shape, x.dtype), empty(mean.shape, x.dtype)
    _backward(8 * x.size, _planes(dy), x, mean, inv_std, optional(weight, x), training, dx, dweight, dbias)
    return _as(dy.shape, dx), None if weight is None else dweight, dbias if has_bias else None


def _planes(x: Array) -> Array:
    """(N, C, …) → (N, C, S), and (N, C) → (1, C, N): the numbers of a channel lie side by side."""
    if x.ndim == 2:
        return numpy.array(x.T[None], order="C")
    return ready(x).reshape(*x.shape[:2], math.prod(x.shape[2:]))


def _as(shape: tuple[int, ...], planes: Array) -> Array:
    """`_planes` undone."""
    return planes.reshape(shape) if len(shape) > 2 else numpy.array(planes[0].T, order="C")
