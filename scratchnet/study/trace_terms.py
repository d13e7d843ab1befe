"""The terms that a gradient is the sum of: each layer's derivation in index form, one element at a time.

The formulas are those of the docstrings in scratchnet/ops, but nothing of ops is called: windows, paddings, winners
and statistics are worked out here from the layer's input and its options. So the sum of the terms is a second opinion
on the gradient, and not the same computation under another name.

A rule takes a call (`Use`), the name of a tensor ("x", "weight" or "bias") and the index of one element of it, and
returns `Terms`. A term is an element of dy, the gradient that arrived at the call, times the derivative of the
output's element by ours, which is written as a product of named factors.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

from scratchnet import ops
from scratchnet.nn.activation import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from scratchnet.nn.containers import Concat, Identity, Residual
from scratchnet.nn.dropout import Dropout
from scratchnet.nn.linear import Flatten, Linear
from scratchnet.nn.norm import _BatchNorm
from scratchnet.ops.dropout import keep_mask
from scratchnet.ops.shape import Array
from scratchnet.study.trace_graph import Use

Index = tuple[int, ...]
Line = tuple[Callable, str]  # a function, and how the line begins that computes this gradient


class Factor(NamedTuple):
    """One factor of all terms: its values (T,), and which elements of which tensor they are, where they are any."""

    name: str
    values: Array
    index: Array | None = None  # type: ignore[assignment]  # (T, ndim); hides tuple.index


class Terms(NamedTuple):
    """The T terms of one sum: term t is dy[index[t]] times the t-th value of every factor.

    gate        among the factors, one that lets through or blocks: where it is 0 the term is 0, whatever dy is
    paths       what kind of term each is, where there are several kinds
    note        what the number of terms leaves out
    """

    formula: str
    line: Line | None
    index: Array  # (T, ndim of y)
    dy: Array  # (T,)
    factors: tuple[Factor, ...] = ()
    gate: bool = False
    paths: Sequence[str] = ()
    note: str = ""

    @property
    def values(self) -> Array:
        product = self.dy
        for factor in self.factors:
            product = product * factor.values
        if self.gate:
            product = numpy.where(self.factors[0].values == 0, 0, product)
        return product


Rule = Callable[[Use, str, Index], Terms]
RULES: list[tuple[tuple[type, ...], Rule]] = []


class UnknownLayer(NotImplementedError):
    """A layer whose derivation is not written down here."""


def rule(*kinds: type) -> Callable[[Rule], Rule]:
    """Register the rule of these kinds of layers."""

    def register(function: Rule) -> Rule:
        RULES.append((kinds, function))
        return function

    return register


def terms_of(use: Use, tensor: str, index: Index) -> Terms:
    """The terms of one call's part in the gradient of an element of its input ("x"), weight or bias."""
    for kinds, function in RULES:
        kind = next((kind for kind in kinds if isinstance(use.module, kind)), None)
        if kind is not None and type(use.module).forward is _forward_of(type(use.module)):
            with numpy.errstate(all="ignore"):
                return function(use, tensor, index)
    raise UnknownLayer(
        f"{use.name or 'the model'}: {type(use.module).__name__} writes its own forward and backward, so the terms of "
        "its gradients are not known"
    )


def _forward_of(kind: type) -> Any:
    """The forward function of the library's class that this one is or derives from."""
    return next(cls for cls in kind.__mro__ if cls.__module__.startswith("scratchnet.nn")).forward  # type: ignore[attr-defined]


def product_of(*axes: Array) -> Array:
    """Every combination of the entries of index lists (T1, k1), (T2, k2), … → (T1·T2·…, k1 + k2 + …)."""
    lists = [axis[:, None] if axis.ndim == 1 else axis for axis in axes]
    positions = numpy.indices([len(axis) for axis in lists]).reshape(len(lists), -1)
    return numpy.concatenate([axis[at] for axis, at in zip(lists, positions, strict=True)], axis=1)


def at(array: Array, index: Array) -> Array:
    """array[index[t]] for every t."""
    return array[tuple(index.T)] if array.ndim else numpy.full(len(index), array[()])


def one(index: Index) -> Array:
    return numpy.array([index], dtype=int).reshape(1, len(index))


def dy_at(use: Use, index: Array) -> Array:
    assert use.output.grad is not None
    return at(use.output.grad, index)


def elementwise(use: Use, index: Index, formula: str, line: Line | None, *factors: Factor, gate: bool = False) -> Terms:
    """One term: the element of dy at the same place."""
    return Terms(formula, line, one(index), dy_at(use, one(index)), factors, gate)


# Layers that move numbers


@rule(Identity)
def identity(use: Use, tensor: str, index: Index) -> Terms:
    return elementwise(use, index, "dx = dy", None)


@rule(Residual)
def residual(use: Use, tensor: str, index: Index) -> Terms:
    return elementwise(use, index, "a sum hands its gradient to both terms: dx = dy", (Residual.backward, "return"))


@rule(Concat)
def concat(use: Use, tensor: str, index: Index) -> Terms:
    """tensor is "x0", "x1", …: which branch."""
    branch, dim = int(tensor[1:] or 0), use.module.dim
    start = sum(value.data.shape[dim] for value in use.inputs[:branch])
    there = list(index)
    there[dim] += start
    formula = f"a branch gets its part of dy: dx[k] = dy[{start} + k] along axis {dim}"
    return Terms(formula, (Concat.backward, "dx = dx +"), one(tuple(there)), dy_at(use, one(tuple(there))))


@rule(Flatten)
def flatten(use: Use, tensor: str, index: Index) -> Terms:
    position = int(numpy.ravel_multi_index(index, use.inputs[0].data.shape))
    there = one(tuple(int(i) for i in numpy.unravel_index(position, use.output.data.shape)))
    return Terms("dx = dy, in x's shape", (ops.flatten_backward, "return"), there, dy_at(use, there))


# Linear


@rule(Linear)
def linear(use: Use, tensor: str, index: Index) -> Terms:
    x, weight = use.inputs[0].data, use.module.weight.data
    every = list(numpy.ndindex(x.shape[:-1]))  # one vector alone has one n, ()
    leading = numpy.array(every, dtype=int).reshape(len(every), x.ndim - 1)
    outputs = numpy.arange(len(weight))
    if tensor == "x":
        *n, i = index
        there = product_of(one(tuple(n)), outputs)
        weights = Factor("weight", weight[:, i], product_of(outputs, one((i,))))
        line = (ops.linear_backward, "dx =")
        return Terms("dx[n, i] = Σ_o dy[n, o] · weight[o, i]", line, there, dy_at(use, there), (weights,))
    there = product_of(leading, one(index[:1]))
    if tensor == "bias":
        return Terms("dbias[o] = Σ_n dy[n, o]", (ops.linear_backward, "dbias ="), there, dy_at(use, there))
    inputs = product_of(leading, one(index[1:]))
    line = (ops.linear_backward, "dweight =")
    factors = (Factor("x", at(x, inputs), inputs),)
    return Terms("dweight[o, i] = Σ_n dy[n, o] · x[n, i]", line, there, dy_at(use, there), factors)


# Elementwise functions: dx = dy · f′(x)


def _gelu_slope(module: GELU, x: float, y: float) -> float:
    if module.approximate == "none":
        distribution, density = 0.5 * math.erfc(-x / math.sqrt(2)), math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        return distribution + x * density
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    return 0.5 * (1 + math.tanh(u)) + 0.5 * x * (1 - math.tanh(u) ** 2) * du


class Slope(NamedTuple):
    formula: str
    line: Line
    derivative: Callable[[Any, float, float], float]  # (layer, x, y) → f′(x)
    gate: bool = False


_SLOPES: dict[type, Slope] = {
    ReLU: Slope(
        "dx = dy · [x > 0]",
        (ops.relu_backward, "return"),
        lambda layer, x, y: 0.0 if x <= 0 else 1.0,  # NaN passes
        gate=True,
    ),
    LeakyReLU: Slope(
        "dx = dy · (1 where x > 0, else negative_slope)",
        (ops.leaky_relu_backward, "return"),
        lambda layer, x, y: 1.0 if x > 0 else layer.negative_slope,
    ),
    Sigmoid: Slope("dx = dy · y·(1 − y)", (ops.sigmoid_backward, "return"), lambda layer, x, y: y * (1 - y)),
    Tanh: Slope("dx = dy · (1 − y²)", (ops.tanh_backward, "return"), lambda layer, x, y: 1 - y * y),
    GELU: Slope("dx = dy · gelu′(x)", (ops.gelu_backward, "return"), _gelu_slope),
}


@rule(*_SLOPES)
def slope(use: Use, tensor: str, index: Index) -> Terms:
    row = next(row for kind, row in _SLOPES.items() if isinstance(use.module, kind))
    x, y = float(use.inputs[0].data[index]), float(use.output.data[index])
    name = "[x > 0]" if row.gate else "f′(x)"
    factor = Factor(f"{name} at x = {x:.6g}", numpy.array([row.derivative(use.module, x, y)]))
    return elementwise(use, index, row.formula, row.line, factor, gate=row.gate)


@rule(Dropout)
def dropout(use: Use, tensor: str, index: Index) -> Terms:
    module, x = use.module, use.inputs[0].data
    if use.cache is None:
        return elementwise(use, index, "dx = dy: in evaluation dropout is the identity", None)
    line = (ops.dropout_backward, "return")
    by_channel = type(module).__name__ == "Dropout2d" and x.ndim > 2
    shape = x.shape[:2] if by_channel else x.shape
    mask = keep_mask(shape, module.p, (module.seed, module.stream), use.calls, numpy)
    kept = float(mask[index[: len(shape)]])
    scale = 1 / (1 - module.p) if module.p < 1 else 0.0
    factors = Factor("mask", numpy.array([kept])), Factor("1/(1 − p)", numpy.array([scale]))
    formula = f"dx = dy · mask / (1 − p), with p = {module.p:g}"
    return elementwise(use, index, formula, line, *factors, gate=True)


@rule(Softmax, LogSoftmax)
def softmax(use: Use, tensor: str, index: Index) -> Terms:
    """Every output along the axis depends on every input."""
    x, dim = use.inputs[0].data, use.module.dim
    row = tuple(slice(None) if axis == dim % x.ndim else i for axis, i in enumerate(index))
    e = numpy.exp(x[row] - x[row].max())
    y, j = e / e.sum(), index[dim]
    there = numpy.array([[k if axis == dim % x.ndim else i for axis, i in enumerate(index)] for k in range(len(y))])
    same = (numpy.arange(len(y)) == j).astype(y.dtype)
    if isinstance(use.module, LogSoftmax):
        factor = Factor("([i = j] − p_j)", same - y[j])
        formula, line = "dx_j = Σ_i dy_i · ([i = j] − p_j)", (ops.log_softmax_backward, "return")
    else:
        factor = Factor("y_i·([i = j] − y_j)", y * (same - y[j]))
        formula, line = "dx_j = Σ_i dy_i · y_i · ([i = j] − y_j)", (ops.softmax_backward, "return")
    return Terms(formula, line, there, dy_at(use, there), (factor,))


# Batch normalisation


@rule(_BatchNorm)
def batch_norm(use: Use, tensor: str, index: Index) -> Terms:
    module, x = use.module, use.inputs[0].data
    channel = index[0] if tensor != "x" else index[1]
    others = [numpy.arange(size) for axis, size in enumerate(x.shape) if axis != 1]
    batch = product_of(*others)  # (n, ndim − 1): every element of the channel
    batch = numpy.insert(batch, 1, channel, axis=1)  # (n, ndim)
    values, dy = at(x, batch), dy_at(use, batch)
    statistics = _statistics(use, channel, values)
    x_hat = (values - statistics.mean) * statistics.inv_std
    backward = ops.batch_norm_backward
    if tensor == "bias":
        return Terms("dβ = Σ_j dy_j over the batch", (backward, "dbias ="), batch, dy)
    if tensor == "weight":
        factor = Factor("x̂", x_hat, batch)
        return Terms("dγ = Σ_j dy_j · x̂_j over the batch", (backward, "dweight ="), batch, dy, (factor,))
    gamma = 1.0 if module.weight is None else float(module.weight.data[channel])
    scale = gamma * statistics.inv_std
    own = one(index)
    if not statistics.of_batch:
        factor = Factor("γ/√(running_var + ε)", numpy.array([scale]))
        formula = "dx = dy · γ/√(running_var + ε): running statistics are constants"
        return elementwise(use, index, formula, (backward, "dx = dx *"), factor)
    n = len(batch)
    x_hat_own = float((x[index] - statistics.mean) * statistics.inv_std)
    factor = Factor(
        "γ·s·∂",
        scale * numpy.concatenate([[1.0], numpy.full(n, -1 / n), -x_hat_own * x_hat / n]),
    )
    paths = ["own x̂"] + ["mean"] * n + ["variance"] * n
    formula = "dx_i = Σ_j dy_j · γ·s·([i = j] − 1/n − x̂_i·x̂_j/n): own x̂, mean, variance"
    there = numpy.concatenate([own, batch, batch])
    line = (backward, "dx = dy - ")
    return Terms(formula, line, there, dy_at(use, there), (factor,), paths=paths)


class Statistics(NamedTuple):
    mean: float
    inv_std: float
    of_batch: bool


def _statistics(use: Use, channel: int, values: Array) -> Statistics:
    """What normalised the channel: the batch's mean and biased variance, or the running ones."""
    module = use.module
    if use.training or module.running_mean is None:
        mean = math.fsum(values) / len(values)
        var = math.fsum((values - mean) ** 2) / len(values)
        return Statistics(mean, 1 / math.sqrt(var + module.eps), True)
    var = float(module.running_var[channel])
    return Statistics(float(module.running_mean[channel]), 1 / math.sqrt(var + module.eps), False)
