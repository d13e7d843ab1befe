"""The terms of the gradients of losses: where every backward pass begins."""

import math
from typing import Any

import numpy

from scratchnet import ops
from scratchnet.nn.losses import CrossEntropyLoss, MSELoss, NLLLoss
from scratchnet.ops.shape import Array
from scratchnet.study.trace_graph import Use
from scratchnet.study.trace_terms import Factor, Index, Terms, dy_at, one, rule


def _position(use: Use, index: Index) -> tuple[Index, Index]:
    """Of a class score: the indices of all classes at its position are before + (c,) + after."""
    return (index[:1], index[2:]) if use.inputs[0].data.ndim > 1 else ((), ())


def _spread(use: Use, position: Index, count: float) -> tuple[Array, Array, tuple[Factor, ...]]:
    """What a position gets of the loss' gradient: (the element of it, its value, the factor of "mean")."""
    none = use.module.reduction == "none"
    there = one(position if none else ())
    factors = (
        (Factor("1/D", numpy.array([1 / count if count else math.nan])),) if use.module.reduction == "mean" else ()
    )
    return there, dy_at(use, there), factors


def _weight(use: Use, c: int) -> float:
    return 1.0 if use.module.weight is None else float(use.module.weight[c])


def _count(use: Use) -> float:
    """D of "mean" for class indices: the weights of all targets that are not ignored."""
    target = numpy.asarray(use.target).reshape(-1)
    return math.fsum(_weight(use, int(t)) for t in target if t != use.module.ignore_index)


@rule(CrossEntropyLoss)
def cross_entropy(use: Use, tensor: str, index: Index) -> Terms:
    logits, target, smoothing = use.inputs[0].data, numpy.asarray(use.target), use.module.label_smoothing
    before, after = _position(use, index)
    place: Any = (*before, slice(None), *after)
    e = numpy.exp(logits[place] - logits[place].max())
    p, classes, j = e / e.sum(), len(e), index[len(before)]
    formula = "dz_j = dloss/D · (p_j·Σ_c q_c − q_j): the softmax less the target"
    line = (ops.cross_entropy_backward, "return")
    if target.ndim == logits.ndim:
        mixed = target[place] * (1 - smoothing) + smoothing / classes
        count = float(target.size // classes)
    else:
        t = int(target[(*before, *after)])
        if t == use.module.ignore_index:
            empty = numpy.empty((0, use.output.data.ndim), int)
            return Terms(formula, line, empty, numpy.empty(0), note="the target of this position is ignored")
        mixed = (numpy.arange(classes) == t) * (1 - smoothing) + smoothing / classes
        count = _count(use)
    q = mixed * numpy.array([_weight(use, c) for c in range(classes)])
    there, dloss, factors = _spread(use, (*before, *after), count)
    total = math.fsum(q)
    parts = Factor("p·Σq, −q", numpy.array([float(p[j]) * total, -float(q[j])]))
    both = tuple(Factor(f.name, numpy.repeat(f.values, 2, axis=0)) for f in factors)
    paths = ["+ p_j" if total == 1 else "+ p_j·Σq", "− q_j"]
    return Terms(
        formula, line, numpy.repeat(there, 2, axis=0), numpy.repeat(dloss, 2, axis=0), (*both, parts), paths=paths
    )


@rule(NLLLoss)
def nll(use: Use, tensor: str, index: Index) -> Terms:
    before, after = _position(use, index)
    t = int(numpy.asarray(use.target)[(*before, *after)])
    there, dloss, factors = _spread(use, (*before, *after), _count(use))
    hit = t == index[len(before)] and t != use.module.ignore_index
    formula = "dlogp_j = −w_j · dloss/D at the target j, else 0"
    gate = Factor("[target]", numpy.array([float(hit)]))
    weight = Factor("−w", numpy.array([-_weight(use, index[len(before)])]))
    return Terms(formula, (ops.nll_loss_backward, "return"), there, dloss, (gate, *factors, weight), gate=True)


@rule(MSELoss)
def mse(use: Use, tensor: str, index: Index) -> Terms:
    x, target = use.inputs[0].data, numpy.asarray(use.target)
    there, dloss, factors = _spread(use, index, float(x.size))
    difference = Factor("2·(x − t)", numpy.array([2 * float(x[index] - target[index])]))
    return Terms("dx = 2·(x − t) · dloss/D", (ops.mse_loss_backward, "return"), there, dloss, (*factors, difference))
