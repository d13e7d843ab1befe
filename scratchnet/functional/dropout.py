"""Dropout; the mathematics and the random numbers are in scratchnet/ops/dropout.py."""

import warnings

from scratchnet.functional import _check as check
from scratchnet.functional._call import Saved, backward, forward
from scratchnet.ops.shape import Array


def dropout(
    x: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    seed: int = 0,
    stream: int = 0,
    call: int = 0,
    channels: bool = False,
) -> tuple[Array, Saved]:
    """y = mask · x / (1 − p); the mask is a function of (seed, stream, call) alone, nothing random is kept.

    Without training nothing is dropped, and y = x.
    seed, stream < 2³² and call < 2⁶⁴. With channels, x (N, C, …) loses whole channels (n, c).
    """
    check.check_float("dropout", "the input", x)
    p = check.probability("dropout", p)
    p = p if check.boolean("dropout", "training", training) else 0.0
    for name, value, bits in (("seed", seed, 32), ("stream", stream, 32), ("call", call, 64)):
        if check.integer("dropout", name, value, 0) >= 2**bits:
            raise ValueError(f"dropout: expected {name} < 2^{bits}, got {value}")
    return forward("dropout", x, p, (seed, stream), call, channels)


def dropout2d(
    x: Array, p: float = 0.5, training: bool = True, *, seed: int = 0, stream: int = 0, call: int = 0
) -> tuple[Array, Saved]:
    """Drop whole channels of x (N, C, H, W). On other inputs it does what torch does, with a warning as torch's.

    (N, C, L) is taken as a batch too, and loses whole channels; (N, C) loses single elements.
    """
    check.check_float("dropout2d", "the input", x)
    if x.ndim < 2:
        raise ValueError(f"dropout2d: expected an input of shape (N, C, H, W), got {x.shape}")
    if x.ndim != 4:
        what = "single elements, like dropout" if x.ndim == 2 else "whole channels of a batch (N, C, …)"
        warnings.warn(
            f"dropout2d: expected an input of shape (N, C, H, W), got {x.shape}: it drops {what}", stacklevel=2
        )
    return dropout(x, p, training, seed=seed, stream=stream, call=call, channels=x.ndim > 2)


def dropout_backward(dy: Array, cache: Saved) -> Array:
    """dx = mask · dy / (1 − p), with the mask of the forward call."""
    return backward("dropout", dy, cache)
