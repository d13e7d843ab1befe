"""AdamW: Adam whose weight decay is not divided by √v.

In Adam, weight decay is part of the gradient, λ·θ, and is scaled with it: an element with large gradients is
decayed less than one with small ones. AdamW takes θ ← θ − γ·λ·θ as a step of its own, the same for every
element, and leaves m and v to the loss. (For SGD both are the same thing.) The rest is `adam_update`.

Source: I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", 2019; torch.optim.AdamW.
"""

from collections.abc import Iterable
from typing import Any

from scratchnet.optim.adam import Adam


class AdamW(Adam):
    """Adam with decoupled weight decay.

    Args:
        params: Parameters, ``(name, Parameter)`` pairs or parameter groups, see `Optimizer`.
        lr: learning rate γ ≥ 0. Default: 1e-3
        betas: (β₁, β₂), floats in [0, 1). Default: (0.9, 0.999)
        eps: ε ≥ 0, added to the denominator. Default: 1e-8
        weight_decay: λ ≥ 0. Default: 1e-2
        amsgrad: divide by the largest v so far. Default: False
        maximize: ascend the gradient. Default: False
        foreach, capturable, differentiable, fused: torch's; only None and False are built.

    State: that of `Adam`; a state of either loads into the other.

    Parameters are changed in place. Errors: see `Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `Optimizer.load_state_dict`. Weight decay stays decoupled, whatever the state says."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
