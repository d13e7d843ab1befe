"""The base class of everything that holds parameters.

A module computes in two explicit calls, and keeps nothing between them::

    y, cache = module.forward(x)
    dx = module.backward(dy, cache)          # adds into the grad of its parameters

Since the cache is a value that the caller holds, a module used twice in one network is right by construction:
each use has its own cache. The everyday form keeps the cache of the latest call for you::

    y = module(x)
    dx = module.backward(dy)                 # consumes it: a second backward is an error

A module of your own derives from Module and writes `forward(self, x) → (y, cache)` and
`backward(self, dy, cache) → dx`. Or it derives from `Chain`, lists its steps, and writes neither.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy

from scratchnet import backend
from scratchnet.nn.grad_mode import grad_enabled, no_grad
from scratchnet.nn.parameter import Parameter
from scratchnet.ops.shape import Array, array_module

_LATEST = object()  # stands for "the cache of the latest call"
_DTYPES: dict[str, numpy.dtype] = {name: numpy.dtype(name) for name in ("float32", "float64")}


class LoadResult(NamedTuple):
    """What `load_state_dict(strict=False)` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def float_dtype(dtype: Any) -> numpy.dtype:
    """ "float32", numpy.float64, … → a NumPy dtype; None is float32. Anything else is an error."""
    try:
        return _DTYPES[numpy.dtype("float32" if dtype is None else dtype).name]
    except (TypeError, KeyError):
        raise TypeError(f"dtype: expected float32 or float64, got {dtype!r}") from None


def _latest_by_default(backward: Callable) -> Callable:
    """Let `backward(dy)` stand for `backward(dy, the cache of the latest call)`."""

    @functools.wraps(backward)
    def with_latest(self: "Module", dy: Any = None, cache: Any = _LATEST) -> Any:
        return backward(self, dy, self._take_latest() if cache is _LATEST else cache)

    return with_latest


class Module:
    training: bool = True
    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "backward" in cls.__dict__:
            cls.backward = _latest_by_default(cls.__dict__["backward"])

    def __new__(cls, *args: Any, **options: Any) -> Self:
        self = super().__new__(cls)
        for registry in ("_parameters", "_buffers", "_modules"):
            self.__dict__[registry] = {}
        self.__dict__["_latest"] = None
        return self

    # Calling

    def __call__(self, *inputs: Any) -> Any:
        if not (self.training and grad_enabled()):
            self._latest = None
            with no_grad():
                return self.forward(*inputs)[0]
        y, cache = self.forward(*inputs)
        self._latest = (cache,)
        return y

    def _take_latest(self) -> Any:
        if self._latest is None:
            raise RuntimeError(
                f"{type(self).__name__}: nothing to go back through: backward needs one call of this module in "
                "training mode, outside no_grad, and consumes it"
            )
        (cache,), self._latest = self._latest, None
        return cache

    # Parameters, buffers, submodules: registered by assignment, as in torch

    def __setattr__(self, name: str, value: Any) -> None:
        for kind, registry in ((Parameter, self._parameters), (Module, self._modules)):
            if isinstance(value, kind):
                self._forget(name)
                registry[name] = value
                return
            if name in registry:
                if value is not None:
                    raise TypeError(
                        f"{type(self).__name__}.{name}: expected a {kind.__name__} or None, got {type(value).__name__}"
                    )
                registry[name] = None
                return
        if name in self._buffers:
            self._buffers[name] = value
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        for registry in ("_parameters", "_buffers", "_modules"):
            entries = self.__dict__.get(registry, {})
            if name in entries:
                return entries[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def _forget(self, name: str) -> bool:
        """Remove an attribute from wherever it is registered; False if it is nowhere."""
        for registry in (self._parameters, self._buffers, self._modules, self.__dict__):
            if name in registry:
                del registry[name]
                return True
        return False

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Register a parameter, or None for one that this module does without."""
        self._forget(name)
        self._parameters[name] = parameter

    def register_buffer(self, name: str, value: Array | None) -> None:
        """Register an array that belongs to the state but is not trained."""
        self._forget(name)
        self._buffers[name] = value

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        yield from ((name, module) for name, module in self._modules.items() if module is not None)

    def children(self) -> Iterator["Module"]:
        for _, module in self.named_children():
            yield module

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module ("") and all below it, each once, by dotted name."""
        seen: set[int] = set()
        for name, module in self._walk(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator["Module"]:
        for _, module in self.named_modules():
            yield module

    def _walk(self, prefix: str) -> Iterator[tuple[str, "Module"]]:
        """Every module by every name that it has."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, by dotted name."""
        seen: set[int] = set()
        for module_name, module in self.named_modules(prefix):
            for name, parameter in module._parameters.items():
                if parameter is not None and id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield f"{module_name}.{name}" if module_name else name, parameter

    def parameters(self) -> Iterator[Parameter]:
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        for module_name, module in self.named_modules():
            for name, value in module._buffers.items():
                if value is not None:
                    yield f"{module_name}.{name}" if module_name else name, value

    def buffers(self) -> Iterator[Array]:
        for _, value in self.named_buffers():
            yield value

    # State

    def state_dict(self) -> dict[str, numpy.ndarray]:
        """Copies of all parameters and buffers, in torch's order and under torch's names."""
        return {key: value.copy() for key, (_, _, value) in self._slots()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy parameters and buffers from a mapping of arrays, or of torch tensors, into this module.

        Values are converted to the module's dtype and device; `.data` is replaced, the Parameter stays. With strict,
        missing and unexpected keys are an error; a wrong shape always is. Everything is checked before anything is
        changed: a RuntimeError leaves the module as it was. It names the file of what `weights.load` gave.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: expected a mapping of arrays, got {type(state_dict).__name__}")
        slots = dict(self._slots())
        missing = [key for key in slots if key not in state_dict]
        unexpected = [key for key in state_dict if key not in slots]
        problems = []
        if strict and unexpected:
            problems.append(f"unexpected keys: {', '.join(map(str, unexpected))}")
        if strict and missing:
            problems.append(f"missing keys: {', '.join(missing)}")
        values = {}
        for key, (_, _, current) in slots.items():
            if key in state_dict:
                value = _to_array(key, state_dict[key])
                if value.shape != current.shape:
                    problems.append(f"{key}: expected shape {current.shape}, got {value.shape}")
                values[key] = array_module(current).array(value, dtype=current.dtype)
        if problems:
            source = f"{state_dict.path}: " if hasattr(state_dict, "path") else ""
            raise RuntimeError(f"{type(self).__name__}.load_state_dict: {source}" + "; ".join(problems))
        for key, value in values.items():
            module, name, _ = slots[key]
            module._replace(name, value)
        return LoadResult(missing, unexpected)

    def _slots(self) -> Iterator[tuple[str, tuple["Module", str, Array]]]:
        """Where each entry of the state_dict lives: key → (module, attribute, current value)."""
        for prefix, module in self._walk(""):
            dot = f"{prefix}." if prefix else ""
            values = {name: p.data for name, p in module._parameters.items() if p is not None}
            for name, value in {**values, **module._buffers}.items():
                if value is not None:
                    yield dot + name, (module, name, value)

    def _replace(self, name: str, value: Array) -> None:
        parameter = self._parameters.get(name)
        if parameter is None:
            self._buffers[name] = value
        else:
            parameter.data = value

    def _convert(self, convert: Callable[[Array], Array]) -> Self:
        """Put every parameter, gradient and floating-point buffer through a function."""
        for parameter in self.parameters():
            parameter.data = convert(parameter.data)
            if parameter.grad is not None:
                parameter.grad = convert(parameter.grad)
        for module in self.modules():
            for name, value in module._buffers.items():
                if value is not None:
                    module._buffers[name] = convert(value)
        return self

    def to(self, target: Any) -> Self:
        """Move to a device ("cpu", "gpu", "gpu:1") or convert to a dtype ("float32", numpy.float64)."""
        if isinstance(target, backend.Device):
            return self._convert(target.asarray)
        if isinstance(target, str) and target.partition(":")[0] in ("cpu", "gpu", "auto"):
            return self._convert(backend.device(target).asarray)
        dtype = float_dtype(target)
        return self._convert(lambda a: a.astype(dtype) if a.dtype.kind == "f" else a)

    def float(self) -> Self:
        return self.to("float32")

    def double(self) -> Self:
        return self.to("float64")

    # Modes

    def train(self, mode: bool = True) -> Self:
        """Training mode, for this module and all below it."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: expected a bool, got {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Evaluation mode: dropout is the identity, BatchNorm uses running statistics, calls keep no cache."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad = array_module(parameter.grad).zeros_like(parameter.grad)

    def apply(self, function: Callable[["Module"], Any]) -> Self:
        """Call function on every module below this one, and last on this one."""
        for module in reversed(list(self.modules())):
            function(module)
        return self

    # Copies and text

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_latest": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def copy(self) -> Self:
        """A deep copy, with the same weights and none of the pending calls."""
        return copy.deepcopy(self)

    def extra_repr(self) -> str:
        """What stands between the parentheses of the repr."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def _to_array(key: str, value: Any) -> numpy.ndarray:
    """An array from an array or from a torch tensor, which is known by its methods: torch is not imported."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        raise TypeError(f"load_state_dict: expected {key} as an array, got {type(value).__name__}")
    if value.dtype.kind not in "fiub":
        raise TypeError(f"load_state_dict: expected {key} as an array of numbers, got {value.dtype}")
    return value
