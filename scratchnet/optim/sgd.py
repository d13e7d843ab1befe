"""Stochastic gradient descent, with momentum.

Formula
-------
With parameter θ, gradient g, learning rate γ, momentum μ, dampening τ and weight decay λ, at step t::

    g ← −g                         if maximize
    g ← g + λ·θ                    if weight decay
    b ← g                          if momentum, at the first step
    b ← μ·b + (1 − τ)·g            if momentum, later
    g ← g + μ·b  if nesterov,  else  b
    θ ← θ − γ·g

λ·θ is the gradient of ½λ‖θ‖². The buffer b is a running sum of gradients, in which one from k steps ago
counts μᵏ: along a direction in which gradients agree the steps grow up to 1/(1 − μ) times, across it they
cancel. Nesterov's variant takes the gradient's own step on top of where momentum has carried the parameter.

Unlike in Polyak's and in Sutskever's form, γ stands outside of b, as in torch: after a change of the learning
rate, old gradients too count with the new one.

Source: H. Robbins, S. Monro, "A Stochastic Approximation Method", 1951; B. Polyak, "Some methods of speeding
up the convergence of iteration methods", 1964; Y. Nesterov, "A method for solving the convex programming
problem with convergence rate O(1/k²)", 1983; I. Sutskever et al., "On the importance of initialization and
momentum in deep learning", 2013; torch.optim.SGD.
"""

from collections.abc import Iterable
from typing import Any

from scratchnet.ops.shape import Array
from scratchnet.optim import _check
from scratchnet.optim.optimizer import Optimizer


def sgd_update(
    param: Array,
    grad: Array,
    momentum_buffer: Array | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """One step of SGD: changes param and momentum_buffer in place, reads grad. All have one shape and dtype.

    momentum_buffer is None without momentum, and zeros at the first step (with dampening 0).
    """
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * param
    if momentum_buffer is not None:
        momentum_buffer *= momentum
        momentum_buffer += (1 - dampening) * grad
        grad = grad + momentum * momentum_buffer if nesterov else momentum_buffer
    param -= lr * grad


class SGD(Optimizer):
    """Stochastic gradient descent: θ ← θ − γ·g, optionally with momentum. The formulas are this file's
    docstring.

    Args:
        params: Parameters, ``(name, Parameter)`` pairs or parameter groups, see `Optimizer`.
        lr: learning rate γ ≥ 0. Default: 1e-3
        momentum: μ ≥ 0. Default: 0
        dampening: τ; the first step is not dampened. Default: 0
        weight_decay: λ ≥ 0. Default: 0
        nesterov: Nesterov momentum; needs a momentum and no dampening. Default: False
        maximize: ascend the gradient. Default: False
        foreach, differentiable, fused: torch's; only None and False are built.

    State: ``momentum_buffer``, in groups with momentum.

    Parameters are changed in place. Errors: see `Optimizer`.

    Example::

        optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
        optimizer.zero_grad()
        criterion(model(x), target)
        model.backward(criterion.backward())
        optimizer.step()
    """

    update = staticmethod(sgd_update)
    non_negative_options = ("lr", "momentum", "weight_decay")
    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        self.check_options(defaults)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                "SGD: Nesterov momentum requires a momentum and zero dampening, "
                f"got momentum={momentum}, dampening={dampening}"
            )
        super().__init__(params, defaults)

    def check_options(self, options: dict[str, Any]) -> None:
        super().check_options(options)
        _check.number("SGD", "dampening", options["dampening"])

    def moments(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("momentum_buffer" if group["momentum"] != 0 else None,)

    def hyperparameters(self, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "lr": float(group["lr"]),
            "momentum": float(group["momentum"]),
            "weight_decay": float(group["weight_decay"]),
            "nesterov": group["nesterov"],
            "maximize": group["maximize"],
        }

    def begin(self, param: Any, group: dict[str, Any]) -> dict[str, Any]:
        first = "momentum_buffer" not in self.state.get(param, ())
        return {"dampening": 0.0 if first else float(group["dampening"])}
