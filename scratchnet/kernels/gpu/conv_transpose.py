"""Transposed convolution: the kernels of conv.cu in other roles. The mathematics: scratchnet/ops/conv_transpose.py.

Forward it is what a convolution with the same weights does backward to dx, and backward it is what that one does
forward. In the sizes, which are the convolution's, x and y have changed places.
"""

from typing import NamedTuple

from scratchnet.kernels.gpu import conv
from scratchnet.kernels.gpu._launch import empty, ready
from scratchnet.ops.shape import Array, Pair, pair


class ConvTranspose2dCache(NamedTuple):
    x: Array  # (N, C, H, W)
    weight: Array  # (C, O/G, KH, KW)
    has_bias: bool
    sizes: Array


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
    x, weight = ready(x), ready(weight)
    spans = zip(
        x.shape[2:], weight.shape[2:], pair(stride), pair(padding), pair(output_padding), pair(dilation), strict=True
    )
    out = [(size - 1) * s - 2 * p + d * (k - 1) + extra + 1 for size, k, s, p, extra, d in spans]
    y = empty((x.shape[0], weight.shape[1] * groups, *out), x.dtype)
    sizes = conv.sizes_of(y.shape, weight.shape, x.shape[2:], stride, padding, dilation, groups)
    conv.backward_x(x, weight, bias, sizes, y)
    return y, ConvTranspose2dCache(x, weight, bias is not None, sizes)


def conv_transpose2d_backward(dy: Array, cache: ConvTranspose2dCache) -> tuple[Array, Array, Array | None]:
    """dy (N, O, OH, OW) → dx (N, C, H, W), dweight (C, O/G, KH, KW), dbias (O,) or None."""
    x, weight, has_bias, sizes = cache
    dy = ready(dy)
    dx = empty(x.shape, x.dtype)
    conv.forward(dy, weight, None, sizes, dx)
    return dx, conv.backward_weight(x, dy, sizes, weight.shape), conv.channel_sums(dy) if has_bias else None
