"""Every intermediate array of one forward pass by name, and after backward the gradient of each."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from scratchnet.nn.containers import Chain, Residual
from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array

Visit = Callable[[str, Module, Array, Any], None]  # (name, step, output, cache)


class Activations(Mapping[str, Array]):
    """The outputs of a model's steps: `activations["conv1"]`, in the order in which they were computed.

    `output` is the last of them. `backward(dy)` adds into the parameters' gradients as the model's backward does,
    returns the gradient of the input, and fills `grad`, a dict with the same names.
    """

    def __init__(self, model: Module, x: Array) -> None:
        self._model = model
        self._values: dict[str, Array] = {"input": x}
        self.grad: dict[str, Array] = {}
        self.output, self._cache = walk_forward(model, x, "", self._note)

    def _note(self, name: str, module: Module, y: Array, cache: Any) -> None:
        self._values[name] = y

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


def walk_forward(module: Module, x: Array, prefix: str, visit: Visit) -> tuple[Array, Any]:
    """What module.forward computes and caches; visit is told of each step under its dotted name, inner ones first."""
    if isinstance(module, Chain):
        caches = []
        for name, step in module.chain:
            x, cache = walk_forward(step, x, f"{prefix}{name}.", visit)
            visit(f"{prefix}{name}", step, x, cache)
            caches.append(cache)
        return x, caches
    if isinstance(module, Residual):
        main, main_cache = walk_forward(module.main, x, f"{prefix}main.", visit)
        visit(f"{prefix}main", module.main, main, main_cache)
        shortcut, shortcut_cache = walk_forward(module.shortcut, x, f"{prefix}shortcut.", visit)
        visit(f"{prefix}shortcut", module.shortcut, shortcut, shortcut_cache)
        return main + shortcut, (main_cache, shortcut_cache)
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
