"""RMSprop: divide the gradient by the root of a running mean of its square.

Formula
-------
With parameter θ, gradient g, learning rate γ, smoothing α, momentum μ and weight decay λ::

    g ← −g                          if maximize
    g ← g + λ·θ                     if weight decay
    v ← α·v + (1 − α)·g²            square_avg
    ḡ ← α·ḡ + (1 − α)·g             grad_avg, if centered
    s ← √(v − ḡ²)  if centered,  else  √v
    b ← μ·b + g/(s + ε)             momentum_buffer, if momentum
    θ ← θ − γ·b    if momentum,  else  θ − γ·g/(s + ε)

v starts at zero and, unlike in Adam, is not corrected for it: the first steps are long, up to 1/√(1 − α)
times γ. Centered, s estimates the standard deviation of the gradient instead of its size.

Source: T. Tieleman, G. Hinton, "Lecture 6.5: RMSprop", Coursera 2012; A. Graves, "Generating Sequences With
Recurrent Neural Networks", 2013 (centered); torch.optim.RMSprop.
"""

from collections.abc import Iterable
from typing import Any

from scratchnet.ops.shape import Array, array_module
from scratchnet.optim.optimizer import Optimizer


def rmsprop_update(
    param: Array,
    grad: Array,
    square_avg: Array,
    grad_avg: Array | None,
    momentum_buffer: Array | None,
    *,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    maximize: bool,
) -> None:
    """One step of RMSprop: changes param and the averages in place, reads grad. All have one shape and dtype.

    grad_avg is None unless centered, momentum_buffer is None without momentum.
    """
    xp = array_module(param)
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * param

    square_avg *= alpha
    square_avg += (1 - alpha) * grad * grad
    if grad_avg is not None:
        grad_avg += (1 - alpha) * (grad - grad_avg)
        denominator = xp.sqrt(square_avg - grad_avg * grad_avg) + eps
    else:
        denominator = xp.sqrt(square_avg) + eps

    if momentum_buffer is not None:
        momentum_buffer *= momentum
        momentum_buffer += grad / denominator
        param -= lr * momentum_buffer
    else:
        param -= lr * grad / denominator


class RMSprop(Optimizer):
    """RMSprop, optionally centered and with momentum. The formulas are this file's docstring.

    Args:
        params: Parameters, ``(name, Parameter)`` pairs or parameter groups, see `Optimizer`.
        lr: learning rate γ ≥ 0. Default: 1e-2
        alpha: smoothing α ≥ 0. Default: 0.99
        eps: ε ≥ 0, added to the denominator. Default: 1e-8
        weight_decay: λ ≥ 0. Default: 0
        momentum: μ ≥ 0. Default: 0
        centered: divide by the estimated standard deviation. Default: False
        maximize: ascend the gradient. Default: False
        capturable, foreach, differentiable: torch's; only None and False are built.

    State: ``step``, ``square_avg`` and, where used, ``momentum_buffer`` and ``grad_avg``.

    Parameters are changed in place. Errors: see `Optimizer`. Centered, rounding can make v − ḡ² negative
    where the gradient hardly changes, and the step NaN; torch does the same.
    """

    update = staticmethod(rmsprop_update)
    non_negative_options = ("lr", "alpha", "eps", "weight_decay", "momentum")
    state_names = ("step", "square_avg", "momentum_buffer", "grad_avg")
    required_state = ("step", "square_avg")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def moments(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return (
            "square_avg",
            "grad_avg" if group["centered"] else None,
            "momentum_buffer" if group["momentum"] > 0 else None,
        )

    def hyperparameters(self, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "lr": float(group["lr"]),
            "alpha": float(group["alpha"]),
            "eps": float(group["eps"]),
            "weight_decay": float(group["weight_decay"]),
            "momentum": float(group["momentum"]),
            "maximize": group["maximize"],
        }

    def begin(self, param: Any, group: dict[str, Any]) -> dict[str, Any]:
        self._count_step(param)
        return {}
