"""Losses, position by position. Formulas and gradients are in scratchnet/ops/loss.py."""

from typing import NamedTuple

import numpy

from scratchnet.kernels.loops._index import double, indices
from scratchnet.kernels.loops.activation import axis_last, log_softmax_row, softmax_row
from scratchnet.ops.shape import Array


class CrossEntropyCache(NamedTuple):
    logits: Array  # (N, C, …)
    target: Array  # class indices (N, …) or probabilities (N, C, …)
    weight: Array | None
    ignore_index: int
    reduction: str
    label_smoothing: float


class NllLossCache(NamedTuple):
    log_probabilities: Array  # (N, C, …)
    target: Array
    weight: Array | None
    ignore_index: int
    reduction: str


class MseLossCache(NamedTuple):
    x: Array
    target: Array
    reduction: str


def _reduce(losses: Array, divisor: float, reduction: str) -> Array:
    """The losses of all positions (float64) as one number, or as they are for "none"."""
    if reduction == "none":
        return losses
    total = 0.0
    for index in indices(*losses.shape):
        total += losses[index]
    return numpy.asarray(total) if reduction == "sum" else numpy.divide(total, divisor)  # 0/0 = NaN, as torch


def _share(dloss: Array, index: tuple[int, ...], divisor: float, reduction: str) -> float:
    """∂L/∂l of one position: what reaches it of the gradient that arrives."""
    if reduction == "none":
        return float(dloss[index])
    return float(numpy.divide(dloss, divisor)) if reduction == "mean" else float(dloss)  # x/0 is no error here


def _class_weight(weight: Array | None, c: int) -> float:
    return 1.0 if weight is None else float(weight[c])


def _ignored(index: tuple[int, ...], cache: CrossEntropyCache) -> bool:
    return cache.target.ndim < cache.logits.ndim and cache.target[index] == cache.ignore_index


def _truth(index: tuple[int, ...], cache: CrossEntropyCache) -> list[float]:
    """How much each class of the position counts, before the class weights: the target, smoothed."""
    classes, smoothing = cache.logits.shape[1], cache.label_smoothing
    if _ignored(index, cache):
        return [0.0] * classes
    if cache.target.ndim == cache.logits.ndim:
        truth = [float(t) for t in axis_last(cache.target, 1)[index]]
    else:
        truth = [1.0 if c == cache.target[index] else 0.0 for c in range(classes)]
    return [(1 - smoothing) * t + smoothing / classes for t in truth]


def _divisor(target: Array, weight: Array | None, ignore_index: int) -> float:
    """D for class indices: the weights of the classes at the positions that count."""
    total = 0.0
    for index in indices(*target.shape):
        if target[index] != ignore_index:
            total += _class_weight(weight, target[index])
    return total


def _cross_entropy_divisor(cache: CrossEntropyCache) -> float:
    if cache.target.ndim == cache.logits.ndim:
        return cache.logits.size / cache.logits.shape[1]
    return _divisor(cache.target, cache.weight, cache.ignore_index)


def cross_entropy(
    logits: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tuple[Array, CrossEntropyCache]:
    """Softmax cross entropy of logits (N, C, …) with class indices (N, …) or probabilities (N, C, …)."""
    cache = CrossEntropyCache(logits, target, weight, ignore_index, reduction, label_smoothing)
    z_rows = axis_last(double(logits), 1)  # (N, …, C)
    losses, indexed = numpy.zeros(z_rows.shape[:-1]), target.ndim < logits.ndim
    for index in indices(*losses.shape):
        log_p = log_softmax_row(z_rows[index])
        for c, t in enumerate(_truth(index, cache)):
            if t != 0 or not indexed:  # 0·log 0 is 0 for class indices, NaN for class probabilities, as in torch
                losses[index] -= _class_weight(weight, c) * t * log_p[c]
    return _reduce(losses, _cross_entropy_divisor(cache), reduction).astype(logits.dtype), cache


def cross_entropy_backward(dloss: Array, cache: CrossEntropyCache) -> Array:
    """dloss of the loss' shape → dlogits (N, C, …)."""
    dz = numpy.zeros(cache.logits.shape, cache.logits.dtype)
    z_rows, dz_rows = axis_last(double(cache.logits), 1), axis_last(dz, 1)
    divisor = _cross_entropy_divisor(cache)
    for index in indices(*z_rows.shape[:-1]):
        p = softmax_row(z_rows[index])
        q = [_class_weight(cache.weight, c) * t for c, t in enumerate(_truth(index, cache))]
        share = 0.0 if _ignored(index, cache) else _share(dloss, index, divisor, cache.reduction)
        for j in range(len(p)):
            total = 0.0
            for c in range(len(p)):
                total += -q[c] * ((c == j) - p[j])  # l = −Σ_c q_c·log p_c, ∂log p_c/∂z_j = [c = j] − p_j
            dz_rows[*index, j] = share * total
    return dz


def nll_loss(
    log_probabilities: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> tuple[Array, NllLossCache]:
    """Negative log likelihood: log probabilities (N, C, …) and class indices (N, …) → loss as cross_entropy."""
    log_p = axis_last(double(log_probabilities), 1)  # (N, …, C)
    losses = numpy.zeros(target.shape)
    for index in indices(*target.shape):
        t = target[index]
        if t != ignore_index:
            losses[index] = -_class_weight(weight, t) * log_p[*index, t]
    loss = _reduce(losses, _divisor(target, weight, ignore_index), reduction)
    cache = NllLossCache(log_probabilities, target, weight, ignore_index, reduction)
    return loss.astype(log_probabilities.dtype), cache


def nll_loss_backward(dloss: Array, cache: NllLossCache) -> Array:
    """dloss of the loss' shape → the gradient of the log probabilities (N, C, …)."""
    log_probabilities, target, weight, ignore_index, reduction = cache
    dlog_p = numpy.zeros(log_probabilities.shape, log_probabilities.dtype)
    divisor = _divisor(target, weight, ignore_index)
    for index in indices(*target.shape):
        t = target[index]
        if t != ignore_index:
            share = _share(dloss, index, divisor, reduction)
            axis_last(dlog_p, 1)[*index, t] = -_class_weight(weight, t) * share
    return dlog_p


def mse_loss(x: Array, target: Array, reduction: str = "mean") -> tuple[Array, MseLossCache]:
    """Squared error of x and target, both of the same shape → () for "mean" and "sum", that shape for "none"."""
    losses = numpy.zeros(x.shape)
    for index in indices(*x.shape):
        losses[index] = (float(x[index]) - float(target[index])) ** 2
    return _reduce(losses, x.size, reduction).astype(x.dtype), MseLossCache(x, target, reduction)


def mse_loss_backward(dloss: Array, cache: MseLossCache) -> Array:
    """dloss of the loss' shape → dx."""
    x, target, reduction = cache
    dx = numpy.zeros(x.shape, x.dtype)
    for index in indices(*x.shape):
        share = _share(dloss, index, x.size, reduction)
        dx[index] = share * 2 * (float(x[index]) - float(target[index]))
    return dx
