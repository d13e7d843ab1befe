"""Where a gradient comes from: the terms that sum to one element of it, and the way from there to the loss.

    print(trace(model, x, target, "conv1.weight", (3, 0, 2, 2)))

Every gradient is a sum over paths. One element of a convolution's weight collects a term from each window that used
it: the gradient that arrived at the window's output, times the pixel that the weight met there. That gradient is in
turn an element of an activation's gradient, with terms of its own, and so on up to the loss, where softmax less
target starts it all. `trace` lists the terms of the first sum, and follows the largest one from sum to sum.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from scratchnet import backend
from scratchnet.nn.containers import Concat
from scratchnet.nn.fuse import Fused
from scratchnet.nn.losses import CrossEntropyLoss, _Loss
from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array
from scratchnet.study import trace_conv, trace_loss, trace_pool  # noqa: F401 - they register their rules
from scratchnet.study.report import size
from scratchnet.study.trace_graph import Graph, Use, Value
from scratchnet.study.trace_terms import Index, Terms, UnknownLayer, terms_of

SLACK = 64  # roundings of a term's factors, beyond one for each addition


@dataclass(frozen=True)
class Part:
    """The terms that one call of a layer adds to the sum."""

    use: Use
    terms: Terms


@dataclass(frozen=True)
class Element:
    """One element of a gradient: its value as backward computed it, and the terms that it is the sum of.

    parts has one entry for each call that the tensor takes part in; none for the loss itself, whose gradient is 1.
    note says why there are no parts, where there should be some.
    """

    name: str
    index: Index
    gradient: float
    eps: float
    parts: tuple[Part, ...] = ()
    note: str = ""

    @functools.cached_property
    def values(self) -> Array:
        return numpy.concatenate([part.terms.values for part in self.parts] or [numpy.empty(0)])

    @property
    def count(self) -> int:
        return len(self.values)

    @functools.cached_property
    def total(self) -> float:
        """The sum of the terms, rounded once."""
        return _sum(self.values)

    @functools.cached_property
    def absolute(self) -> float:
        """Σ |term|: what the sum would be if nothing cancelled."""
        return _sum(abs(self.values))

    @property
    def allowed(self) -> float:
        """How far the sum may be from the gradient by rounding: one rounding error of Σ |term| for each addition."""
        return self.eps * (self.count + SLACK) * self.absolute

    @property
    def agrees(self) -> bool:
        """Whether the terms sum to the gradient, up to rounding."""
        if not self.parts:
            return True
        both_nan = math.isnan(self.total) and math.isnan(self.gradient)
        return both_nan or self.total == self.gradient or abs(self.total - self.gradient) <= self.allowed

    def largest(self) -> tuple[Part, int] | None:
        """The part and the number in it of the term that is largest in absolute value; None if all are 0."""
        best, found = 0.0, None
        for part in self.parts:
            values = abs(part.terms.values)
            if len(values) and values.max() > best:
                best, found = float(values.max()), (part, int(values.argmax()))
        return found

    def share(self, value: float) -> float:
        """A term's share of Σ |term|."""
        return abs(value) / self.absolute if self.absolute else 0.0

    @property
    def label(self) -> str:
        return f"{self.name}[{','.join(map(str, self.index))}]" if self.index else self.name


@dataclass(frozen=True)
class Trace:
    """The element that was asked for, first, and the elements on the way to the loss.

    stop says why the way ends before the loss, if it does. probabilities and target are of the image that the way ends
    at, for a cross entropy of class indices.
    """

    elements: list[Element]
    loss: float
    stop: str
    rung: str
    dtype: str
    training: bool
    probability: float | None = None
    target: float | None = None

    @property
    def element(self) -> Element:
        return self.elements[0]

    @property
    def agrees(self) -> bool:
        return all(element.agrees for element in self.elements)

    def __str__(self) -> str:
        from scratchnet.study.trace_text import page

        return page(self)

    def as_json(self) -> dict[str, Any]:
        from scratchnet.study.trace_text import as_json

        return as_json(self)


def _sum(values: Array) -> float:
    """The exact sum, rounded once; NaN and infinities as they add."""
    values = numpy.asarray(values, dtype="float64")
    return math.fsum(values) if numpy.isfinite(values).all() else float(values.sum())


def trace(
    model: Module,
    x: Array,
    target: Array,
    tensor: str,
    index: Sequence[int] | None = None,
    criterion: _Loss | None = None,
) -> Trace:
    """The terms of ∂loss/∂tensor[index], for one forward and backward pass of the model on x.

    Args:
        model: made of this library's layers and of Chain, Sequential, Residual and Concat, in any depth. It is copied;
            the copy runs in the model's mode, so that dropout and BatchNorm do what they do in it.
        x, target: a batch, x in the model's dtype.
        tensor: a parameter ("conv1.weight"), an activation by its name in the chain ("relu1"), or "input".
        index: of the element; None takes the one with the largest gradient.
        criterion: the loss; cross entropy by default. With reduction "none" it is the gradient of their sum.

    Returns:
        Trace. Its sums are those of the textbook's index formulas, worked out apart from the backward pass that ran;
        `agrees` tells whether the two are the same up to rounding.

    Raises:
        ValueError: there is no such tensor or element; the message lists the tensors.
        NotImplementedError: a module of the model's own makes the element's gradient, and its terms are not known.
    """
    model = (model.original if isinstance(model, Fused) else model).copy().requires_grad_()
    model.zero_grad()
    criterion = CrossEntropyLoss() if criterion is None else criterion
    with numpy.errstate(all="ignore"):
        graph = Graph(model, x, criterion, target)
        graph.backward()
    first = element(graph, tensor, index)
    elements, stop = [first], ""
    while elements[-1].parts:
        found = elements[-1].largest()
        if found is None:
            stop = "every term is 0: no gradient comes through here"
            break
        part, t = found
        there = part.use.output
        try:
            step = _of_value(graph, there, tuple(int(i) for i in part.terms.index[t]))
        except UnknownLayer as error:
            stop = str(error)
            break
        elements.append(step)
    probability, label = _p_and_y(elements)
    loss = float(graph.uses[-1].output.data.sum())
    return Trace(elements, loss, stop, backend.rung_for(x), str(x.dtype), model.training, probability, label)


def element(graph: Graph, tensor: str, index: Sequence[int] | None = None) -> Element:
    """One element of the gradient of a parameter or of an array of the forward pass, after `graph.backward`."""
    parameters = dict(graph.model.named_parameters())
    if tensor in parameters:
        parameter = parameters[tensor]
        gradient, uses = parameter.grad, graph.uses_of(parameter)
        place = _place(tensor, parameter.shape, gradient, index)
        parts = tuple(Part(use, terms_of(use, name, place)) for use, name in uses)
        if gradient is None or not parts:
            raise UnknownLayer(f"{tensor}: no layer that is known by its terms used it in this pass")
        return Element(tensor, place, float(gradient[place]), _eps(gradient), parts)
    if tensor not in graph.values:
        names = ", ".join([*graph.values, *parameters])
        raise ValueError(f"tensor: nothing is called {tensor!r}; there are {names}")
    value = graph.values[tensor]
    return _of_value(graph, value, _place(tensor, value.data.shape, value.grad, index))


def _of_value(graph: Graph, value: Value, index: Index) -> Element:
    if value.grad is None:
        raise ValueError(f"tensor: {value.name} has no gradient in this pass")
    parts = tuple(
        Part(use, terms_of(use, f"x{k}" if isinstance(use.module, Concat) else "x", index))
        for use in value.users
        for k, source in enumerate(use.inputs)
        if source is value
    )
    return Element(value.name, index, float(value.grad[index]), _eps(value.grad), parts)


def _place(tensor: str, shape: tuple[int, ...], gradient: Array | None, index: Sequence[int] | None) -> Index:
    if index is None:
        if gradient is None or not gradient.size:
            raise ValueError(f"tensor: {tensor} has no gradient in this pass")
        magnitude = numpy.where(numpy.isnan(gradient), numpy.inf, abs(gradient))
        return tuple(int(i) for i in numpy.unravel_index(int(magnitude.argmax()), shape))
    if len(index) != len(shape) or not all(0 <= i < n for i, n in zip(index, shape, strict=True)):
        got = ",".join(map(str, index))
        raise ValueError(
            f"index: {tensor} is {size(shape)}, so expected {len(shape)} numbers from 0 below these sizes, got {got}"
        )
    return tuple(map(int, index))


def _eps(gradient: Array) -> float:
    return float(numpy.finfo(gradient.dtype).eps)


def _p_and_y(elements: list[Element]) -> tuple[float | None, float | None]:
    """Of the logit that the way ends at: its probability, and 1 if it is the target's, else 0."""
    if len(elements) < 2 or elements[-1].parts or not elements[-2].parts:
        return None, None
    use, index = elements[-2].parts[0].use, elements[-2].index
    if not isinstance(use.module, CrossEntropyLoss) or numpy.asarray(use.target).dtype.kind not in "iu":
        return None, None
    logits = use.inputs[0].data
    axis = 1 if logits.ndim > 1 else 0
    e = numpy.exp(logits - logits.max(axis=axis, keepdims=True))
    p = e / e.sum(axis=axis, keepdims=True)
    t = numpy.asarray(use.target)[index[:axis] + index[axis + 1 :]]
    return float(p[index]), float(t == index[axis])
