"""One of our models and its torch twin side by side: which tensor is the first to differ?

Both start with the same weights and take the same batches, and every dropout layer of the twin draws our masks. After
each step everything is compared in the order in which it was computed: activations forward, the loss, the gradients of
the activations from the loss back to the input, those of the parameters, and what the optimizer made of parameters and
buffers.

    error = ‖ours − theirs‖ / max(‖theirs‖, s)        s = 1/1000 of the largest norm among the tensors of its kind

s is there for gradients that are zero by mathematics, as that of a bias in front of BatchNorm, whose rounding errors
have nothing to be measured by.

Which of torch's tensors belongs to which activation: a TorchFunctionMode notes every function that the twin calls. Our
steps call the same functions in the same order, so each takes the next tensor of its function and shape. What a fused
model computes in between is not to be seen; there only the loss, gradients of parameters, parameters and buffers count.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy
import torch
from torch.overrides import TorchFunctionMode

from scratchnet import nn
from scratchnet.nn.activations import Activations
from scratchnet.ops.shape import Array
from scratchnet.optim import Optimizer

SMALL = 1e-3  # s, as a share of the largest norm

# The torch functions that compute what a step of ours does.
_FUNCTIONS: dict[type, tuple[str, ...]] = {
    nn.Conv2d: ("conv2d",),
    nn.Linear: ("linear",),
    nn.ReLU: ("relu",),
    nn.MaxPool2d: ("max_pool2d",),
    nn.AvgPool2d: ("avg_pool2d",),
    nn.AdaptiveAvgPool2d: ("adaptive_avg_pool2d",),
    nn.BatchNorm2d: ("batch_norm",),
    nn.BatchNorm1d: ("batch_norm",),
    nn.Flatten: ("flatten",),
    nn.Tanh: ("tanh",),
    nn.Sigmoid: ("sigmoid",),
    nn.Dropout: ("dropout", "div", "__truediv__", "true_divide"),
    nn.Dropout2d: ("dropout2d", "dropout", "feature_dropout", "div", "__truediv__", "true_divide"),
    nn.Residual: ("add", "__add__"),
}


class Difference(NamedTuple):
    """The error of one tensor in one step; kind: activation, loss, activation gradient, gradient, parameter, buffer."""

    step: int
    kind: str
    tensor: str
    error: float

    def __str__(self) -> str:
        return f"step {self.step}, {self.kind} {self.tensor}: differs by {self.error:.1e}"


@dataclass
class Agreement:
    """How long the twins agreed: `steps` steps within `tolerance`; `first` is what then differed, or None."""

    tolerance: float | dict[str, float]
    steps: int = 0
    first: Difference | None = None
    worst: dict[tuple[str, str], Difference] = field(default_factory=dict)  # (kind, tensor) → its largest error

    @property
    def ok(self) -> bool:
        return self.first is None and self.steps > 0


def lockstep(
    ours: nn.Module,
    theirs: torch.nn.Module,
    optimizer: Optimizer,
    torch_optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[Array, Array]],
    tolerance: float | dict[str, float],
    activations: bool = True,
) -> Agreement:
    """Train both on the batches (x, target) with cross entropy until a tensor's error is above the tolerance.

    Args:
        ours, theirs: twins with the same state_dict, in one dtype; masks shared by torch_ref.masks.share_masks.
        optimizer, torch_optimizer: of each one's parameters.
        tolerance: the largest error that agrees, one for all or one for each kind.
        activations: whether to compare what is between the layers; False for a fused model.

    Raises:
        RuntimeError: an activation of ours has no counterpart in the twin.
    """
    result = Agreement(tolerance)
    for step, (x, target) in enumerate(batches, 1):
        mine = _our_step(ours, optimizer, x, target, activations)
        other = _their_step(theirs, torch_optimizer, x, target, mine)
        for difference in _differences(step, mine, other):
            key = difference.kind, difference.tensor
            if key not in result.worst or not difference.error <= result.worst[key].error:
                result.worst[key] = difference
            bound = tolerance[difference.kind] if isinstance(tolerance, dict) else tolerance
            if not difference.error <= bound:  # NaN too
                result.first = difference
                return result
        result.steps = step
    return result


Tensors = dict[str, dict[str, Array]]  # kind → name → array, in the order of computation


class _Watched(Activations):
    """Activations that remember which module made each."""

    def __init__(self, model: nn.Module, x: Array) -> None:
        self.makers: dict[str, nn.Module] = {}
        super().__init__(model, x)

    def _note(self, name: str, module: nn.Module, y: Array, cache: Any) -> None:
        self.makers[name] = module
        super()._note(name, module, y, cache)


def _our_step(model: nn.Module, optimizer: Optimizer, x: Array, target: Array, activations: bool) -> Tensors:
    criterion: Any = nn.CrossEntropyLoss()
    found = Tensors()
    optimizer.zero_grad()
    if activations:
        watched = _Watched(model, x)
        loss = criterion(watched.output, target)
        watched.backward(criterion.backward())
        names = [name for name, module in watched.makers.items() if type(module) in _FUNCTIONS]
        found["activation"] = {name: watched[name] for name in names}
        found["activation gradient"] = {name: watched.grad[name] for name in (*reversed(names), "input")}
        found["function"] = {name: _FUNCTIONS[type(watched.makers[name])] for name in names}
    else:
        loss = criterion(model(x), target)
        model.backward(criterion.backward())
    found["loss"] = {"loss": numpy.asarray(loss)}
    parameters = list(model.named_parameters())
    found["gradient"] = {name: p.grad.copy() for name, p in reversed(parameters) if p.grad is not None}
    optimizer.step()
    state = model.state_dict()
    found["parameter"] = {name: state.pop(name) for name, _ in parameters}
    found["buffer"] = state
    return found


class _Recorder(TorchFunctionMode):
    """Notes what every torch function returns, and lets autograd keep its gradient."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, torch.Tensor]] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = function(*args, **(kwargs or {}))
        if isinstance(y, torch.Tensor) and y.requires_grad and y.is_floating_point() and not y.is_leaf:
            y.retain_grad()
            self.calls.append((getattr(function, "__name__", ""), y))
        return y


def _their_step(model: torch.nn.Module, optimizer: Any, x: Array, target: Array, mine: Tensors) -> Tensors:
    found, recorder = Tensors(), _Recorder()
    image = torch.from_numpy(x).requires_grad_()
    optimizer.zero_grad()
    with recorder:
        logits = model(image)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(target))
    loss.backward()
    if "activation" in mine:
        pairs = dict(_pair(mine, recorder.calls))
        found["activation"] = {name: y.detach().numpy() for name, y in pairs.items()}
        pairs["input"] = image
        found["activation gradient"] = {name: y.grad.numpy() for name, y in pairs.items() if y.grad is not None}
    found["loss"] = {"loss": loss.detach().numpy()}
    found["gradient"] = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    optimizer.step()
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    found["parameter"] = {name: state.pop(name) for name, _ in model.named_parameters()}
    found["buffer"] = state
    return found


def _pair(mine: Tensors, calls: list[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Each activation's counterpart: the next result of its function that has its shape."""
    at = iter(calls)
    for name, functions in mine["function"].items():
        shape = mine["activation"][name].shape
        for function, y in at:
            if function in functions and tuple(y.shape) == shape:
                yield name, y
                break
        else:
            raise RuntimeError(f"lockstep: the torch model calls no {functions[0]} that gives {name}'s shape {shape}")


def _differences(step: int, mine: Tensors, other: Tensors) -> Iterator[Difference]:
    for kind in ("activation", "loss", "activation gradient", "gradient", "parameter", "buffer"):
        if kind not in mine:
            continue
        norms = {name: float(numpy.linalg.norm(value)) for name, value in other[kind].items()}
        smallest = SMALL * max(norms.values(), default=0.0)
        for name, value in mine[kind].items():
            apart = float(numpy.linalg.norm(value - other[kind][name]))
            yield Difference(step, kind, name, apart / (max(norms[name], smallest) or 1.0))
