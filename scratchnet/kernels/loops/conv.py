"""2-D convolution, one multiplication at a time. The formula and the derivation are in scratchnet/ops/conv.py."""

from typing import NamedTuple

import numpy

from scratchnet.kernels.loops._index import double, indices, inside
from scratchnet.ops.shape import Array, Pair, output_size, pair


class Conv2dCache(NamedTuple):
    x: Array  # (N, C, H, W)
    weight: Array  # (O, C/G, KH, KW)
    has_bias: bool
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Conv2dCache]:
    """Convolve x (N, C, H, W) with weight (O, C/G, KH, KW) and bias (O,) or None → y (N, O, OH, OW)."""
    cache = Conv2dCache(x, weight, bias is not None, stride, padding, dilation, groups)
    dtype, x, weight = x.dtype, double(x), double(weight)
    (n_images, _, h, w), (o_channels, c_group, kh, kw) = x.shape, weight.shape
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    oh, ow = output_size(h, kh, sh, ph, dh), output_size(w, kw, sw, pw, dw)

    y = numpy.zeros((n_images, o_channels, oh, ow))
    for n, o, i, j in indices(n_images, o_channels, oh, ow):
        group = o // (o_channels // groups)
        total = 0.0 if bias is None else float(bias[o])
        for c, u, v in indices(c_group, kh, kw):
            channel, row, column = group * c_group + c, i * sh + u * dh - ph, j * sw + v * dw - pw
            pixel = x[n, channel, row, column] if inside(row, column, x.shape) else 0.0
            total += weight[o, c, u, v] * pixel
        y[n, o, i, j] = total
    return y.astype(dtype), cache


def conv2d_backward(dy: Array, cache: Conv2dCache) -> tuple[Array, Array, Array | None]:
    """dy (N, O, OH, OW) → dx (N, C, H, W), dweight (O, C/G, KH, KW), dbias (O,) or None."""
    dtype, dy, x, weight = dy.dtype, double(dy), double(cache.x), double(cache.weight)
    o_channels, c_group, kh, kw = weight.shape
    (sh, sw), (ph, pw), (dh, dw) = pair(cache.stride), pair(cache.padding), pair(cache.dilation)

    dx, dweight, dbias = numpy.zeros(x.shape), numpy.zeros(weight.shape), numpy.zeros(o_channels)
    for n, o, i, j in indices(*dy.shape):
        group = o // (o_channels // cache.groups)
        dbias[o] += dy[n, o, i, j]
        for c, u, v in indices(c_group, kh, kw):
            channel, row, column = group * c_group + c, i * sh + u * dh - ph, j * sw + v * dw - pw
            if inside(row, column, x.shape):
                dweight[o, c, u, v] += dy[n, o, i, j] * x[n, channel, row, column]
                dx[n, channel, row, column] += dy[n, o, i, j] * weight[o, c, u, v]
    return dx.astype(dtype), dweight.astype(dtype), dbias.astype(dtype) if cache.has_bias else None
