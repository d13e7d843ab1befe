"""Losses; the mathematics is in scratchnet/ops/loss.py.

A loss is an array of shape () for reduction "mean" and "sum", and one number per position for "none". Its backward
function takes dloss of that shape and dtype.

A class index out of range is an error. On a GPU, where looking for one would wait for the device, its loss is NaN.
"""

from typing import Any

import numpy

from scratchnet import backend
from scratchnet.functional import _check as check
from scratchnet.functional._call import Saved, backward, forward
from scratchnet.ops.shape import Array, array_module

REDUCTIONS = ("none", "mean", "sum")


def _check_logits(op: str, x: Any, weight: Array | None, reduction: str) -> tuple[bool, int]:
    """Whether x comes without its batch axis, and the number of classes."""
    check.check_float(op, "the input", x)
    check.choice(op, "reduction", reduction, REDUCTIONS)
    if x.ndim == 0:
        raise ValueError(f"{op}: expected an input of shape (N, C, …) or (C,), got {x.shape}")
    unbatched = x.ndim == 1
    classes = x.shape[0 if unbatched else 1]
    if classes == 0:
        raise ValueError(f"{op}: expected at least one class, got an input of shape {x.shape}")
    if weight is not None:
        check.check_parameter(op, "weight", weight, x, (classes,))
    return unbatched, classes


def _check_indices(op: str, target: Any, x: Array, classes: int, unbatched: bool, ignore_index: int) -> None:
    """Class indices: an integer array of the right shape, each 0 … C − 1 or ignore_index."""
    if not check.is_array(target) or target.dtype.kind not in "iu":
        raise TypeError(f"{op}: expected class indices as an integer array, got {check.kind_of(target)}")
    expected = () if unbatched else (x.shape[0], *x.shape[2:])
    if target.shape != expected:
        raise ValueError(f"{op}: expected a target of shape {expected} for an input {x.shape}, got {target.shape}")
    if array_module(target) is not numpy:
        kernel = backend.rung_on("gpu") == "cuda" and not backend.overridden()
        if kernel and target.dtype != "uint64" and ignore_index < 2**63:  # the kernel compares them as int64
            return  # to look would be to wait for the device; the kernel makes the loss NaN
        target = target.get()
    wrong = ((target < 0) | (target >= classes)) & (target != ignore_index)
    if wrong.any():
        position = tuple(numpy.argwhere(wrong)[0].tolist())
        raise ValueError(
            f"{op}: expected targets between 0 and {classes - 1}, got {int(target[position])} at position {position}"
        )


def cross_entropy(
    logits: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tuple[Array, Saved]:
    """Softmax cross entropy of logits (N, C, …) or (C,).

    target holds class indices (N, …), integers, or class probabilities of the logits' shape and dtype.
    """
    op = "cross_entropy"
    unbatched, classes = _check_logits(op, logits, weight, reduction)
    smoothing = check.number(op, "label_smoothing", label_smoothing)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{op}: expected label_smoothing between 0 and 1, got {smoothing}")
    ignore_index = check.integer(op, "ignore_index", ignore_index, -(2**63))
    if check.is_array(target) and target.dtype.kind == "f" and target.shape == logits.shape:
        check.check_parameter(op, "class probabilities", target, logits)
        if ignore_index >= 0:
            raise ValueError(f"{op}: expected no ignore_index with class probabilities, got {ignore_index}")
    else:
        _check_indices(op, target, logits, classes, unbatched, ignore_index)
    if unbatched:
        target = target[None]
    options = weight, ignore_index, reduction, smoothing
    return forward(op, logits, target, *options, unbatched=unbatched)


def cross_entropy_backward(dloss: Array, cache: Saved) -> Array:
    return backward("cross_entropy", dloss, cache)


def nll_loss(
    log_probabilities: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> tuple[Array, Saved]:
    """Negative log likelihood of log probabilities (N, C, …) or (C,) at the class indices (N, …)."""
    op = "nll_loss"
    unbatched, classes = _check_logits(op, log_probabilities, weight, reduction)
    ignore_index = check.integer(op, "ignore_index", ignore_index, -(2**63))
    _check_indices(op, target, log_probabilities, classes, unbatched, ignore_index)
    if unbatched:
        target = target[None]
    return forward(op, log_probabilities, target, weight, ignore_index, reduction, unbatched=unbatched)


def nll_loss_backward(dloss: Array, cache: Saved) -> Array:
    return backward("nll_loss", dloss, cache)


def mse_loss(x: Array, target: Array, reduction: str = "mean") -> tuple[Array, Saved]:
    """Mean squared error of x and target, which must have one shape.

    torch broadcasts them with a warning; (N, 1) against (N,) is nearly always a mistake, so here it is an error.
    """
    check.check_float("mse_loss", "the input", x)
    check.choice("mse_loss", "reduction", reduction, REDUCTIONS)
    check.check_parameter("mse_loss", "target", target, x, x.shape)
    return forward("mse_loss", x, target, reduction)


def mse_loss_backward(dloss: Array, cache: Saved) -> Array:
    return backward("mse_loss", dloss, cache)
