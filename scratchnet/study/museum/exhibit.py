"""What an exhibit is: a mistake that runs, the right code beside it, and its story."""

import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from scratchnet import backend
from scratchnet.nn import Module
from scratchnet.optim import Optimizer

FAMILIES = (
    "convolution",
    "pooling",
    "batch normalisation",
    "linear and activations",
    "dropout",
    "loss",
    "shared layers",
    "optimizer",
    "initialisation",
    "data and loop",
)


@dataclass(frozen=True)
class Bug:
    """A mistake that can be switched on, in one of five ways.

    overrides   function name → what takes its place, by `backend.override`
    plant       changes the modules or the parameters of a network that has just been built
    optimizer   takes the place of the optimizer's class
    draw        takes the place of the function that draws the order of an epoch
    step        takes the place of one training step
    """

    overrides: Mapping[str, Callable] = field(default_factory=dict)
    plant: Callable[[Module], None] | None = None
    optimizer: type[Optimizer] | None = None
    draw: Callable[..., Any] | None = None
    step: Callable[..., Any] | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        """The overrides hold within a `with` block."""
        with ExitStack() as stack:
            for name, function in self.overrides.items():
                stack.enter_context(backend.override(name, function))
            yield

    def planted(self, model: Module) -> Module:
        """The model itself, changed."""
        if self.plant is not None:
            self.plant(model)
        return model


HEALTHY = Bug()


@dataclass(frozen=True)
class Exhibit:
    """A mistake, and what there is to know about it.

    right and wrong are the two functions (or classes) whose source is shown; `check` is the name of the check that
    finds the bug (a key of `checks.CHECKS`), and `case` what that check is run on. `network` and
    `optimizer` are what training takes to show it. A source in `seen` is a public report of the mistake that was read.
    `variants` are other ways to write the same mistake, which come to other numbers.
    """

    name: str
    title: str
    family: str
    right: Callable
    wrong: Callable
    bug: Bug
    check: str
    case: str
    why: str
    effect: str
    notice: str
    seen: tuple[str, ...] = ()
    variants: tuple[Bug, ...] = ()
    network: str = "cnn"
    optimizer: str = "sgd"


EXHIBITS: dict[str, Exhibit] = {}


def exhibit(name: str, *, right: Callable, bug: Callable[[Callable], Bug], **story: Any) -> Callable:
    """Register the decorated function or class, which is the wrong code, as an exhibit."""

    def register(wrong: Callable) -> Callable:
        if name in EXHIBITS or story["family"] not in FAMILIES:
            raise ValueError(f"museum: exhibit {name!r} of family {story['family']!r} is there already or unknown")
        EXHIBITS[name] = Exhibit(name=name, right=right, wrong=wrong, bug=bug(wrong), **story)
        return wrong

    return register


def replaces(op: str, backward: Callable | None = None) -> Callable[[Callable], Bug]:
    """The wrong function takes the place of `op`; a wrong forward function may bring its own backward function."""
    more = {} if backward is None else {f"{op}_backward": backward}
    return lambda wrong: Bug(overrides={op: wrong, **more})


def helper_of(op: str, function: Callable, name: str) -> Callable[[Callable], Bug]:
    """The wrong function takes the place of a helper called `name` that `function`, the implementation of op, uses."""
    return lambda wrong: Bug(overrides={op: with_names(function, **{name: wrong})})


def with_names(function: Callable, **names: Any) -> Callable:
    """The same function, in which some of the global names mean something else."""
    assert isinstance(function, types.FunctionType)
    return types.FunctionType(
        function.__code__, {**function.__globals__, **names}, function.__name__, function.__defaults__
    )
