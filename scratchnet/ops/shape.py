"""The arithmetic of shapes that convolution and pooling share."""

import sys
from types import ModuleType
from typing import Any

import numpy

Array = Any  # a numpy.ndarray, or a cupy.ndarray on a GPU
Pair = int | tuple[int, int]


def array_module(x: Array) -> ModuleType:
    """The module whose functions work on x: numpy, or cupy for an array on a GPU."""
    if isinstance(x, numpy.ndarray | numpy.generic):
        return numpy
    return sys.modules["cupy"]


def pair(value: Pair) -> tuple[int, int]:
    """3 → (3, 3) and (3, 5) → (3, 5): torch's way to write one number for both axes."""
    return (value, value) if isinstance(value, int) else value


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many windows fit along an axis: ⌊(size + 2·padding − dilation·(kernel − 1) − 1) / stride⌋ + 1."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def pooled_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """`output_size`, with ceil_mode one more window for a rest that a whole stride does not cover.

    That window must start inside the image or its left padding; one that would start in the right padding is
    dropped, as torch does.
    """
    if not ceil_mode:
        return output_size(size, kernel, stride, padding, dilation)
    out = -(-(size + 2 * padding - dilation * (kernel - 1) - 1) // stride) + 1
    return out - 1 if (out - 1) * stride >= size + padding else out


def tap(u: int, v: int, stride: Pair, dilation: Pair, out: tuple[int, int]) -> tuple[Any, slice, slice]:
    """The pixels that kernel position (u, v) touches, one for each of the OH × OW windows.

    Window (i, j) reads pixel (i·SH + u·DH, j·SW + v·DW) at kernel position (u, v). For a fixed (u, v) and all
    windows together that is a strided slice of the padded image: `x[tap(u, v, …)]` is a view (N, C, OH, OW).
    """
    (sh, sw), (dh, dw), (oh, ow) = pair(stride), pair(dilation), out
    rows = slice(u * dh, u * dh + sh * (oh - 1) + 1, sh)
    columns = slice(v * dw, v * dw + sw * (ow - 1) + 1, sw)
    return ..., rows, columns
