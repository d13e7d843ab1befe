"""Launchers of loss.cu; the mathematics is in scratchnet/ops/loss.py.

Losses stay on the device. A class index out of range, which the CPU refuses, cannot be seen from here without waiting
for the device: it makes the loss NaN.
"""

import math
from typing import NamedTuple

import numpy

from scratchnet.kernels.gpu._launch import THREADS, blocks, each, empty, launch, ready
from scratchnet.ops import loss as textbook
from scratchnet.ops.shape import Array

_WARP = 32


class CrossEntropyCache(NamedTuple):
    p: Array  # softmax(logits)
    target: Array
    weight: Array | None
    ignore_index: int
    label_smoothing: float
    divisor: Array | None  # of the mean


class NllLossCache(NamedTuple):
    shape: tuple[int, ...]
    target: Array
    weight: Array | None
    ignore_index: int
    divisor: Array | None


class MseLossCache(NamedTuple):
    difference: Array  # x − t
    reduction: str


def cross_entropy(
    logits: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tuple[Array, CrossEntropyCache | textbook.CrossEntropyCache]:
    """Softmax cross entropy of logits (N, C, …) with class indices (N, …) or probabilities (N, C, …).

    → loss of shape () for "mean" and "sum", (N, …) for "none".
    """
    if target.ndim == logits.ndim or ignore_index >= 2**63:  # indices are compared as int64
        return textbook.cross_entropy(logits, target, weight, ignore_index, reduction, label_smoothing)
    target, weight = _int64(target), None if weight is None else ready(weight)
    p, losses, counted = (empty(shape, logits.dtype) for shape in (logits.shape, target.shape, target.shape))
    launch(
        "loss", "cross_entropy", logits.dtype, blocks(target.size * _WARP), THREADS, ready(logits), target, weight,
        numpy.int64(ignore_index), float(label_smoothing), p, losses, counted, *_sizes(logits.shape, target),
    )  # fmt: skip
    loss, divisor = _reduced(losses, counted, reduction)
    return loss, CrossEntropyCache(p, target, weight, ignore_index, float(label_smoothing), divisor)


def cross_entropy_backward(dloss: Array, cache: CrossEntropyCache | textbook.CrossEntropyCache) -> Array:
    """dloss of the loss' shape → dlogits (N, C, …)."""
    if isinstance(cache, textbook.CrossEntropyCache):
        return textbook.cross_entropy_backward(dloss, cache)
    p, target, weight, ignore_index, smoothing, divisor = cache
    dlogits = empty(p.shape, p.dtype)
    launch(
        "loss", "cross_entropy_backward", p.dtype, blocks(target.size * _WARP), THREADS, ready(dloss), _step(dloss),
        divisor, p, target, weight, numpy.int64(ignore_index), smoothing, dlogits, *_sizes(p.shape, target),
    )  # fmt: skip
    return dlogits


def nll_loss(
    log_probabilities: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> tuple[Array, NllLossCache | textbook.NllLossCache]:
    """Negative log likelihood: log probabilities (N, C, …) and class indices (N, …) → loss as cross_entropy."""
    if ignore_index >= 2**63:
        return textbook.nll_loss(log_probabilities, target, weight, ignore_index, reduction)
    x, target, weight = ready(log_probabilities), _int64(target), None if weight is None else ready(weight)
    losses, counted = empty(target.shape, x.dtype), empty(target.shape, x.dtype)
    launch(
        "loss", "nll_loss", x.dtype, blocks(target.size), THREADS, x, target, weight, numpy.int64(ignore_index),
        losses, counted, *_sizes(x.shape, target),
    )  # fmt: skip
    loss, divisor = _reduced(losses, counted, reduction)
    return loss, NllLossCache(x.shape, target, weight, ignore_index, divisor)


def nll_loss_backward(dloss: Array, cache: NllLossCache | textbook.NllLossCache) -> Array:
    """dloss of the loss' shape → the gradient of the log probabilities (N, C, …)."""
    if isinstance(cache, textbook.NllLossCache):
        return textbook.nll_loss_backward(dloss, cache)
    shape, target, weight, ignore_index, divisor = cache
    dx = empty(shape, dloss.dtype)
    launch(
        "loss", "nll_loss_backward", dx.dtype, blocks(target.size), THREADS, ready(dloss), _step(dloss), divisor,
        target, weight, numpy.int64(ignore_index), dx, *_sizes(shape, target),
    )  # fmt: skip
    return dx


def mse_loss(x: Array, target: Array, reduction: str = "mean") -> tuple[Array, MseLossCache]:
    """Squared error of x and target, both of the same shape → () for "mean" and "sum", that shape for "none"."""
    difference, losses = empty(x.shape, x.dtype), empty(x.shape, x.dtype)
    each("loss", "mse_loss", x, ready(x), ready(target), difference, losses)
    return _reduced(losses, None, reduction)[0], MseLossCache(difference, reduction)


def mse_loss_backward(dloss: Array, cache: MseLossCache) -> Array:
    """dloss of the loss' shape → dx."""
    difference, reduction = cache
    dx = empty(difference.shape, difference.dtype)
    divisor = float(max(dx.size, 1)) if reduction == "mean" else 1.0
    each("loss", "mse_loss_backward", dx, ready(dloss), _step(dloss, dx), divisor, difference, dx)
    return dx


def _int64(target: Array) -> Array:
    return ready(target.astype(numpy.int64, copy=False))


def _sizes(shape: tuple[int, ...], target: Array) -> tuple[int, int, numpy.int64]:
    """Classes, positions of an example, positions in all."""
    return shape[1], math.prod(shape[2:]), numpy.int64(target.size)


def _step(dloss: Array, like: Array | None = None) -> int:
    """0 if one number stands for all positions, else 1."""
    return int(dloss.ndim > 0 or (like is not None and like.ndim == 0))


def _reduced(losses: Array, counted: Array | None, reduction: str) -> tuple[Array, Array | None]:
    """The loss, and what the mean was divided by."""
    if reduction == "none":
        return losses, None
    loss, divisor = empty((), losses.dtype), empty((), losses.dtype)
    mean = reduction == "mean"
    launch("loss", "total", losses.dtype, 1, THREADS, losses, counted, mean, loss, divisor, numpy.int64(losses.size))
    return loss, divisor if mean else None
