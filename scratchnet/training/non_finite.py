"""Where did the first NaN or infinity come from? Replays a step layer by layer and says."""

from collections.abc import Iterable, Iterator

import numpy

from scratchnet.nn import Module, no_grad
from scratchnet.nn.activations import walk_forward
from scratchnet.ops.shape import Array, array_module
from scratchnet.training.state import set_dropout_counters


class NonFiniteLossError(RuntimeError):
    """The loss, or a weight, became NaN or infinite: training on would only spread it."""


class _FoundError(Exception):
    """Ends the replay at the first layer whose output is not finite."""


def non_finite_weight(model: Module) -> str | None:
    """A parameter or buffer with a NaN or infinity, described, or None."""
    return _non_finite_parameter(model) or next(_described("buffer", model.named_buffers()), None)


def _non_finite_parameter(model: Module) -> str | None:
    return next(_described("parameter", ((name, p.data) for name, p in model.named_parameters())), None)


def _described(kind: str, values: Iterable[tuple[str, Array]]) -> Iterator[str]:
    """Those that are not finite: "parameter fc1.weight (3 of 400 elements)" """
    for name, value in values:
        if wrong := count_non_finite(value):
            yield f"{kind} {name} ({wrong})"


def first_non_finite(model: Module, x: Array, dropout: dict[str, list[int]]) -> str:
    """Replay a forward pass from the same weights and dropout masks → a sentence on where it went wrong.

    Works on a copy: running statistics, counters and gradients of the model stay as they are.
    """
    if wrong := count_non_finite(x):
        return f"the first non-finite value is in the input batch ({wrong})"
    # Not buffers: the forward pass that is replayed has moved BatchNorm's statistics, and reads none in training.
    if weight := _non_finite_parameter(model):
        return f"the first non-finite value is in {weight}, which the step before wrote"
    model = model.copy().train()
    set_dropout_counters(model, dropout)

    def visit(name: str, module: Module, y: Array, cache: object) -> None:
        if wrong := count_non_finite(y):
            raise _FoundError(
                f"the first non-finite value is in the output of {name}, {type(module).__name__} ({wrong})"
            )

    try:
        with no_grad(), numpy.errstate(all="ignore"):
            y, _ = walk_forward(model, x, "", visit)
            visit("the model", model, y, None)
    except _FoundError as found:
        return str(found)
    return "every layer's output is finite: it became non-finite in the loss itself"


def count_non_finite(x: Array) -> str:
    """ "3 of 400 elements", or "" if all are finite."""
    if x.dtype.kind != "f":
        return ""
    wrong = int(x.size - array_module(x).isfinite(x).sum())
    return f"{wrong:,} of {x.size:,} elements" if wrong else ""
