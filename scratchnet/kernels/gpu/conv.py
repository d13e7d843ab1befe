"""Launchers of conv.cu. The mathematics is in scratchnet/ops/conv.py; how a tile is computed, in conv.cu."""

from typing import NamedTuple

import numpy

from scratchnet.kernels.gpu._launch import FEW_CHANNELS, MANY_CHANNELS, THREADS, blocks, each, empty, launch, ready
from scratchnet.kernels.gpu.activation import ReluCache, relu_backward
from scratchnet.ops.shape import Array, Pair, output_size, pair

_FIELDS = "n", "c", "h", "w", "o", "oh", "ow", "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw", "groups"
SIZES = numpy.dtype([(name, numpy.int32) for name in _FIELDS])  # struct Sizes of conv.cu
_COLUMNS = 64  # of a tile
_PARTS_OF = 512  # terms of dW's sum for one block, at least
_MOST_PARTS = 64


class Conv2dCache(NamedTuple):
    x: Array
    weight: Array
    has_bias: bool
    sizes: Array
    y: Array | None  # where ReLU is part of the function


def sizes_of(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], out: tuple[int, int], stride: Pair, padding: Pair,
    dilation: Pair, groups: int,
) -> Array:  # fmt: skip
    """The struct that the kernels take, as an array of one element: CuPy passes that by value."""
    (n, c, h, w), (o, _, kh, kw) = x_shape, weight_shape
    values = n, c, h, w, o, *out, kh, kw, *pair(stride), *pair(padding), *pair(dilation), groups
    return numpy.array(tuple(values), SIZES)


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
    return conv2d_relu(x, weight, bias, stride, padding, dilation, groups, relu=False)


def conv2d_relu(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    relu: bool = True,
) -> tuple[Array, Conv2dCache]:
    """max(conv2d, 0): the kernel cuts off what it writes. Its backward function is conv2d_backward."""
    x, weight = ready(x), ready(weight)
    spans = zip(x.shape[2:], weight.shape[2:], pair(stride), pair(padding), pair(dilation), strict=True)
    oh, ow = (output_size(*span) for span in spans)
    sizes = sizes_of(x.shape, weight.shape, (oh, ow), stride, padding, dilation, groups)
    y = empty((x.shape[0], weight.shape[0], oh, ow), x.dtype)
    forward(x, weight, bias, sizes, y, relu)
    return y, Conv2dCache(x, weight, bias is not None, sizes, y if relu else None)


def conv2d_backward(dy: Array, cache: Conv2dCache, wants_dx: bool = True) -> tuple[Array | None, Array, Array | None]:
    """dy (N, O, OH, OW) → dx (N, C, H, W) if it is wanted, dweight (O, C/G, KH, KW), dbias (O,) or None."""
    x, weight, has_bias, sizes, y = cache
    dy = ready(dy) if y is None else relu_backward(dy, ReluCache(y))
    dx = None
    if wants_dx:
        dx = empty(x.shape, x.dtype)
        backward_x(dy, weight, None, sizes, dx)
    return dx, backward_weight(dy, x, sizes, weight.shape), channel_sums(dy) if has_bias else None


# The kernels' launches. A transposed convolution (conv_transpose.py) uses the same ones in other roles.


def forward(x: Array, weight: Array, bias: Array | None, sizes: Array, y: Array, relu: bool = False) -> None:
    """y (N, O, OH, OW)"""
    bias = None if bias is None else ready(bias)
    _tiles("conv2d", y, int(sizes["o"]), sizes, x, weight, bias, relu, y)


def backward_x(dy: Array, weight: Array, bias: Array | None, sizes: Array, dx: Array) -> None:
    """dx (N, C, H, W)"""
    bias = None if bias is None else ready(bias)
    _tiles("conv2d_backward_x", dx, int(sizes["c"]), sizes, dy, weight, bias, dx)


def backward_weight(dy: Array, x: Array, sizes: Array, shape: tuple[int, ...]) -> Array:
    """dweight (O, C/G, KH, KW)"""
    terms = int(sizes["n"]) * int(sizes["oh"]) * int(sizes["ow"])
    parts = max(1, min(terms // _PARTS_OF, _MOST_PARTS))
    dweight, groups = empty((parts, *shape), dy.dtype), int(sizes["groups"])
    rows = shape[0] // groups
    options, tile_rows = _variant(rows)
    grid = blocks(dweight[0, 0].size, _COLUMNS), blocks(rows, tile_rows), groups * parts
    launch(
        "conv", "conv2d_backward_weight", dy.dtype, grid, THREADS, dy, x, dweight, parts, sizes, options=options
    )  # fmt: skip
    if parts == 1:
        return dweight[0]
    total = empty(shape, dy.dtype)
    each("conv", "sum_of_parts", total, dweight, parts, total)
    return total


def channel_sums(dy: Array) -> Array:
    """dbias (O,)"""
    n, o, oh, ow = dy.shape
    dbias = empty((o,), dy.dtype)
    launch("conv", "channel_sums", dy.dtype, o, THREADS, dy, dbias, n, o, oh * ow)
    return dbias


def im2col(
    x: Array, kernel: tuple[int, int], stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1
) -> tuple[Array, Array]:
    """Every window of the image as a column: (N, C, H, W) → (N, C, KH, KW, OH, OW), and the sizes for col2im."""
    spans = zip(x.shape[2:], kernel, pair(stride), pair(padding), pair(dilation), strict=True)
    oh, ow = (output_size(*span) for span in spans)
    sizes = sizes_of(x.shape, (1, 1, *kernel), (oh, ow), stride, padding, dilation, 1)
    cols = empty((*x.shape[:2], *kernel, oh, ow), x.dtype)
    each("conv", "im2col", cols, ready(x), cols, sizes)
    return cols, sizes


def col2im(dcols: Array, sizes: Array) -> Array:
    """The gradient of im2col: each pixel adds up the elements of the columns that were read from it."""
    dx = empty(tuple(int(sizes[name]) for name in "nchw"), dcols.dtype)
    each("conv", "col2im", dx, ready(dcols), dx, sizes)
    return dx


def _tiles(kernel: str, result: Array, channels: int, sizes: Array, *args: Array | bool | None) -> None:
    """A block for each tile of the result (N, channels, …) of each group."""
    groups = int(sizes["groups"])
    options, tile_rows = _variant(channels // groups)
    columns = result.size // channels
    grid = blocks(columns, _COLUMNS), blocks(channels // groups, tile_rows), groups
    launch("conv", kernel, result.dtype, grid, THREADS, *args, sizes, options=options)


def _variant(rows: int) -> tuple[tuple[str, ...], int]:
    """The compiler's options for a result of so many rows, and the rows of a tile."""
    return (FEW_CHANNELS, 16) if rows <= 16 else (MANY_CHANNELS, 64)
