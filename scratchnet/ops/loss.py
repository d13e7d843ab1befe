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
    divisor: Array | None  # D, None unless the reduction is "mean"
    reduction: str


class NllLossCache(NamedTuple):
    q: Array
    divisor: Array | None
    reduction: str


class MseLossCache(NamedTuple):
    difference: Array  # x − t
    reduction: str


def _one_hot(target: Array, classes: int, ignore_index: int, dtype) -> tuple[Array, Array]:
    """Class indices (N, …) → their one-hot vectors (N, C, …), zero where ignored, and which positions count (N, …)."""
    xp = array_module(target)
    counts = target != ignore_index
    axis = xp.arange(classes).reshape(-1, *[1] * (target.ndim - 1))  # (C, 1, …)
    return ((target[:, None] == axis) & counts[:, None]).astype(dtype), counts


def _class_weights(weight: Array | None, like: Array) -> Array | float:
    """(C,) → (1, C, 1, …), to broadcast against the logits."""
    return 1.0 if weight is None else weight.reshape(1, -1, *[1] * (like.ndim - 2))


def _reduce(losses: Array, divisor: Array | None, reduction: str) -> Array:
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / divisor  # 0/0 = NaN where nothing counts, as torch


def _spread(dloss: Array, divisor: Array | None, reduction: str, ndim: int) -> Array:
    """∂L/∂l of every position, shaped to broadcast against the logits."""
    if reduction == "none":
        return dloss[:, None]
    if reduction == "mean":
        # Where nothing counts D is 0 and so is every q: the gradient is 0, not 0/0.
        xp = array_module(divisor)
        dloss = dloss / xp.where(divisor == 0, 1, divisor)
    return dloss.reshape([1] * ndim)


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
    log_p, saved = log_softmax(logits, 1)  # (N, C, …)
    w = _class_weights(weight, logits)
    if target.ndim == logits.ndim:
        q = w * (target * (1 - label_smoothing) + label_smoothing / logits.shape[1])
        losses = -(q * log_p).sum(axis=1)  # (N, …)
        divisor = xp.asarray(losses.size, logits.dtype)
    else:
        one_hot, counts = _one_hot(target, logits.shape[1], ignore_index, logits.dtype)
        smooth = label_smoothing / logits.shape[1] * counts[:, None]
        q = w * (one_hot * (1 - label_smoothing) + smooth)
        q = q.astype(logits.dtype)
        losses = -xp.where(q == 0, 0, q * xp.where(q == 0, 0, log_p)).sum(axis=1)  # 0·log 0 = 0
        divisor = (w * one_hot).sum()
    cache = CrossEntropyCache(saved.y, q, divisor if reduction == "mean" else None, reduction)
    return _reduce(losses, divisor, reduction), cache


def cross_entropy_backward(dloss: Array, cache: CrossEntropyCache) -> Array:
    """dloss of the loss' shape → dlogits (N, C, …)."""
    p, q, divisor, reduction = cache
    return _spread(dloss, divisor, reduction, p.ndim) * (p * q.sum(axis=1, keepdims=True) - q)


def nll_loss(
    log_probabilities: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> tuple[Array, NllLossCache]:
    """Negative log likelihood: log probabilities (N, C, …) and class indices (N, …) → loss as cross_entropy."""
    xp = array_module(log_probabilities)
    one_hot, _ = _one_hot(target, log_probabilities.shape[1], ignore_index, log_probabilities.dtype)
    q = _class_weights(weight, log_probabilities) * one_hot  # (N, C, …)
    losses = -(q * xp.where(one_hot == 0, 0, log_probabilities)).sum(axis=1)  # (N, …)
    divisor = q.sum() if reduction == "mean" else None
    return _reduce(losses, divisor, reduction), NllLossCache(q, divisor, reduction)


def nll_loss_backward(dloss: Array, cache: NllLossCache) -> Array:
    """dloss of the loss' shape → the gradient of the log probabilities (N, C, …)."""
    q, divisor, reduction = cache
    return -_spread(dloss, divisor, reduction, q.ndim) * q


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
