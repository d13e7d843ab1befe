"""Every call of a model's layers, with what went in and what came out, as a graph.

A chain's forward pass is a list of calls. A residual connection and a concatenation split and join it: there an array
has several users, and its gradient is the sum of what they hand back. `Graph` runs a model call by call, keeps each
call and each array, and can go back through them. Numbers and order are those of `model.forward` and `.backward`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from scratchnet.nn.containers import Chain, Concat, Residual
from scratchnet.nn.dropout import Dropout
from scratchnet.nn.fuse import Block, Fused
from scratchnet.nn.losses import _Loss
from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array


@dataclass(eq=False)
class Value:
    """An array of the forward pass. grad is None until `Graph.backward`, and where no gradient arrives."""

    name: str
    data: Array
    grad: Array | None = None
    users: list["Use"] = field(default_factory=list)

    def receive(self, gradient: Array) -> None:
        self.grad = gradient if self.grad is None else self.grad + gradient


@dataclass(eq=False)
class Use:
    """One call of a layer, of a fused block, or of what joins the branches of a Residual or Concat."""

    name: str
    module: Any
    inputs: tuple[Value, ...]
    output: Value
    cache: Any
    target: Array | None = None  # of a loss
    calls: int = 0  # of dropout: which mask it was
    training: bool = True  # the mode of the module during the call

    def backward(self) -> tuple[Array | None, ...]:
        """The gradient of each input; adds into the gradients of the parameters."""
        dy: Array = self.output.grad
        if isinstance(self.module, Residual):
            return dy, dy
        if isinstance(self.module, Concat):
            ends = numpy.cumsum([value.data.shape[self.module.dim] for value in self.inputs])
            return tuple(numpy.split(dy, ends[:-1], self.module.dim))
        return (self.module.backward(dy, self.cache),)


class Graph:
    """A forward pass of a model on x, and of a criterion on its output if there is one.

    Arrays have the names that `model.activations(x)` gives them, and those of a Concat's branches; the loss is "loss".
    A module that writes its own forward and backward is one call.
    """

    def __init__(self, model: Module, x: Array, criterion: _Loss | None = None, target: Array | None = None) -> None:
        self.model = model
        self.uses: list[Use] = []
        self.input = Value("input", x)
        self.values: dict[str, Value] = {"input": self.input}
        self.output = self._run(model, self.input, "")
        if criterion is not None:
            loss, cache = criterion.forward(self.output.data, target)
            self._add("loss", criterion, (self.output,), loss, cache, target=target)

    def backward(self, dy: Array | None = None) -> None:
        """Go back from the last call. dy is the gradient of what it returned: 1 for each number unless given."""
        last = self.uses[-1].output if self.uses else self.input
        for value in self.values.values():
            value.grad = None
        last.grad = numpy.ones_like(last.data) if dy is None else dy
        for use in reversed(self.uses):
            for value, gradient in zip(use.inputs, use.backward(), strict=True):
                if gradient is None:  # a fused model that was asked to leave it out
                    return
                value.receive(gradient)

    def uses_of(self, parameter: Any) -> list[tuple[Use, str]]:
        """The calls of the layer that holds the parameter, in order, and the parameter's name in that layer."""
        return [(use, name) for use in self.uses for name, own in parameters_of(use) if own is parameter]

    def _run(self, module: Any, x: Value, name: str) -> Value:
        prefix = f"{name}." if name else ""
        if isinstance(module, Fused):
            y = x
            for step, block in _named_blocks(module):
                y = self._run(block, y, f"{prefix}{step}" if step else name)
        elif isinstance(module, Residual) and _derived(module, Residual):
            branches = tuple(self._run(child, x, f"{prefix}{part}") for part, child in _branches(module))
            y = self._add(name, module, branches, branches[0].data + branches[1].data)
        elif isinstance(module, Concat) and _derived(module, Concat):
            branches = tuple(self._run(child, x, f"{prefix}{part}") for part, child in module.named_children())
            data = numpy.concatenate([branch.data for branch in branches], axis=module.dim)
            y = self._add(name, module, branches, data)
        elif isinstance(module, Chain) and _derived(module, Chain):
            y = x
            for step, child in module.chain:
                y = self._run(child, y, f"{prefix}{step}")
        else:
            calls = module.calls if isinstance(module, Dropout) else 0
            data, cache = module.forward(x.data)
            y = self._add(name, module, (x,), data, cache, calls=calls)
        self.values.setdefault(name or "output", y)
        return y

    def _add(
        self, name: str, module: Any, inputs: tuple[Value, ...], data: Array, cache: Any = None, **more: Any
    ) -> Value:
        y = Value(name or "output", data)
        training = getattr(module, "training", True)
        use = Use(name, module, inputs, y, cache, training=training, **more)
        self.uses.append(use)
        for value in dict.fromkeys(inputs):
            value.users.append(use)
        self.values.setdefault(y.name, y)
        return y


def _derived(module: Module, kind: type[Module]) -> bool:
    """Whether the module computes what its kind of container does, and no forward or backward of its own."""
    return type(module).forward is kind.forward and type(module).backward is kind.backward


def _branches(module: Residual) -> Sequence[tuple[str, Module]]:
    return ("main", module.main), ("shortcut", module.shortcut)


def _named_blocks(fused: Fused) -> Iterator[tuple[str, Any]]:
    """What computes a fused model, each block under the name of the last step in it."""
    original = fused.original
    if isinstance(original, Residual):
        yield "", fused._blocks[0]
        return
    at = -1
    for block in fused._blocks:
        at += len(block.modules) if isinstance(block, Block) else 1
        yield original.chain[at][0], block


def parameters_of(use: Use) -> list[tuple[str, Any]]:
    modules = use.module.modules if isinstance(use.module, Block) else [use.module]
    return [(name, p) for m in modules for name, p in m._parameters.items() if p is not None]
