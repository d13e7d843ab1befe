"""What gradcheck differentiates: a module, or a pair of functions, as one function of named arrays."""

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array
from scratchnet.study.report import title_of


class Subject:
    """A forward and a backward function over copies of the inputs in float64.

    tensors holds every array that a gradient is expected of, by name; writing into one moves the point.
    """

    def __init__(self, name: str, forward: Callable, inputs: Sequence[Any], taken: Sequence[str] = ()) -> None:
        self.name = name
        self.inputs = [_double(value, i) for i, value in enumerate(inputs)]
        self.input_names = input_names(forward, len(self.inputs), taken)
        self.tensors = {
            name: value for name, value in zip(self.input_names, self.inputs, strict=True) if _differentiable(value)
        }
        self.kinds = dict.fromkeys(self.tensors, "the input")

    def forward(self) -> tuple[Any, Any]:
        """(y, cache) at the current point, from the same state every time."""
        raise NotImplementedError

    def backward(self, dy: Array, cache: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """The gradient of each tensor by name, and what was wrong with the list of them: (name, complaint) pairs."""
        raise NotImplementedError

    def output(self) -> Array:
        """y at the current point, an array of its own."""
        with numpy.errstate(all="ignore"):
            return numpy.array(self.forward()[0], dtype="float64")


class FunctionSubject(Subject):
    def __init__(self, forward: Callable, backward: Callable, inputs: Sequence[Any]) -> None:
        name = getattr(forward, "__name__", "function")
        super().__init__("function" if name == "<lambda>" else name, forward, inputs)
        self._forward, self._backward = forward, backward

    def forward(self) -> tuple[Any, Any]:
        return _two(self._forward(*self.inputs), f"{self.name}: the forward function")

    def backward(self, dy: Array, cache: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        result = self._backward(dy, cache)
        if not isinstance(result, tuple | list):
            if len(self.tensors) == 1:
                return {next(iter(self.tensors)): result}, []
            result = (result,)
        names, count = self.input_names, len(result)
        if count != len(names):
            wanted = f"one for each input ({', '.join(names)}), None for an input that has none"
            return {}, [("backward", f"expected {len(names)} gradients, {wanted}; got {count}")]
        return {name: gradient for name, gradient in zip(names, result, strict=True) if name in self.tensors}, []


class ModuleSubject(Subject):
    """A deep copy of the module in float64; its buffers and counters are put back before every evaluation."""

    def __init__(self, module: Module, inputs: Sequence[Any]) -> None:
        parameters = [name for name, _ in module.named_parameters()]
        super().__init__(title_of(module), module.forward, inputs, parameters)
        self.module = module.copy().double()
        for name, parameter in self.module.named_parameters():
            parameter.data = numpy.array(parameter.data, order="C")
            if parameter.requires_grad:
                self.tensors[name] = parameter.data
                self.kinds[name] = "the parameter"
        self._state = _State(self.module)

    def forward(self) -> tuple[Any, Any]:
        self._state.restore()
        return _two(self.module.forward(*self.inputs), f"{self.name}.forward")

    def backward(self, dy: Array, cache: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        self.module.zero_grad()
        result = self.module.backward(dy, cache)
        gradients: dict[str, Any] = {n: p.grad for n, p in self.module.named_parameters() if p.requires_grad}
        names = self.input_names
        if not isinstance(result, tuple | list):  # as the losses do: one array is the gradient of the first input
            for name in names[1:]:
                self.tensors.pop(name, None)
            result = (result,)
        elif len(result) != len(names):
            complaint = f"expected one gradient for each input ({', '.join(names)}), got {len(result)}"
            return gradients, [("backward", complaint)]
        gradients |= {name: dx for name, dx in zip(names, result, strict=False) if name in self.tensors}
        return gradients, []


class _State:
    """Everything that a forward call may change in a module besides its parameters: buffers, counters, generators."""

    def __init__(self, module: Module) -> None:
        self._modules = list(module.modules())
        self._shared = {id(value): value for value in [*self._modules, *module.parameters()]}  # never copied
        self._fixed = [{k: v for k, v in vars(m).items() if _immutable(k, v)} for m in self._modules]
        mutable = [{k: v for k, v in vars(m).items() if not _immutable(k, v)} for m in self._modules]
        self._mutable = self._copy(mutable)

    def _copy(self, values: Any) -> Any:
        return copy.deepcopy(values, dict(self._shared))

    def restore(self) -> None:
        for module, fixed, mutable in zip(self._modules, self._fixed, self._copy(self._mutable), strict=True):
            state = vars(module)
            state.clear()
            state.update(fixed)
            state.update(mutable)


def _immutable(name: str, value: Any) -> bool:
    """Whether an attribute can be put back without a copy of it."""
    if name in ("_parameters", "_modules", "chain"):
        return True
    if isinstance(value, tuple):
        return all(_immutable("", item) for item in value)
    return value is None or isinstance(value, bool | int | float | str | numpy.generic)


def _double(value: Any, position: int) -> Any:
    if not isinstance(value, numpy.ndarray):
        raise TypeError(f"gradcheck: expected input {position} as a NumPy array, got {type(value).__name__}")
    return value.astype("float64", order="C") if _differentiable(value) else value.copy()


def _differentiable(value: Array) -> bool:
    return value.dtype.kind == "f"


def input_names(forward: Callable, count: int, taken: Sequence[str]) -> list[str]:
    """The names of forward's arguments, or "input 0" and so on where it has none or another tensor has the name."""
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        parameters = ()  # type: ignore[assignment]
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]
    named += [""] * (count - len(named))
    return [f"input {i}" if name in ("", *taken) else name for i, name in enumerate(named)]


def _two(result: Any, who: str) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        got = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
        raise TypeError(f"{who} must return (y, cache), got {got}")
    return result
