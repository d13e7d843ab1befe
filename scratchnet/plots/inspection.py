"""What the pictures show of a model, computed on a copy of it, on its device."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy

from scratchnet import backend
from scratchnet.nn import CrossEntropyLoss, Dropout, Dropout2d, Linear, Module, ReLU, no_grad
from scratchnet.nn.activations import Activations, walk_forward
from scratchnet.ops.shape import Array, array_module


class Step(NamedTuple):
    name: str
    module: Module
    output: Array


def to_host(array: Array) -> numpy.ndarray:
    """The array on the CPU, where it is drawn."""
    return backend.device("cpu").asarray(array)


def beside(model: Module, x: Array) -> Array:
    """The array on the model's device."""
    parameter = next(iter(model.parameters()), None)
    if parameter is None or array_module(parameter.data) is numpy:
        return to_host(x)
    return backend.device(f"gpu:{parameter.data.device.id}").asarray(x)


def steps(model: Module, x: Array) -> list[Step]:
    """Every step of a forward pass, inner ones first; the model is left as it is."""
    found: list[Step] = []
    model = model.copy().eval()
    with no_grad():
        walk_forward(model, beside(model, x), "", lambda name, module, y, cache: found.append(Step(name, module, y)))
    return found


def spatial_layers(model: Module, x: Array, limit: int = 5) -> list[str]:
    """The names of the first ReLUs that give feature maps (N, C, H, W); without any, of the first steps that do."""
    maps = [step for step in steps(model, x) if step.output.ndim == 4]
    after_relu = [step.name for step in maps if isinstance(step.module, ReLU)]
    return (after_relu or [step.name for step in maps])[:limit]


def input_of_last_linear(model: Module, x: Array) -> str | None:
    """The name of the step whose output the classifier reads: the last layer's features. A dropout in between, which
    evaluation skips, is not counted."""
    names = steps(model, x)
    places = [i for i, step in enumerate(names) if isinstance(step.module, Linear)]
    if not places:
        return None
    before = [step.name for step in names[: places[-1]] if not isinstance(step.module, Dropout | Dropout2d)]
    return before[-1] if before else None


def check_names(model: Module, x: Array, names: Sequence[str]) -> None:
    """Raise a ValueError for a layer that the model does not have."""
    known = [step.name for step in steps(model, x)]
    for name in names:
        if name not in known:
            raise ValueError(
                f"layers: expected some of {', '.join(known) or 'none, for it has no chain'}, got {name!r}"
            )


def check_maps(model: Module, x: Array, names: Sequence[str]) -> None:
    """Raise a ValueError for a layer without feature maps (N, C, H, W)."""
    found = steps(model, x)
    spatial = [step.name for step in found if step.output.ndim == 4]
    for step in found:
        if step.name in names and step.name not in spatial:
            raise ValueError(
                f"layers: {step.name!r} has no feature maps (N, C, H, W), its output is {step.output.shape}; "
                f"those that have some: {', '.join(spatial) or 'none'}"
            )


def features_and_gradients(model: Module, x: Array, target: Array, criterion: Module | None = None) -> Activations:
    """Every activation of x, and the gradient of each image's own loss with respect to it, in evaluation mode.

    Works on a copy: weights, gradients, running statistics and dropout counters of the model stay as they are.

    Args:
        criterion: the loss, by default cross entropy.
    """
    model = model.copy().eval()
    criterion = (criterion or CrossEntropyLoss()).copy()
    if hasattr(criterion, "reduction"):
        criterion.reduction = "sum"  # so that each image's gradient is that of its own loss
    activations = Activations(model, beside(model, x))
    _, cache = criterion.forward(activations.output, beside(model, target))
    activations.backward(criterion.backward(None, cache))
    return activations


def features(model: Module, batches: Iterable[Array], name: str) -> numpy.ndarray:
    """The output of one step for all batches, one row an image."""
    model = model.copy().eval()
    rows: list[numpy.ndarray] = []

    def keep(step: str, module: Module, y: Array, cache: object) -> None:
        if step == name:
            rows.append(to_host(y).reshape(len(y), -1))

    with no_grad():
        for x in batches:
            walk_forward(model, beside(model, x), "", keep)
    return numpy.concatenate(rows)
