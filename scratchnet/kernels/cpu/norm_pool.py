"""Batch normalisation, ReLU and 2 × 2 pooling as one function. The formulas are in scratchnet/ops/norm.py and pool.py.

Each is a pass over memory of its own, with next to no arithmetic. Here a channel of an image is normalised, cut off and
pooled while it is in the processor's level-1 cache, and only what pooling leaves is written. Backward spreads dy to
the pixels that it came from, and goes on as batch normalisation does.
"""

from typing import NamedTuple

import numpy

from scratchnet.kernels.cpu._arrays import empty, none, optional, ready
from scratchnet.kernels.cpu._compile import inner, kernel, parts
from scratchnet.kernels.cpu.elementwise import mean_of_squares, select, share_with_squares, spread_to_squares
from scratchnet.kernels.cpu.norm import backward_channel, statistics
from scratchnet.kernels.cpu.planes import normalise_planes
from scratchnet.kernels.cpu.vector import BYTES, at, clear, copy_row_where_active, lanes_of, max_of_squares
from scratchnet.ops.shape import Array

NO_POOL, MAX_POOL, AVG_POOL = range(3)


class NormPoolCache(NamedTuple):
    x: Array  # (N, C, H, W)
    y: Array  # (N, C, OH, OW)
    winner: Array  # (N, C, OH, OW) uint8, of max pooling: position 0 … 3 of the maximum; 4: nothing passed ReLU
    mean: Array  # (C,): μ
    inv_std: Array  # (C,): s
    weight: Array  # (C,): γ, or empty
    bias: Array  # (C,): β, or empty
    training: bool
    relu: bool
    pool: int


@kernel
def _forward(
    t, threads, x, weight, bias, running_mean, running_var, training, momentum, eps, mean, inv_std, new_mean, new_var,
    width, relu, pool, planes, y, winner,
):  # fmt: skip
    """x (N, C, S), lines of `width` pixels → y, winner (N, C, what pooling leaves); planes: scratch memory."""
    images, channels, pixels = x.shape
    lanes, plane, zero = lanes_of(x), at(planes, t * planes.shape[1]), x.dtype.type(0)
    oh, ow = pixels // width // 2, width // 2
    for c in range(t * channels // threads, (t + 1) * channels // threads):
        statistics(x, c, running_mean, running_var, training, momentum, eps, mean, inv_std, new_mean, new_var)
        scale = inv_std[c] * weight[c] if weight.size else inv_std[c]
        shift = bias[c] if bias.size else zero
        channel, step = at(x, c * pixels), channels * pixels
        if pool == NO_POOL:
            normalise_planes(channel, mean[c], scale, shift, relu, at(y, c * pixels), images, step, step, pixels)
            continue
        for n in range(images):
            early = relu and pool == AVG_POOL  # max pooling cuts off what it takes
            normalise_planes(at(channel, n * step), mean[c], scale, shift, early, plane, 1, 0, 0, pixels)
            first = (n * channels + c) * oh * ow
            for i in range(oh):
                for j in range(0, ow, lanes):
                    top, out, count = at(plane, 2 * i * width + 2 * j), first + i * ow + j, min(lanes, ow - j)
                    if pool == MAX_POOL:
                        max_of_squares(relu, top, at(top, width), -0.0, at(y, out), at(winner, out), count)
                    else:
                        mean_of_squares(top, at(top, width), at(y, out), count)


@kernel
def _backward(
    t, threads, dy, x, y, winner, mean, inv_std, weight, bias, training, width, relu, pool, dx, dweight, dbias
):  # fmt: skip
    """dx (N, C, S), dweight, dbias (C,); dy, y and winner are (N, C, what pooling leaves)."""
    images, channels, pixels = x.shape
    lanes, zero = lanes_of(x), x.dtype.type(0)
    oh, ow = pixels // width // 2, width // 2
    for c in range(t * channels // threads, (t + 1) * channels // threads):
        scale = inv_std[c] * weight[c] if weight.size else inv_std[c]
        shift = bias[c] if bias.size else zero
        for n in range(images):  # the gradient of what BatchNorm gave, into dx
            place, first = (n * channels + c) * pixels, (n * channels + c) * oh * ow
            if pool == NO_POOL:
                copy_row_where_active(at(dx, place), at(dy, place), at(y, place), pixels)
                continue
            if 4 * oh * ow < pixels:
                clear(at(dx, place), pixels)  # the last line or column, in no window
            for i in range(oh):
                for j in range(0, ow, lanes):
                    top, out, count = at(dx, place + 2 * i * width + 2 * j), first + i * ow + j, min(lanes, ow - j)
                    if pool == MAX_POOL:
                        spread_to_squares(at(dy, out), at(winner, out), top, at(top, width), count)
                    else:
                        share_with_squares(at(dy, out), top, at(top, width), count)
            if pool == AVG_POOL and relu:
                _where_positive(x[n, c], mean[c], scale, shift, dx[n, c])
        backward_channel(dx, x, c, mean, inv_std, weight, training, dx, dweight, dbias)


@inner
def _where_positive(x, mean, scale, shift, dz):
    for i in range(dz.size):
        dz[i] = select((x[i] - mean) * scale + shift <= 0, dz.dtype.type(0), dz[i])


def batch_norm_relu_pool(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
    relu: bool,
    pool: int,
) -> tuple[tuple[Array, Array | None, Array | None], NormPoolCache]:
    """Pooling of max(batch_norm(x), 0), x (N, C, H, W): 2 × 2, stride 2, MAX_POOL, AVG_POOL, or NO_POOL for none.

    → (y, the new running_mean, the new running_var), cache. Arguments as batch_norm's.
    """
    x = ready(x)
    n, c, h, w = x.shape
    shape = x.shape if pool == NO_POOL else (n, c, h // 2, w // 2)
    y, mean, inv_std = empty(shape, x.dtype), empty((c,), x.dtype), empty((c,), x.dtype)
    winner = empty(shape if pool == MAX_POOL else (0,), numpy.uint8)
    moves = training and running_mean is not None and running_var is not None and x.size  # as batch_norm
    new_mean, new_var = (empty((c,), x.dtype), empty((c,), x.dtype)) if moves else (none(x), none(x))
    old = (running_mean, running_var) if moves or not training else (None, None)
    weight, bias, old_mean, old_var = (optional(a, x) for a in (weight, bias, *old))
    threads = parts(8 * x.size)
    _forward.on(
        threads, x.reshape(n, c, h * w), weight, bias, old_mean, old_var, training, momentum, eps, mean, inv_std,
        new_mean, new_var, w, relu, pool, empty((threads, h * w + 2 * BYTES), x.dtype),
        y.reshape(n, c, shape[2] * shape[3]), winner.reshape(-1),
    )  # fmt: skip
    if moves:
        running_mean, running_var = new_mean, new_var
    cache = NormPoolCache(x, y, winner, mean, inv_std, weight, bias, training, relu, pool)
    return (y, running_mean, running_var), cache


def batch_norm_relu_pool_backward(dy: Array, cache: NormPoolCache) -> tuple[Array, Array, Array]:
    """dy (N, C, OH, OW) → dx (N, C, H, W), dweight (C,), dbias (C,)."""
    x, y, winner, mean, inv_std, weight, bias, training, relu, pool = cache
    n, c, h, w = x.shape
    dx, dweight, dbias = empty(x.shape, x.dtype), empty((c,), x.dtype), empty((c,), x.dtype)
    left = y.shape[2] * y.shape[3]
    _backward(
        8 * x.size, ready(dy).reshape(n, c, left), x.reshape(n, c, h * w), y.reshape(n, c, left), winner.reshape(-1),
        mean, inv_std, weight, bias, training, w, relu, pool, dx.reshape(n, c, h * w), dweight, dbias,
    )  # fmt: skip
    return dx, dweight, dbias
