"""What makes an option of an optimizer or a scheduler acceptable, and the messages where it is not."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

# Options that choose between torch's implementations of one and the same step.
IMPLEMENTATION_OPTIONS = ("foreach", "fused", "capturable", "differentiable")

_NAMES = {"lr": "learning rate", "eps": "epsilon value"}


def number(owner: str, name: str, value: Any) -> None:
    """TypeError unless value is a real number (Python's or NumPy's; not an array, a string or None)."""
    if not isinstance(value, Real):
        raise TypeError(f"{owner}: expected {name} to be a number, got {value!r}")


def non_negative(owner: str, name: str, value: Any) -> None:
    number(owner, name, value)
    if not value >= 0:  # NaN compares false
        label = _NAMES.get(name, f"{name} value")
        raise ValueError(f"{owner}: Invalid {label}: {value} (expected a number ≥ 0)")


def betas(owner: str, value: Any) -> None:
    """Two floats in [0, 1), as Adam needs them."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{owner}: expected betas to be two floats (β₁, β₂), got {value!r}")
    for index, beta in enumerate(value):
        number(owner, f"betas[{index}]", beta)
        if not 0 <= beta < 1:
            raise ValueError(f"{owner}: Invalid beta parameter at index {index}: {beta} (expected a float in [0, 1))")
    if not all(isinstance(beta, float) for beta in value):
        raise ValueError(f"{owner}: betas must be both floats, got {value!r}")


def implementation(owner: str, options: Mapping[str, Any]) -> None:
    """NotImplementedError where one of torch's performance options is switched on."""
    for name in IMPLEMENTATION_OPTIONS:
        if options.get(name):
            raise NotImplementedError(
                f"{owner}: {name}={options[name]!r} is not built: there is one implementation of each step; "
                f"leave {name} at its default"
            )


def same_length(owner: str, name: str, value: Any, count: int) -> list[Any]:
    """One value for each of `count` parameter groups, from a list of them or one for all."""
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"{owner}: {name} must have the same length as optimizer.param_groups: "
            f"{name} has {len(value)} values, param_groups has {count}"
        )
    return list(value)
