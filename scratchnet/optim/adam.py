"""Adam: a learning rate for each element, from running averages of the gradient and of its square.

Formula
-------
With parameter θ, gradient g, learning rate γ, weight decay λ and decay rates β₁, β₂, at step t = 1, 2, …::

    g ← −g                                 if maximize
    g ← g + λ·θ                            weight decay as part of the gradient (Adam)
    θ ← θ − γ·λ·θ                          decoupled weight decay (AdamW)
    m ← β₁·m + (1 − β₁)·g                  exp_avg, the mean of the gradient
    v ← β₂·v + (1 − β₂)·g²                 exp_avg_sq, the mean of its square
    v̂ ← max(v̂, v)  if amsgrad,  else  v    max_exp_avg_sq
    θ ← θ − γ · m/(1 − β₁ᵗ) / (√(v̂/(1 − β₂ᵗ)) + ε)

m and v start at zero, and the weights of the gradients in m add up to Σₖ (1 − β₁)·β₁ᵏ = 1 − β₁ᵗ < 1: dividing
by it makes the averages unbiased. The first step then has size γ for every element that has a gradient,
whatever the scale of the loss. With amsgrad a rate never grows again: an old large gradient is not forgotten.

Source: D. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2015; I. Loshchilov, F. Hutter,
"Decoupled Weight Decay Regularization", 2019; S. Reddi, S. Kale, S. Kumar, "On the Convergence of Adam and
Beyond", 2018 (amsgrad); torch.optim.Adam.
"""

from collections.abc import Iterable
from typing import Any

from scratchnet.ops.shape import Array, array_module
from scratchnet.optim import _check
from scratchnet.optim.optimizer import Optimizer


def adam_update(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    *,
    step: float,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
    decoupled_weight_decay: bool,
) -> None:
    """Step t = `step` of Adam: changes param and the averages in place, reads grad. All have one shape and
    dtype.

    max_exp_avg_sq is None without amsgrad.
    """
    xp = array_module(param)
    if maximize:
        grad = -grad
    if weight_decay != 0:
        if decoupled_weight_decay:
            param *= 1 - lr * weight_decay
        else:
            grad = grad + weight_decay * param

    exp_avg += (1 - beta1) * (grad - exp_avg)
    exp_avg_sq *= beta2
    exp_avg_sq += (1 - beta2) * grad * grad
    if max_exp_avg_sq is not None:
        xp.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
        exp_avg_sq = max_exp_avg_sq

    bias_correction1 = 1 - beta1**step
    bias_correction2 = 1 - beta2**step
    denominator = xp.sqrt(exp_avg_sq) / bias_correction2**0.5 + eps
    param -= (lr / bias_correction1) * exp_avg / denominator


class Adam(Optimizer):
    """Adam, optionally in its variant AMSGrad. The formulas are this file's docstring.

    Args:
        params: Parameters, ``(name, Parameter)`` pairs or parameter groups, see `Optimizer`.
        lr: learning rate γ ≥ 0. Default: 1e-3
        betas: (β₁, β₂), floats in [0, 1). Default: (0.9, 0.999)
        eps: ε ≥ 0, added to the denominator. Default: 1e-8
        weight_decay: λ ≥ 0. Default: 0
        amsgrad: divide by the largest v so far. Default: False
        maximize: ascend the gradient. Default: False
        decoupled_weight_decay: decay the parameter instead of adding to the gradient: `AdamW`. Default: False
        foreach, capturable, differentiable, fused: torch's; only None and False are built.

    State: ``step``, ``exp_avg``, ``exp_avg_sq`` and, with amsgrad, ``max_exp_avg_sq``.

    Parameters are changed in place. Errors: see `Optimizer`.
    """

    update = staticmethod(adam_update)
    non_negative_options = ("lr", "eps", "weight_decay")
    state_names = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    required_state = ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def check_options(self, options: dict[str, Any]) -> None:
        super().check_options(options)
        _check.betas(self._name, options["betas"])

    def moments(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return "exp_avg", "exp_avg_sq", "max_exp_avg_sq" if group["amsgrad"] else None

    def hyperparameters(self, group: dict[str, Any]) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {
            "lr": float(group["lr"]),
            "beta1": float(beta1),
            "beta2": float(beta2),
            "eps": float(group["eps"]),
            "weight_decay": float(group["weight_decay"]),
            "maximize": group["maximize"],
            "decoupled_weight_decay": group["decoupled_weight_decay"],
        }

    def begin(self, param: Any, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": self._count_step(param)}
