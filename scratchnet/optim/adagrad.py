"""Adagrad: divide the gradient by the root of the sum of all its squares.

Formula
-------
With parameter θ, gradient g, learning rate γ, its decay η and weight decay λ, at step t = 1, 2, …::

    g ← −g                         if maximize
    g ← g + λ·θ                    if weight decay
    s ← s + g²                     sum
    θ ← θ − γ/(1 + (t − 1)·η) · g/(√s + ε)

Each element's rate falls with the gradients that it has seen: elements whose gradient is rarely different
from zero keep long steps. Since s only grows, so does the denominator, and learning slows down for good.

Source: J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
Optimization", 2011; torch.optim.Adagrad.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from scratchnet.ops.shape import Array, array_module
from scratchnet.optim.optimizer import Optimizer


def adagrad_update(
    param: Array,
    grad: Array,
    square_sum: Array,
    *,
    step: float,
    lr: float,
    lr_decay: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> None:
    """Step t = `step` of Adagrad: changes param and square_sum in place, reads grad.

    All have one shape and dtype.
    """
    xp = array_module(param)
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * param

    square_sum += grad * grad
    decayed_lr = lr / (1 + (step - 1) * lr_decay)
    param -= decayed_lr * grad / (xp.sqrt(square_sum) + eps)


class Adagrad(Optimizer):
    """Adagrad. The formulas are this file's docstring.

    Args:
        params: Parameters, ``(name, Parameter)`` pairs or parameter groups, see `Optimizer`.
        lr: learning rate γ ≥ 0. Default: 1e-2
        lr_decay: η ≥ 0. Default: 0
        weight_decay: λ ≥ 0. Default: 0
        initial_accumulator_value: what s starts from, ≥ 0, the same for all groups. Default: 0
        eps: ε ≥ 0, added to the denominator. Default: 1e-10
        maximize: ascend the gradient. Default: False
        foreach, differentiable, fused: torch's; only None and False are built.

    State: ``step`` and ``sum``, from the beginning.

    Parameters are changed in place. Errors: see `Optimizer`.
    """

    update = staticmethod(adagrad_update)
    non_negative_options = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")
    state_names = ("step", "sum")
    required_state = ("step", "sum")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for param in group["params"]:
                self._start(param)

    def _start(self, param: Any) -> None:
        state = self.state[param]
        state["step"] = np.zeros((), np.float32)
        state["sum"] = array_module(param.data).full_like(param.data, float(self.defaults["initial_accumulator_value"]))

    def moments(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("sum",)

    def hyperparameters(self, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "lr": float(group["lr"]),
            "lr_decay": float(group["lr_decay"]),
            "eps": float(group["eps"]),
            "weight_decay": float(group["weight_decay"]),
            "maximize": group["maximize"],
        }

    def begin(self, param: Any, group: dict[str, Any]) -> dict[str, Any]:
        if not self.state[param]:  # of a group that was added later
            self._start(param)
        return {"step": self._count_step(param)}
