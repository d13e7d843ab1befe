"""What the pictures show of a model, computed on a copy of it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy

from scratchnet.nn import CrossEntropyLoss, Linear, Module, ReLU, no_grad
from scratchnet.nn.activations import Activations, walk_forward
from scratchnet.ops.shape import Array


class Step(NamedTuple):
    name: str
    module: Module
    output: Array


def steps(model: Module, x: Array) -> list[Step]:
    """Every step of a forward pass, inner ones first; the model is left as it is."""
    found: list[Step] = []
    model = model.copy().eval()
    with no_grad():
        walk_forward(model, x, "", lambda name, module, y, cache: found.append(Step(name, module, y)))
    return found


def spatial_layers(model: Module, x: Array, limit: int = 5) -> list[str]:
    """The names of the first ReLUs that give feature maps (N, C, H, W); without any, of the first steps that do."""
    maps = [step for step in steps(model, x) if step.output.ndim == 4]
    after_relu = [step.name for step in maps if isinstance(step.module, ReLU)]
    return (after_relu or [step.name for step in maps])[:limit]


def input_of_last_linear(model: Module, x: Array) -> str | None:
    """The name of the step whose output the classifier reads: the last layer's features."""
    names = steps(model, x)
    places = [i for i, step in enumerate(names) if isinstance(step.module, Linear)]
    return names[places[-1] - 1].name if places and places[-1] else None


def check_names(model: Module, x: Array, names: Sequence[str]) -> None:
    """Raise a ValueError for a layer that the model does not have."""
    known = [step.name for step in steps(model, x)]
    for name in names:
        if name not in known:
            raise ValueError(f"layers: expected some of {', '.join(known)}, got {name!r}")


def features_and_gradients(model: Module, x: Array, target: Array) -> Activations:
    """Every activation of x, and the gradient of each image's own loss with respect to it, in evaluation mode.

    Works on a copy: weights, gradients, running statistics and dropout counters of the model stay as they are.
    """
    model = model.copy().eval()
    activations = Activations(model, x)
    criterion = CrossEntropyLoss(reduction="sum")  # the sum, so that each image's gradient is that of its own loss
    _, cache = criterion.forward(activations.output, target)
    activations.backward(criterion.backward(None, cache))
    return activations


def features(model: Module, batches: Iterator[Array], name: str) -> numpy.ndarray:
    """The output of one step for all batches, one row an image."""
    rows = [next(step.output for step in steps(model, x) if step.name == name).reshape(len(x), -1) for x in batches]
    return numpy.concatenate(rows)
