"""Transposed 2-D convolution, one multiplication at a time. The formula is in scratchnet/ops/conv_transpose.py."""

from typing import NamedTuple

import numpy

from scratchnet.kernels.loops._index import double, indices, inside
from scratchnet.ops.shape import Array, Pair, pair


class ConvTranspose2dCache(NamedTuple):
    x: Array  # (N, C, H, W)
    weight: Array  # (C, O/G, KH, KW)
    has_bias: bool
    stride: Pair
    padding: Pair
    groups: int
    dilation: Pair


def conv_transpose2d(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> tuple[Array, ConvTranspose2dCache]:
    """Scatter x (N, C, H, W) by weight (C, O/G, KH, KW), add bias (O,) or None → y (N, O, OH, OW)."""
    cache = ConvTranspose2dCache(x, weight, bias is not None, stride, padding, groups, dilation)
    dtype, x, weight = x.dtype, double(x), double(weight)
    (n_images, channels, h, w), (_, o_group, kh, kw) = x.shape, weight.shape
    (sh, sw), (ph, pw), (eh, ew), (dh, dw) = pair(stride), pair(padding), pair(output_padding), pair(dilation)
    oh = (h - 1) * sh - 2 * ph + dh * (kh - 1) + eh + 1
    ow = (w - 1) * sw - 2 * pw + dw * (kw - 1) + ew + 1

    y = numpy.zeros((n_images, o_group * groups, oh, ow))
    for n, o, row, column in indices(*y.shape):
        y[n, o, row, column] = 0.0 if bias is None else bias[o]
    for n, c, i, j in indices(*x.shape):
        group = c // (channels // groups)
        for o, u, v in indices(o_group, kh, kw):
            channel, row, column = group * o_group + o, i * sh + u * dh - ph, j * sw + v * dw - pw
            if inside(row, column, y.shape):
                y[n, channel, row, column] += x[n, c, i, j] * weight[c, o, u, v]
    return y.astype(dtype), cache


def conv_transpose2d_backward(dy: Array, cache: ConvTranspose2dCache) -> tuple[Array, Array, Array | None]:
    """dy (N, O, OH, OW) → dx (N, C, H, W), dweight (C, O/G, KH, KW), dbias (O,) or None."""
    dtype, dy, x, weight = dy.dtype, double(dy), double(cache.x), double(cache.weight)
    channels, o_group, kh, kw = weight.shape
    (sh, sw), (ph, pw), (dh, dw) = pair(cache.stride), pair(cache.padding), pair(cache.dilation)

    dx, dweight, dbias = numpy.zeros(x.shape), numpy.zeros(weight.shape), numpy.zeros(dy.shape[1])
    for n, o, row, column in indices(*dy.shape):
        dbias[o] += dy[n, o, row, column]
    for n, c, i, j in indices(*x.shape):
        group = c // (channels // cache.groups)
        for o, u, v in indices(o_group, kh, kw):
            channel, row, column = group * o_group + o, i * sh + u * dh - ph, j * sw + v * dw - pw
            if inside(row, column, dy.shape):
                dx[n, c, i, j] += dy[n, channel, row, column] * weight[c, o, u, v]
                dweight[c, o, u, v] += dy[n, channel, row, column] * x[n, c, i, j]
    return dx.astype(dtype), dweight.astype(dtype), dbias.astype(dtype) if cache.has_bias else None
