"""Losses: from the output of a network and the truth to one number, and the gradient that starts every backward pass.

Cross entropy
-------------
Logits z over C classes become probabilities p = softmax(z), and the loss of a position is the negative log
likelihood of the truth::

    l = −Σ_c q_c · log p_c

q says how much each class counts. For a class index t it is the one-hot vector of t; label smoothing ε mixes in
a uniform distribution; class weights w multiply; an ignored position has q = 0; class probabilities as target are
q themselves::

    q_c = w_c · ((1 − ε)·[c = t] + ε/C)

Backward: log p_c = z_c − log Σ_k e^z_k, so ∂log p_c/∂z_j = [c = j] − p_j, and ::

    dz_j = −Σ_c q_c·([c = j] − p_j) = p_j·Σ_c q_c − q_j          for a plain one-hot q: dz = p − q

the best-known gradient of deep learning: the difference between what the network says and what is true.

Reduction: "sum" adds the losses of all positions, "mean" divides that by D, "none" returns each. For class indices
D = Σ w[t] over the positions that are not ignored; for class probabilities D is the number of positions.

nll_loss is the same for log probabilities that are already computed: l = −w[t]·log p_t, gradient −w[t] at t.

Mean squared error
------------------
    l = (x − t)²         dx = 2·(x − t)          "mean" divides by the number of elements

Class axes: inputs are (N, C) or (N, C, d1, …), targets (N,) or (N, d1, …). Source: torch.nn.functional.cross_entropy.
"""

from typing import NamedTuple

from scratchnet.ops.activation import log_softmax
from scratchnet.ops.shape import Array, array_module


class CrossEntropyCache(NamedTuple):
    probabilities: Array  # softmax(logits): p
    q: Array  # how much each class counts, same shape
    counts: Array  # (N, …): False where a position is ignored
    divisor: Array | None  # D, None unless the reduction is "mean"


class NllLossCache(NamedTuple):
    one_hot: Array  # (N, C, …): True at the target of each position that counts
    weight: Array | float  # (1, C, 1, …)
    divisor: Array | None


class MseLossCache(NamedTuple):
    difference: Array  # x − t
    reduction: str


def _one_hot(target: Array, classes: int, ignore_index: int) -> tuple[Array, Array]:
    """Class indices (N, …) → their one-hot vectors (N, C, …), False where ignored, and which positions count (N, …)."""
    xp = array_module(target)
    counts = target != ignore_index
    axis = xp.arange(classes).reshape(-1, *[1] * (target.ndim - 1))  # (C, 1, …)
    return (target[:, None] == axis) & counts[:, None], counts


def _class_weights(weight: Array | None, like: Array) -> Array | float:
    """(C,) → (1, C, 1, …), to broadcast against the logits."""
    return 1.0 if weight is None else weight.reshape(1, -1, *[1] * (like.ndim - 2))


def _reduce(losses: Array, divisor: Array | None, reduction: str) -> Array:
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / divisor  # 0/0 = NaN where nothing counts, as torch


def _spread(dloss: Array, divisor: Array | None, counts: Array) -> Array:
    """∂L/∂l of every position (N, 1, …): 0 where it does not count, also if nothing counts and D is 0."""
    dloss = dloss if divisor is None else dloss / divisor
    return array_module(counts).where(counts, dloss, 0)[:, None]


def cross_entropy(
    logits: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tuple[Array, CrossEntropyCache]:
    """Softmax cross entropy of logits (N, C, …) with class indices (N, …) or probabilities (N, C, …).

    → loss of shape () for "mean" and "sum", (N, …) for "none".
    """
    xp = array_module(logits)
    dtype, uniform = logits.dtype, label_smoothing / logits.shape[1]
    log_p, saved = log_softmax(logits, 1)  # (N, C, …)
    w = _class_weights(weight, logits)
    if target.ndim == logits.ndim:
        q = w * (target * (1 - label_smoothing) + uniform)
        losses = -(q * log_p).sum(axis=1)  # (N, …)
        counts, divisor = xp.ones(losses.shape, bool), xp.asarray(losses.size, dtype)
    else:
        one_hot, counts = _one_hot(target, logits.shape[1], ignore_index)
        share = (one_hot * (1 - label_smoothing) + counts[:, None] * uniform).astype(dtype)  # (N, C, …)
        q = w * share
        losses = -xp.where(share == 0, 0, q * log_p).sum(axis=1)  # (N, …); 0·log 0 = 0 for the other classes
        divisor = (w * one_hot).sum(dtype=dtype)
    cache = CrossEntropyCache(saved.y, q, counts, divisor if reduction == "mean" else None)
    return _reduce(losses, divisor, reduction), cache


def cross_entropy_backward(dloss: Array, cache: CrossEntropyCache) -> Array:
    """dloss of the loss' shape → dlogits (N, C, …)."""
    p, q, counts, divisor = cache
    return _spread(dloss, divisor, counts) * (p * q.sum(axis=1, keepdims=True) - q)


def nll_loss(
    log_probabilities: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> tuple[Array, NllLossCache]:
    """Negative log likelihood: log probabilities (N, C, …) and class indices (N, …) → loss as cross_entropy."""
    one_hot, _ = _one_hot(target, log_probabilities.shape[1], ignore_index)
    w = _class_weights(weight, log_probabilities)
    losses = -array_module(log_probabilities).where(one_hot, w * log_probabilities, 0).sum(axis=1)  # (N, …)
    divisor = (w * one_hot).sum(dtype=log_probabilities.dtype) if reduction == "mean" else None
    return _reduce(losses, divisor, reduction), NllLossCache(one_hot, w, divisor)


def nll_loss_backward(dloss: Array, cache: NllLossCache) -> Array:
    """dloss of the loss' shape → the gradient of the log probabilities (N, C, …)."""
    one_hot, w, divisor = cache
    dlosses = _spread(dloss, divisor, one_hot.any(axis=1))  # (N, 1, …)
    return array_module(one_hot).where(one_hot, -w * dlosses, 0)


def mse_loss(x: Array, target: Array, reduction: str = "mean") -> tuple[Array, MseLossCache]:
    """Squared error of x and target, both of the same shape → () for "mean" and "sum", that shape for "none"."""
    difference = x - target
    losses = difference * difference
    divisor = array_module(x).asarray(x.size, x.dtype)
    return _reduce(losses, divisor, reduction), MseLossCache(difference, reduction)


def mse_loss_backward(dloss: Array, cache: MseLossCache) -> Array:
    """dloss of the loss' shape → dx."""
    difference, reduction = cache
    if reduction == "mean":
        dloss = dloss / max(difference.size, 1)
    return 2 * dloss * difference
