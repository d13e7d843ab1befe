"""How large the terms are that a number was summed from: what its rounding error is relative to.

A sum may be far smaller than its terms. A convolution's bias in front of BatchNorm has the gradient Σ dy = 0, in
floating point 1e-17 or so: relative to 0 that is all wrong, relative to the terms it is right in every digit. So the
deviation of a number is measured against s, the same sum taken over the absolute values of its terms.

`record` notes the input, the output and the gradients of every layer call of a model, and `scales` goes through the
calls from last to first and works out s for each tensor, layer by layer:

    Linear, convolutions the layer itself on |x|, |weight|, |bias| and |dy|
    BatchNorm            its formulas with every minus replaced by plus
    pools, activations   one-term sums, or sums of terms of one sign: s is the value itself
    sigmoid, tanh        y + y² and 1 + y² for y − y² and 1 − y²
    softmax, losses      their formulas with every minus replaced by plus (|p| + |q| for cross entropy)
    anything else        unknown, and taken as 0: the deviation is then relative to the value itself

A layer's dy has the rounding error of the sum that made it, and that error may be larger than |dy| says: BatchNorm's
dx can be nearly zero. So s of a layer's dx is handed down to the layers below, where it takes the place of |dy|. On
the way through a layer it goes by root of sum of squares, as independent errors add; with plain sums it would
grow from layer to layer until every answer passed.
"""

import contextvars
import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy

from scratchnet import backend, nn
from scratchnet.nn.conv import _Conv
from scratchnet.nn.losses import _Loss
from scratchnet.nn.module import _LATEST, Module
from scratchnet.nn.norm import _BatchNorm
from scratchnet.ops.shape import Array


@dataclass(eq=False)
class Call:
    """One call of a layer; it takes the place of the layer's cache on the way back."""

    module: Module
    inputs: tuple[Any, ...]
    before: dict[str, Any]  # the buffers as they were
    y: Any
    cache: Any
    dy: Any = None
    dx: Any = None


@dataclass
class Scale:
    """s for the tensors of one call, each an array of the tensor's shape, or 0 where it is not known."""

    y: Any = 0.0
    dx: Any = 0.0
    parameters: dict[str, Any] = field(default_factory=dict)
    buffers: dict[str, Any] = field(default_factory=dict)


INPUT = "input"  # the name of the gradient of the model's first input


def record(model: Module) -> list[Call]:
    """Note every later call of each layer of this model, in order. The model is changed: give it a copy."""
    calls: list[Call] = []
    for module in model.modules():
        if not any(module.named_children()):
            _record_layer(module, calls)
    return calls


def _record_layer(module: Module, calls: list[Call]) -> None:
    original_forward, original_backward = module.forward, module.backward

    def forward(*inputs: Any) -> tuple[Any, Call]:
        before = {name: copy.copy(value) for name, value in module._buffers.items()}
        y, cache = original_forward(*inputs)
        call = Call(module, inputs, before, y, cache)
        calls.append(call)
        return y, call

    def backward(dy: Any = None, call: Any = _LATEST) -> Any:
        if call is _LATEST:
            call = module._take_latest()
        call.dx = original_backward(dy, call.cache)
        call.dy = dy
        return call.dx

    module.forward, module.backward = forward, backward


def scales(calls: list[Call], model: Module, x: Any, y: Any) -> dict[str, Any]:
    """s for the tensors that these calls of the model's layers computed from the input x up to the output y, by name.

    Runs the textbook implementation whatever rung or override is in force: an error of theirs must not move the
    scale that it is measured with.
    """
    return contextvars.Context().run(_scales, calls, model, x, y)


def _scales(calls: list[Call], model: Module, x: Any, y: Any) -> dict[str, Any]:
    backend.use("im2col")
    parameter_names = {id(parameter): f"{name}.grad" for name, parameter in model.named_parameters()}
    module_names = {id(module): f"{name}." if name else "" for name, module in model.named_modules()}
    total: dict[str, Any] = {}
    of_gradient: dict[int, Any] = {}  # s of what one layer hands to the one before, by id
    for call in reversed(calls):
        if call.dy is None:
            continue
        dy_scale = numpy.maximum(abs(_double(call.dy)), of_gradient.get(id(call.dy), 0.0))
        double = replace(call, inputs=tuple(map(_double, call.inputs)), dy=_double(call.dy))
        with numpy.errstate(all="ignore"):
            scale = _rule(call.module)(double, dy_scale)
        of_gradient[id(call.dx)] = scale.dx
        for name, value in scale.parameters.items():
            name = parameter_names[id(call.module._parameters[name])]
            total[name] = total.get(name, 0.0) + value  # a layer used twice: its terms add up
        for name, value in scale.buffers.items():
            total.setdefault(module_names[id(call.module)] + name, value)  # the last call's
        if call.y is y:
            total["output"] = scale.y
        if call.inputs[0] is x:
            total[INPUT] = total.get(INPUT, 0.0) + scale.dx
    return total


def _double(value: Array) -> Array:
    return value.astype("float64") if value.dtype.kind == "f" else value


def _rule(module: Module) -> Callable[[Call, Array], Scale]:
    for kinds, rule in RULES:
        if isinstance(module, kinds):
            return rule
    return lambda call, dy_scale: Scale()


def _textbook(module: Module) -> Module:
    """A copy of a recorded layer in float64, without the recording, and of this library's class: not a subclass's."""
    layer = module.copy().double()
    del layer.forward, layer.backward
    layer.__class__ = next(kind for kind in type(module).__mro__ if kind.__module__.startswith("scratchnet.nn"))
    return layer


def _sum(call: Call, dy_scale: Array) -> Scale:
    """The layer on absolute values; on squares, what it hands down of the error that it got."""
    layer = _textbook(call.module).requires_grad_()
    layer.zero_grad()
    weights = [parameter.data for parameter in layer.parameters()]
    x, dy = abs(call.inputs[0]), abs(call.dy)
    for parameter, weight in zip(layer.parameters(), weights, strict=True):
        parameter.data = numpy.square(weight)
    squares = layer.backward(numpy.square(dy_scale), layer.forward(x)[1])
    for parameter, weight in zip(layer.parameters(), weights, strict=True):
        parameter.data = abs(weight)
    y, cache = layer.forward(x)
    dx = layer.backward(dy, cache)
    layer.zero_grad()
    layer.backward(dy_scale, cache)
    gradients = {name: p.grad for name, p in layer._parameters.items() if p is not None}
    return Scale(y, numpy.maximum(dx, numpy.sqrt(squares)), gradients)


def _linear_in_x(call: Call, dy_scale: Array) -> Scale:
    layer = _textbook(call.module)
    y, cache = layer.forward(abs(call.inputs[0]))
    return Scale(abs(y), abs(layer.backward(dy_scale, cache)))


def _one_term(call: Call, dy_scale: Array) -> Scale:
    layer = _textbook(call.module)
    _, cache = layer.forward(call.inputs[0])
    return Scale(0.0, abs(layer.backward(dy_scale, cache)))


def _sigmoid(call: Call, dy_scale: Array) -> Scale:
    """dx = dy·(y − y²), and near saturation the two nearly cancel."""
    return Scale(0.0, dy_scale * (call.y + numpy.square(call.y)))


def _tanh(call: Call, dy_scale: Array) -> Scale:
    """dx = dy·(1 − y²)."""
    return Scale(0.0, dy_scale * (1 + numpy.square(call.y)))


def _batch_norm(call: Call, dy_scale: Array) -> Scale:
    x, module, before = call.inputs[0], call.module, call.before
    if x.size == 0:
        return Scale()
    axes, n = (0, *range(2, x.ndim)), max(x.size // x.shape[1], 1) if x.shape[1] else 1
    shape = (1, -1, *[1] * (x.ndim - 2))
    batch = module.training or before["running_mean"] is None
    mean = (x.mean(axis=axes) if batch else before["running_mean"]).reshape(shape)
    var = numpy.square(x - mean).mean(axis=axes) if batch else before["running_var"]
    inv_std = 1 / numpy.sqrt(var + module.eps).reshape(shape)
    gamma = 1.0 if module.weight is None else abs(module.weight.data).reshape(shape)
    beta = 0.0 if module.bias is None else abs(module.bias.data).reshape(shape)
    x_hat = (abs(x) + abs(mean)) * inv_std  # of x̂ = (x − μ)·s

    def total(values: Array) -> Array:
        return values.sum(axis=axes).reshape(shape)

    parameters = {"weight": (dy_scale * x_hat).sum(axis=axes), "bias": dy_scale.sum(axis=axes)}
    parameters = {name: parameters[name] for name, p in module._parameters.items() if p is not None}
    dx = dy_scale
    if batch:
        dy, squares, x_hat2 = abs(call.dy), numpy.square(dy_scale), numpy.square(x_hat)
        terms = dy + total(dy) / n + x_hat * total(dy * x_hat) / n
        squares = squares + total(squares) / n**2 + x_hat2 * total(squares * x_hat2) / n**2
        dx = numpy.maximum(terms, numpy.sqrt(squares))
    buffers = {}
    if module.training and before["running_mean"] is not None:
        buffers["running_mean"] = abs(before["running_mean"]) + abs(x).mean(axis=axes)
        buffers["running_var"] = abs(before["running_var"]) + ((abs(x) + abs(mean)) * abs(x - mean)).mean(axis=axes)
    return Scale(gamma * x_hat + beta, gamma * inv_std * dx, parameters, buffers)


def _softmax(call: Call, dy_scale: Array) -> Scale:
    x, dim = call.inputs[0], call.module.dim
    shifted = x - x.max(axis=dim, keepdims=True)
    p = numpy.exp(shifted) / numpy.exp(shifted).sum(axis=dim, keepdims=True)
    if isinstance(call.module, nn.LogSoftmax):
        return Scale(_log_softmax_terms(x, dim), dy_scale + p * dy_scale.sum(axis=dim, keepdims=True))
    return Scale(0.0, p * (dy_scale + (dy_scale * p).sum(axis=dim, keepdims=True)))


def _log_softmax_terms(x: Array, dim: int) -> Array:
    """x − max x − log Σ e^(x − max x), with plus for minus."""
    largest = x.max(axis=dim, keepdims=True)
    return abs(x) + abs(largest) + numpy.log(numpy.exp(x - largest).sum(axis=dim, keepdims=True))


def _cross_entropy(call: Call, dy_scale: Array) -> Scale:
    """l = −Σ q·log p with the terms of log p, and dz = (p·Σq + |q|)·dloss/D."""
    layer = _textbook(call.module)
    logits, target = call.inputs
    with backend.use("im2col"):  # whose cache says what is wanted here
        _, saved = layer.forward(logits, target)
    p, q, divisor, reduction = saved.cache.probabilities, saved.cache.q, saved.cache.divisor, layer.reduction
    z = logits[None] if saved.unbatched else logits
    losses = (abs(q) * numpy.where(q == 0, 0, _log_softmax_terms(z, 1))).sum(axis=1)
    spread = dy_scale[None] if saved.unbatched and reduction == "none" else dy_scale
    spread = spread[:, None] if reduction == "none" else spread / (divisor if reduction == "mean" else 1)
    dx = spread * (p * abs(q).sum(axis=1, keepdims=True) + abs(q))
    y = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / divisor if divisor is not None else 0.0}[reduction]
    if saved.unbatched:
        return Scale(y[0] if reduction == "none" else y, dx[0])
    return Scale(y, dx)


RULES: list[tuple[tuple[type, ...], Callable[[Call, Array], Scale]]] = [
    ((nn.Linear, _Conv), _sum),
    ((nn.AvgPool2d, nn.AdaptiveAvgPool2d), _linear_in_x),
    ((_BatchNorm,), _batch_norm),
    ((nn.Softmax, nn.LogSoftmax), _softmax),
    ((nn.CrossEntropyLoss,), _cross_entropy),
    ((_Loss,), lambda call, dy_scale: Scale()),
    ((nn.Sigmoid,), _sigmoid),
    ((nn.Tanh,), _tanh),
    ((nn.ReLU, nn.LeakyReLU, nn.GELU, nn.MaxPool2d, nn.Flatten, nn.Identity, nn.Dropout), _one_term),
]
