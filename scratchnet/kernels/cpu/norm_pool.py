"""Batch normalisation, ReLU and 2 × 2 pooling as one function. The formulas are in scratchnet/ops/norm.py and pool.py.

Each is a pass over memory of its own, with next to no arithmetic. Here a channel of an image is normalised, cut off and
pooled while it is in the processor's level-1 cache, and only what pooling leaves is written. Backward spreads dy to
the pixels that it came from, and goes on as batch normalisation does.
"""

from typing import NamedTuple

import numpy

from scratchnet.kernels.cpu._arrays import empty, none, optional, ready
from scratchnet.kernels.cpu._compile import inner, kernel, parts
from scratchnet.kernels.cpu.elementwise import select, spread_to_squares
from scratchnet.kernels.cpu.norm import backward_channel, normalise, statistics
from scratchnet.kernels.cpu.vector import BYTES, at, lanes_of, max_of_squares
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
    lanes, plane, zero = lanes_of(x), planes[t], x.dtype.type(0)
    oh, ow = pixels // width // 2, width // 2
    for c in range(t * channels // threads, (t + 1) * channels // threads):
        statistics(x, c, running_mean, running_var, training, momentum, eps, mean, inv_std, new_mean, new_var)
        scale = inv_std[c] * weight[c] if weight.size else inv_std[c]
        shift = bias[c] if bias.size else zero
        for n in range(images):
            z = plane[:pixels] if pool != NO_POOL else y[n, c]
            normalise(x[n, c], mean[c], scale, shift, z)
            if relu and pool != MAX_POOL:
                _where_active(z, z, z)
            first = (n * channels + c) * oh * ow
            if pool == MAX_POOL:
                for i in range(oh):
                    for j in range(0, ow, lanes):
                        top, out, count = 2 * i * width + 2 * j, first + i * ow + j, min(lanes, ow - j)
                        max_of_squares(relu, at(z, top), at(z, top + width), -0.0, at(y, out), at(winner, out), count)
            elif pool == AVG_POOL:
                for i in range(oh):
                    top, bottom = z[2 * i * width : (2 * i + 1) * width], z[(2 * i + 1) * width : (2 * i + 2) * width]
                    _mean_of_squares(top, bottom, y[n, c, i * ow : (i + 1) * ow])


@inner
def _mean_of_squares(top, bottom, y):
    quarter = y.dtype.type(0.25)
    for j in range(y.size):
        y[j] = (top[2 * j] + top[2 * j + 1] + bottom[2 * j] + bottom[2 * j + 1]) * quarter


@kernel
def _backward(
    t, threads, dy, x, y, winner, mean, inv_std, weight, bias, training, width, relu, pool, dx, dweight, dbias
):  # fmt: skip
    """dx (N, C, S), dweight, dbias (C,); dy, y and winner are (N, C, what pooling leaves)."""
    images, channels, pixels = x.shape
    lanes, zero, quarter = lanes_of(x), x.dtype.type(0), x.dtype.type(0.25)
    oh, ow = pixels // width // 2, width // 2
    for c in range(t * channels // threads, (t + 1) * channels // threads):
        scale = inv_std[c] * weight[c] if weight.size else inv_std[c]
        shift = bias[c] if bias.size else zero
        for n in range(images):  # the gradient of what BatchNorm gave, into dx
            dz, first = dx[n, c], (n * channels + c) * oh * ow
            if pool == NO_POOL:
                _where_active(dy[n, c], y[n, c], dz)
                continue
            if 4 * oh * ow < pixels:
                dz[:] = zero  # the last line or column, in no window
            for i in range(oh):
                if pool == MAX_POOL:
                    for j in range(0, ow, lanes):
                        top, out = 2 * i * width + 2 * j, first + i * ow + j
                        spread_to_squares(
                            at(dy, out), at(winner, out), at(dz, top), at(dz, top + width), min(lanes, ow - j)
                        )
                else:
                    share = dy[n, c, i * ow : (i + 1) * ow]
                    for k in range(2):
                        line = dz[(2 * i + k) * width : (2 * i + k + 1) * width]
                        for j in range(share.size):
                            line[2 * j] = share[j] * quarter
                            line[2 * j + 1] = share[j] * quarter
            if pool == AVG_POOL and relu:
                _where_positive(x[n, c], mean[c], scale, shift, dz)
        backward_channel(dx, x, c, mean, inv_std, weight, training, dx, dweight, dbias)


@inner
def _where_active(dy, y, dz):
    """dz = dy where y is not ≤ 0, else 0."""
    for i in range(dz.size):
        dz[i] = select(y[i] <= 0, dz.dtype.type(0), dy[i])


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
    moves = training and running_mean is not None and running_var is not None
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
