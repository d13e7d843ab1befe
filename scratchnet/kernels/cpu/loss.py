"""Cross entropy, position by position. Formulas and derivations are in scratchnet/ops/loss.py.

The textbook writes the truth as an array q of the logits' shape that is 0 nearly everywhere. With class indices as
target it need not exist: a position's loss takes one log probability, and one number of its gradient differs from p·Σq.

Class probabilities as target are left to the textbook.
"""

import math
from typing import NamedTuple

import numpy

from scratchnet.kernels.cpu._arrays import empty, none, ready, sum_of_parts
from scratchnet.kernels.cpu._compile import kernel, parts
from scratchnet.ops import loss as textbook
from scratchnet.ops.shape import Array


class CrossEntropyCache(NamedTuple):
    probabilities: Array  # softmax(logits) (N, C, S), all other axes in one
    target: Array  # (N, S)
    weight: Array  # (C,), or empty
    ignore_index: int
    label_smoothing: float
    divisor: float  # D, 1 unless the reduction is "mean"
    shape: tuple[int, ...]  # of the logits


@kernel
def _forward(t, threads, logits, target, weight, ignore_index, smoothing, p, losses, sums):
    """logits (N, C, S), target (N, S) → p (N, C, S), losses (N, S), sums (threads, 2): each thread's share of Σ losses
    and of D. An empty weight is none."""
    n, classes, positions = logits.shape
    number = logits.dtype.type
    sums[t] = 0
    uniform = smoothing / number(classes)
    for k in range(t * n // threads, (t + 1) * n // threads):
        for s in range(positions):
            largest = logits[k, 0, s]
            for c in range(1, classes):
                largest = max(largest, logits[k, c, s])
            total = number(0)
            for c in range(classes):
                p[k, c, s] = math.exp(logits[k, c, s] - largest)
                total += p[k, c, s]
            for c in range(classes):
                p[k, c, s] /= total
            truth = target[k, s]
            if truth == ignore_index:
                losses[k, s] = 0
                continue
            shift = largest + math.log(total)  # log p = logits − shift
            loss = (1 - smoothing) * (shift - logits[k, truth, s]) * (weight[truth] if weight.size else number(1))
            if smoothing > 0:
                for c in range(classes):
                    loss += uniform * (shift - logits[k, c, s]) * (weight[c] if weight.size else number(1))
            losses[k, s] = loss
            sums[t, 0] += losses[k, s]
            sums[t, 1] += weight[truth] if weight.size else number(1)


@kernel
def _backward(t, threads, share, p, target, weight, ignore_index, smoothing, dlogits):
    """dlogits (N, C, S) = share·(p·Σq − q); share, ∂L/∂l of each position, is (N, S), or (1, 1) if all are the same."""
    n, classes, positions = p.shape
    number = p.dtype.type
    uniform = smoothing / number(classes)
    weights = weight.sum() if weight.size else number(classes)
    one = share.size == 1
    for k in range(t * n // threads, (t + 1) * n // threads):
        for s in range(positions):
            truth = target[k, s]
            if truth == ignore_index:
                dlogits[k, :, s] = 0
                continue
            g = share[0, 0] if one else share[k, s]
            q = (1 - smoothing) * (weight[truth] if weight.size else number(1))
            total = q + uniform * weights  # Σq
            for c in range(classes):
                smooth = uniform * (weight[c] if weight.size else number(1))
                dlogits[k, c, s] = g * (p[k, c, s] * total - smooth)
            dlogits[k, truth, s] -= g * q


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
    logits, number = ready(logits), logits.dtype.type
    n, classes = logits.shape[:2]
    positions = math.prod(logits.shape[2:])
    indices = ready(target.astype(numpy.int64, copy=False)).reshape(n, positions)
    w = none(logits) if weight is None else ready(weight)
    p = empty((n, classes, positions), logits.dtype)
    threads = parts(40 * logits.size)
    losses, sums = empty(target.shape, logits.dtype), empty((threads, 2), numpy.float64)
    _forward.on(
        threads, logits.reshape(p.shape), indices, w, ignore_index, number(label_smoothing), p,
        losses.reshape(n, positions), sums,
    )  # fmt: skip
    total, divisor = sum_of_parts(sums)
    divisor = divisor if reduction == "mean" else 1.0
    cache = CrossEntropyCache(p, indices, w, ignore_index, label_smoothing, divisor, logits.shape)
    if reduction == "none":
        return losses, cache
    return number(total / divisor), cache  # 0/0 = NaN where nothing counts, as torch


def cross_entropy_backward(dloss: Array, cache: CrossEntropyCache | textbook.CrossEntropyCache) -> Array:
    """dloss of the loss' shape → dlogits (N, C, …)."""
    if isinstance(cache, textbook.CrossEntropyCache):
        return textbook.cross_entropy_backward(dloss, cache)
    p, indices, weight, ignore_index, smoothing, divisor, shape = cache
    share = numpy.asarray(dloss / p.dtype.type(divisor))  # ∂L/∂l
    dlogits = empty(p.shape, p.dtype)
    _backward(
        8 * p.size, ready(share).reshape(indices.shape if share.ndim else (1, 1)), p, indices, weight, ignore_index,
        p.dtype.type(smoothing), dlogits,
    )  # fmt: skip
    return dlogits.reshape(shape)
