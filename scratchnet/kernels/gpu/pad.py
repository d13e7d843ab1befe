"""Launchers of pad.cu; the modes are in scratchnet/ops/pad.py."""

from scratchnet.kernels.gpu._launch import each, empty, ready
from scratchnet.ops.pad import Pad2dCache, Pads
from scratchnet.ops.shape import Array

_MODES = {"zeros": 0, "reflect": 1, "replicate": 2, "circular": 3}


def pad2d(x: Array, pads: Pads, mode: str = "zeros") -> tuple[Array, Pad2dCache]:
    """Pad x (N, C, H, W) with mode zeros, reflect, replicate or circular."""
    left, right, top, bottom = pads
    n, c, h, w = x.shape
    y = empty((n, c, top + h + bottom, left + w + right), x.dtype)
    each("pad", "pad2d", y, ready(x), y, _MODES[mode], top, left, h, w, *y.shape[2:])
    return y, Pad2dCache(x.shape, pads, mode)


def pad2d_backward(dy: Array, cache: Pad2dCache) -> Array:
    """dy of the padded shape → dx (N, C, H, W)."""
    x_shape, (left, _, top, _), mode = cache
    dx = empty(x_shape, dy.dtype)
    each("pad", "pad2d_backward", dx, ready(dy), dx, _MODES[mode], top, left, *x_shape[2:], *dy.shape[2:])
    return dx
