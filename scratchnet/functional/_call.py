"""The way of every op: find the rung, run forward, remember what backward needs; check dy, run backward."""

from typing import Any, NamedTuple

import numpy

from scratchnet import backend
from scratchnet.functional import _check as check
from scratchnet.ops.shape import Array


class Saved(NamedTuple):
    """What a forward call saved for its backward call."""

    op: str
    rung: str  # backward runs on the rung that made the cache
    cache: Any
    shape: tuple[int, ...]  # of y
    dtype: Any
    unbatched: bool  # x came without its batch axis
    batch_shape: tuple[int, ...]  # of y as the op returned it, with the batch axis


def forward(op: str, x: Array, *args: Any, unbatched: bool = False) -> tuple[Any, Saved]:
    """Run op(x, *args) on the rung of x. With unbatched, x has no batch axis and y gets none."""
    pair = backend.implementation(op, backend.rung_for(x))
    if unbatched:
        x = x[None]
    with numpy.errstate(all="ignore"):  # infinities and NaN are values like others, as in torch
        result, cache = pair.forward(x, *args)
    y = result[0] if isinstance(result, tuple) else result
    batch_shape = y.shape
    if unbatched and y.ndim:  # a loss that is summed over the batch has no axis to lose
        y = y[0]
    saved = Saved(op, pair.rung, cache, y.shape, y.dtype, unbatched, batch_shape)
    return (y, *result[1:]) if isinstance(result, tuple) else y, saved


def backward(op: str, dy: Array, saved: Saved) -> Any:
    """Run the op's backward function on the rung that ran forward."""
    if not isinstance(saved, Saved):
        raise TypeError(
            f"{op}_backward: expected the cache that {op} returned, got {type(saved).__name__}"
            + (" (nothing is kept under no_grad)" if saved is None else "")
        )
    if saved.op != op:
        raise ValueError(f"{op}_backward: expected a cache of {op}, got one of {saved.op}")
    if not hasattr(dy, "dtype") or dy.dtype != saved.dtype:
        raise TypeError(f"{op}_backward: expected dy as an array of {saved.dtype}, got {check.kind_of(dy)}")
    if dy.shape != saved.shape:
        raise ValueError(f"{op}_backward: expected dy of y's shape {saved.shape}, got {dy.shape}")
    pair = backend.implementation(op, saved.rung)
    with numpy.errstate(all="ignore"):
        gradients = pair.backward(dy.reshape(saved.batch_shape) if saved.unbatched else dy, saved.cache)
    if not saved.unbatched:
        return gradients
    if isinstance(gradients, tuple):
        return (gradients[0][0], *gradients[1:])
    return gradients[0]
