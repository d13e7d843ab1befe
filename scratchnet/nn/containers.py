"""Modules made of modules. A network is its chain: an ordered list of (call name, module) pairs, as data."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from scratchnet.nn.grad_mode import grad_enabled
from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array, array_module

if TYPE_CHECKING:
    from scratchnet.nn.activations import Activations

Step = tuple[str, Module]


class Chain(Module):
    """A network that declares its steps and derives the rest.

    ::

        class Net(nn.Chain):
            def __init__(self):
                self.conv1 = nn.Conv2d(1, 4, 5, padding=2)
                self.pool = nn.MaxPool2d(2)
                self.fc = nn.Linear(784, 10)
                self.chain = [("conv1", self.conv1), ("relu1", nn.ReLU()), ("pool1", self.pool),
                              ("flatten", nn.Flatten()), ("fc", self.fc)]

    Each step has a name of its own, also where two steps share a module. The state_dict has the names of the
    attributes, as in torch. Forward runs the steps in order, each on the output of the one before; backward runs
    them in reverse, since the chain rule takes a gradient from the loss towards the input.
    """

    chain: Sequence[Step]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "chain":
            value = _checked(type(self).__name__, value)
        replaced = self._modules.get(name)
        super().__setattr__(name, value)
        if replaced is not None and "chain" in self.__dict__:  # model.fc = nn.Linear(…) replaces the step too
            self.chain = [(step, value if module is replaced else module) for step, module in self.chain]

    def named_children(self) -> Iterator[Step]:
        """The attributes, then the steps that are no attribute, by their names in the chain."""
        yield from super().named_children()
        known = {id(module) for module in self._modules.values()}
        for name, module in self.__dict__.get("chain", ()):
            if id(module) not in known:
                yield name, module

    def forward(self, x: Array) -> tuple[Array, Any]:
        caches = []
        for name, module in self.chain:
            try:
                x, cache = module.forward(x)
            except (ValueError, TypeError) as error:
                error.args = (f"{name}{'.' if isinstance(module, Chain) else ': '}{error}",)
                raise
            if grad_enabled():
                caches.append(cache)
        return x, caches if grad_enabled() else None

    def backward(self, dy: Array, cache: Any) -> Array:
        if cache is None:
            raise RuntimeError(f"{type(self).__name__}.backward: the forward call ran under no_grad and kept nothing")
        for (_, module), step_cache in zip(reversed(self.chain), reversed(cache), strict=True):
            dy = module.backward(dy, step_cache)
        return dy

    def activations(self, x: Array) -> "Activations":
        """Run forward and keep the output of every step, by name: `activations(x)["conv1"]`.

        Steps inside a step have dotted names ("conv1.0"); "input" is x. After `.backward(dy)` of the result its
        `.grad` holds the gradient of every activation, under the same names.
        """
        from scratchnet.nn.activations import Activations

        return Activations(self, x)


class Sequential(Chain):
    """A chain whose steps are called "0", "1", …; len, indexing, slicing and iteration work as in torch."""

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            setattr(self, str(i), module)
        self.chain = [(str(i), module) for i, module in enumerate(modules)]

    def __len__(self) -> int:
        return len(self.chain)

    def __iter__(self) -> Iterator[Module]:
        return iter([module for _, module in self.chain])

    def __getitem__(self, index: int | slice) -> Module:
        modules = list(self)
        return Sequential(*modules[index]) if isinstance(index, slice) else modules[index]


class Residual(Module):
    """y = main(x) + shortcut(x), the shortcut being the identity unless another is given.

    A sum passes its gradient to both terms, and x feeds both, so the gradients of the two paths add up:
    dx = main.backward(dy) + shortcut.backward(dy). Source: K. He et al., "Deep Residual Learning", 2015.
    """

    def __init__(self, main: Module, shortcut: Module | None = None) -> None:
        self.main = _module("Residual", "main", main)
        self.shortcut = Identity() if shortcut is None else _module("Residual", "shortcut", shortcut)

    def forward(self, x: Array) -> tuple[Array, Any]:
        main, main_cache = self.main.forward(x)
        shortcut, shortcut_cache = self.shortcut.forward(x)
        if main.shape != shortcut.shape:
            raise ValueError(f"Residual: main gives shape {main.shape} and the shortcut {shortcut.shape}")
        return main + shortcut, (main_cache, shortcut_cache)

    def backward(self, dy: Array, cache: Any) -> Array:
        return self.main.backward(dy, cache[0]) + self.shortcut.backward(dy, cache[1])


class Concat(Module):
    """y = the outputs of all branches side by side along axis dim (1, the channels, by default).

    Backward cuts dy at the same places; x feeds every branch, so their gradients add up.
    """

    def __init__(self, *branches: Module, dim: int = 1) -> None:
        if not branches:
            raise ValueError("Concat: expected at least one branch, got none")
        for i, branch in enumerate(branches):
            setattr(self, str(i), _module("Concat", f"branch {i}", branch))
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"

    def forward(self, x: Array) -> tuple[Array, Any]:
        outputs, caches = zip(*(branch.forward(x) for branch in self.children()), strict=True)
        y = array_module(outputs[0]).concatenate(outputs, axis=self.dim)
        return y, (caches, [output.shape[self.dim] for output in outputs])

    def backward(self, dy: Array, cache: Any) -> Array:
        caches, sizes = cache
        dx, start = 0, 0
        for branch, branch_cache, size in zip(self.children(), caches, sizes, strict=True):
            part = [slice(None)] * dy.ndim
            part[self.dim] = slice(start, start + size)
            dx = dx + branch.backward(dy[tuple(part)], branch_cache)
            start += size
        return dx


class Identity(Module):
    """y = x; takes and ignores any arguments, as torch's does."""

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    def forward(self, x: Array) -> tuple[Array, Any]:
        return x, ()

    def backward(self, dy: Array, cache: Any) -> Array:
        return dy


def _module(owner: str, name: str, value: Any) -> Module:
    if not isinstance(value, Module):
        raise TypeError(f"{owner}: expected {name} as a module, got {type(value).__name__}")
    return value


def _checked(owner: str, chain: Any) -> list[Step]:
    """The chain as a list of (name, module) pairs with one name a step."""
    steps = [(str(name), _module(owner, f"step {name!r}", module)) for name, module in chain]
    names = [name for name, _ in steps]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{owner}: every step of the chain needs a name of its own, got {', '.join(twice)} twice")
    return steps
