"""What torch.nn.utils does with the gradients of a model before the optimizer uses them."""

import math
from collections.abc import Iterable
from typing import Any

import numpy

from scratchnet.functional import _check as check
from scratchnet.nn.parameter import Parameter
from scratchnet.ops.shape import Array, array_module


def clip_grad_norm_(
    parameters: Parameter | Iterable[Parameter],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float | Array:
    """Scale all gradients together so that their common norm is at most max_norm.

    total = ‖(‖grad₁‖, ‖grad₂‖, …)‖,   grad ← grad · min(1, max_norm / (total + 1e-6))

    Args:
        parameters: whose gradients; those without one are passed over.
        max_norm: the largest norm to allow, ≥ 0.
        norm_type: p of the p-norm, > 0; math.inf is the largest element.
        error_if_nonfinite: raise where the total is NaN or infinite.

    Returns:
        the total norm before clipping; on a GPU as an array of no dimensions, so that nothing waits for it.

    Raises:
        TypeError, ValueError: max_norm is no number, negative or NaN; norm_type is not positive.
        RuntimeError: error_if_nonfinite, and the total is not finite. No gradient is changed then.
    """
    max_norm = check.number("clip_grad_norm_", "max_norm", max_norm)
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: expected max_norm ≥ 0, got {max_norm}")
    norm_type = check.number("clip_grad_norm_", "norm_type", norm_type)
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: expected norm_type > 0, got {norm_type!r}")
    gradients: list[tuple[Parameter, Any]] = [(p, p.grad) for p in _with_gradient(parameters)]
    xp = array_module(gradients[0][1]) if gradients else numpy
    total = _norm(xp.stack([_norm(g, norm_type) for _, g in gradients]), norm_type) if gradients else numpy.zeros(())
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {total}, so they cannot be clipped")
    if xp is not numpy:
        scale = xp.minimum(max_norm / (total + 1e-6), 1)
        for parameter, gradient in gradients:
            parameter.grad = gradient * scale.astype(gradient.dtype)
        return total
    total = float(total)
    scale = max_norm / (total + 1e-6)
    scale = 1.0 if scale > 1 else scale  # NaN, of a total that is NaN, stays NaN
    if scale != 1.0:
        with numpy.errstate(invalid="ignore"):  # inf · 0
            for parameter, gradient in gradients:
                parameter.grad = gradient * scale
    return total


def clip_grad_value_(parameters: Parameter | Iterable[Parameter], clip_value: float) -> None:
    """Bring every element of every gradient into [−clip_value, clip_value].

    Raises:
        TypeError, ValueError: clip_value is no number, or negative.
    """
    clip_value = check.number("clip_grad_value_", "clip_value", clip_value)
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: expected clip_value ≥ 0, got {clip_value}")
    for parameter in _with_gradient(parameters):
        parameter.grad = array_module(parameter.grad).clip(parameter.grad, -clip_value, clip_value)


def _with_gradient(parameters: Parameter | Iterable[Parameter]) -> list[Parameter]:
    parameters = [parameters] if isinstance(parameters, Parameter) else parameters
    return [parameter for parameter in parameters if parameter.grad is not None]


def _norm(gradient: Array, norm_type: float) -> Array:
    """The p-norm of all elements, summed in double precision: an array of no dimensions."""
    xp = array_module(gradient)
    if gradient.size == 0:
        return xp.zeros(())
    if norm_type == math.inf:
        return abs(gradient).max().astype("float64")
    with numpy.errstate(over="ignore"):
        return (abs(gradient).astype("float64") ** norm_type).sum() ** (1 / norm_type)
