"""Pooling; the mathematics is in scratchnet/ops/pool.py. Inputs are (N, C, H, W), or (C, H, W) without batch."""

from typing import Any

from scratchnet.functional import _check as check
from scratchnet.functional._call import Saved, backward, forward
from scratchnet.ops import pool
from scratchnet.ops.shape import Array, Pair, pooled_size

_LAYOUT = "(N, C, H, W) or (C, H, W)"


def _check_input(op: str, x: Array) -> None:
    check.check_float(op, "the input", x)
    check.check_ndim(op, x, (3, 4), _LAYOUT)
    if 0 in x.shape[-2:]:
        raise ValueError(f"{op}: expected images of at least one pixel, got an input of shape {x.shape}")


def _windows(op: str, x: Array, kernel_size, stride, padding, dilation, ceil_mode) -> tuple[Any, ...]:
    """The window options as pairs, checked against the input's size."""
    _check_input(op, x)
    if x.shape[-3] == 0:
        raise ValueError(f"{op}: expected at least one channel and one pixel, got an input of shape {x.shape}")
    ceil_mode = check.boolean(op, "ceil_mode", ceil_mode)
    kernel = check.integer_pair(op, "kernel_size", kernel_size, 1)
    no_stride = stride is None or (isinstance(stride, tuple | list) and not stride)
    strides = kernel if no_stride else check.integer_pair(op, "stride", stride, 1)
    paddings = check.integer_pair(op, "padding", padding, 0)
    dilations = check.integer_pair(op, "dilation", dilation, 1)
    for size, k, s, p, d in zip(x.shape[-2:], kernel, strides, paddings, dilations, strict=True):
        if p > k // 2:
            raise ValueError(
                f"{op}: expected padding of at most half of the window, got padding {padding} with kernel_size "
                f"{kernel_size}"
            )
        if pooled_size(size, k, s, p, d, ceil_mode) < 1:
            raise ValueError(f"{op}: expected an input no smaller than the window {kernel}, got shape {x.shape}")
    return kernel, strides, paddings, dilations, ceil_mode


def max_pool2d(
    x: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Any, Saved]:
    """The largest pixel of each window; stride defaults to kernel_size.

    With return_indices → ((y, indices), cache): of y's shape, the position row·W + column of each maximum in its image.
    """
    op = "max_pool2d"
    windows = _windows(op, x, kernel_size, stride, padding, dilation, ceil_mode)
    return_indices = check.boolean(op, "return_indices", return_indices)
    y, cache = forward(op, x, *windows, unbatched=x.ndim == 3)
    if not return_indices:
        return y, cache
    indices = pool.max_pool2d_indices(x.reshape(-1, *x.shape[-3:]), *windows)
    return (y, indices.reshape(y.shape)), cache


def max_pool2d_backward(dy: Array, cache: Saved) -> Array:
    return backward("max_pool2d", dy, cache)


def avg_pool2d(
    x: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Array, Saved]:
    """The mean of each window; stride defaults to kernel_size."""
    op = "avg_pool2d"
    kernel, strides, paddings, _, ceil_mode = _windows(op, x, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override is not None and check.integer(op, "divisor_override", divisor_override, -(2**62)) == 0:
        raise ValueError("avg_pool2d: expected a divisor_override other than 0")
    options = ceil_mode, check.boolean(op, "count_include_pad", count_include_pad), divisor_override
    return forward(op, x, kernel, strides, paddings, *options, unbatched=x.ndim == 3)


def avg_pool2d_backward(dy: Array, cache: Saved) -> Array:
    return backward("avg_pool2d", dy, cache)


def adaptive_avg_pool2d(x: Array, output_size: int | tuple[int | None, int | None]) -> tuple[Array, Saved]:
    """The means of OH × OW windows that share out the image; (None, 7) keeps the input's height."""
    op = "adaptive_avg_pool2d"
    _check_input(op, x)
    sizes = output_size if isinstance(output_size, tuple | list) else (output_size, output_size)
    if len(sizes) != 2 or output_size is None:
        raise ValueError(f"{op}: expected output_size as an integer or a pair (h, w), got {output_size!r}")
    oh, ow = (
        size if out is None else check.integer(op, "output_size", out, 0)
        for size, out in zip(x.shape[-2:], sizes, strict=True)
    )
    return forward(op, x, (oh, ow), unbatched=x.ndim == 3)


def adaptive_avg_pool2d_backward(dy: Array, cache: Saved) -> Array:
    return backward("adaptive_avg_pool2d", dy, cache)
