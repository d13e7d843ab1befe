"""A learning rate that falls along half a cosine.

Formula
-------
From γ₀ at epoch 0 to γ_min at epoch T::

    γ_t = γ_min + ½·(γ₀ − γ_min)·(1 + cos(π·t/T))

Computed recursively, from the quotient of two such expressions::

    γ_t = γ_min + (γ_{t−1} − γ_min)·(1 + cos(π·t/T)) / (1 + cos(π·(t − 1)/T))

After T the cosine rises again. Where γ_{t−1} was γ_min that quotient is 0/0, and the closed form gives the
step.

Source: I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017 (without the
restarts); torch.optim.lr_scheduler.CosineAnnealingLR.
"""

import math

from scratchnet.optim import _check
from scratchnet.optim.lr_scheduler.scheduler import LRScheduler
from scratchnet.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """Lower the learning rates along half a cosine to eta_min at epoch T_max.

    Args:
        optimizer: see `LRScheduler`.
        T_max: epochs until the minimum, > 0.
        eta_min: the minimum. Default: 0.0
        last_epoch: see `LRScheduler`. Default: -1
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        _check.number("CosineAnnealingLR", "T_max", T_max)
        _check.number("CosineAnnealingLR", "eta_min", eta_min)
        if not T_max > 0:
            raise ValueError(f"CosineAnnealingLR: expected T_max > 0, got {T_max}")
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        self._warn_if_called_by_user()
        if self._is_initial:
            return self._present_lrs()
        if self._step_count == 1 and self.last_epoch > 0:
            return self._get_closed_form_lr()
        now = 1 + math.cos(math.pi * self.last_epoch / self.T_max)
        before = 1 + math.cos(math.pi * (self.last_epoch - 1) / self.T_max)
        if before == 0:
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [
                lr + (base_lr - self.eta_min) * rise
                for lr, base_lr in zip(self._present_lrs(), self.base_lrs, strict=True)
            ]
        return [now / before * (lr - self.eta_min) + self.eta_min for lr in self._present_lrs()]

    def _get_closed_form_lr(self) -> list[float]:
        cosine = 1 + math.cos(math.pi * self.last_epoch / self.T_max)
        return [self.eta_min + (base_lr - self.eta_min) * cosine / 2 for base_lr in self.base_lrs]
