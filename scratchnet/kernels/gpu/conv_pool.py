"""Convolution, ReLU and max pooling: the kernels of conv.cu and pool.cu, one after the other."""

from typing import NamedTuple

from scratchnet.kernels.gpu import conv, pool
from scratchnet.ops.shape import Array


class ConvPoolCache(NamedTuple):
    conv: conv.Conv2dCache
    pool: pool.MaxPool2dCache


def conv_relu_max_pool(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    pool_kernel: tuple[int, int],
    pool_stride: tuple[int, int],
    pool_padding: tuple[int, int],
    ceil_mode: bool,
) -> tuple[Array, ConvPoolCache]:
    """max_pool2d(relu(conv2d(x, weight, bias))): x (N, C, H, W), weight (O, C, KH, KW) → y (N, O, PH, PW)."""
    z, conv_cache = conv.conv2d_relu(x, weight, bias, stride, padding)
    y, pool_cache = pool.max_pool2d(z, pool_kernel, pool_stride, pool_padding, 1, ceil_mode)
    return y, ConvPoolCache(conv_cache, pool_cache)


def conv_relu_max_pool_backward(
    dy: Array, cache: ConvPoolCache, wants_dx: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """dy (N, O, PH, PW) → dx (N, C, H, W), or None if it is not wanted, dweight (O, C, KH, KW), dbias (O,) or None."""
    return conv.conv2d_backward(pool.max_pool2d_backward(dy, cache.pool), cache.conv, wants_dx)
