"""Padding of images: a border of zeros, of mirrored, repeated or wrapped-around pixels.

Formula
-------
Padding is a copy by index: along each axis, output position i is filled from source position s(i)::

    y[n, c, i, j] = x[n, c, s(i), s(j)]

    i − before    -2 -1 │ 0  1  2  3 │ 4  5        (an axis of size 4, padded by 2 on both sides)
    zeros          ·  · │ 0  1  2  3 │ ·  ·        · is the constant 0
    reflect        2  1 │ 0  1  2  3 │ 2  1        mirrored without repeating the edge
    replicate      0  0 │ 0  1  2  3 │ 3  3        the edge pixel again
    circular       2  3 │ 0  1  2  3 │ 0  1        wrapped around

Backward
--------
A copy passes its gradient to the pixel that it was copied from, and copies of one pixel add up:
dx[s] = Σ over all i with s(i) = s of dy[i]. With zeros the border was no input, so its gradient is cut off.

`pads` is (left, right, top, bottom), as in torch.nn.functional.pad. Reflect needs pads < the axis' size,
circular pads ≤ it.
"""

from typing import NamedTuple

import numpy

from scratchnet.ops.shape import Array, array_module

Pads = tuple[int, int, int, int]


class Pad2dCache(NamedTuple):
    x_shape: tuple[int, ...]
    pads: Pads
    mode: str


def pad_with(x: Array, pads: Pads, value: float = 0.0) -> Array:
    """x (…, H, W) inside a border of one value → (…, top + H + bottom, left + W + right)."""
    left, right, top, bottom = pads
    if not any(pads):
        return x
    *batch, h, w = x.shape
    y = array_module(x).full((*batch, top + h + bottom, left + w + right), value, x.dtype)
    y[..., top : top + h, left : left + w] = x
    return y


def crop(y: Array, pads: Pads) -> Array:
    """What lies inside the border: (…, top + H + bottom, left + W + right) → (…, H, W)."""
    left, right, top, bottom = pads
    return y[..., top : y.shape[-2] - bottom, left : y.shape[-1] - right]


def source_index(size: int, before: int, after: int, mode: str) -> numpy.ndarray:
    """s(i): the source position of each of the before + size + after positions of a padded axis."""
    i = numpy.arange(-before, size + after)
    if mode == "reflect":
        i = numpy.abs(i)
        return numpy.where(i >= size, 2 * (size - 1) - i, i)
    if mode == "replicate":
        return i.clip(0, size - 1)
    return i % size  # circular


def pad2d(x: Array, pads: Pads, mode: str = "zeros") -> tuple[Array, Pad2dCache]:
    """Pad x (N, C, H, W) with mode zeros, reflect, replicate or circular."""
    cache = Pad2dCache(x.shape, pads, mode)
    if mode == "zeros":
        return pad_with(x, pads), cache
    left, right, top, bottom = pads
    rows = source_index(x.shape[2], top, bottom, mode)
    columns = source_index(x.shape[3], left, right, mode)
    xp = array_module(x)
    return x[:, :, xp.asarray(rows)[:, None], xp.asarray(columns)], cache


def pad2d_backward(dy: Array, cache: Pad2dCache) -> Array:
    """dy of the padded shape → dx (N, C, H, W)."""
    (n, c, h, w), (left, right, top, bottom), mode = cache
    if mode == "zeros":
        return crop(dy, cache.pads)
    xp = array_module(dy)
    drows = xp.zeros((n, c, h, dy.shape[3]), dy.dtype)  # rows folded back, columns still padded
    for i, source in enumerate(source_index(h, top, bottom, mode)):
        drows[:, :, source] += dy[:, :, i]
    dx = xp.zeros((n, c, h, w), dy.dtype)
    for j, source in enumerate(source_index(w, left, right, mode)):
        dx[..., source] += drows[..., j]
    return dx
