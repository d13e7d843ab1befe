"""Every intermediate array of one forward pass by name, and after backward the gradient of each."""

from collections.abc import Iterator, Mapping
from typing import Any

from scratchnet.nn.containers import Chain, Residual
from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array


class Activations(Mapping[str, Array]):
    """The outputs of a model's steps: `activations["conv1"]`, in the order in which they were computed.

    `output` is the last of them. `backward(dy)` adds into the parameters' gradients as the model's backward does,
    returns the gradient of the input, and fills `grad`, a dict with the same names.
    """

    def __init__(self, model: Module, x: Array) -> None:
        self._model = model
        self._values: dict[str, Array] = {"input": x}
        self.grad: dict[str, Array] = {}
        self.output, self._cache = _forward(model, x, "", self._values)

    def backward(self, dy: Array) -> Array:
        self.grad = {}
        dx = _backward(self._model, dy, self._cache, "", self.grad)
        self.grad["input"] = dx
        self.grad = {name: self.grad[name] for name in self._values}
        return dx

    def __getitem__(self, name: str) -> Array:
        if name not in self._values:
            raise KeyError(f"no activation is called {name!r}; there are {', '.join(self._values)}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _forward(module: Module, x: Array, prefix: str, values: dict[str, Array]) -> tuple[Array, Any]:
    """What module.forward computes and caches, each step's output noted under its dotted name."""
    if isinstance(module, Chain):
        caches = []
        for name, step in module.chain:
            x, cache = _forward(step, x, f"{prefix}{name}.", values)
            values[f"{prefix}{name}"] = x
            caches.append(cache)
        return x, caches
    if isinstance(module, Residual):
        values[f"{prefix}main"], main_cache = _forward(module.main, x, f"{prefix}main.", values)
        values[f"{prefix}shortcut"], shortcut_cache = _forward(module.shortcut, x, f"{prefix}shortcut.", values)
        return values[f"{prefix}main"] + values[f"{prefix}shortcut"], (main_cache, shortcut_cache)
    return module.forward(x)


def _backward(module: Module, dy: Array, cache: Any, prefix: str, grads: dict[str, Array]) -> Array:
    """What module.backward computes, the gradient of each step's output noted under its dotted name."""
    if isinstance(module, Chain):
        for (name, step), step_cache in zip(reversed(module.chain), reversed(cache), strict=True):
            grads[f"{prefix}{name}"] = dy
            dy = _backward(step, dy, step_cache, f"{prefix}{name}.", grads)
        return dy
    if isinstance(module, Residual):
        grads[f"{prefix}main"] = grads[f"{prefix}shortcut"] = dy
        main = _backward(module.main, dy, cache[0], f"{prefix}main.", grads)
        return main + _backward(module.shortcut, dy, cache[1], f"{prefix}shortcut.", grads)
    return module.backward(dy, cache)
