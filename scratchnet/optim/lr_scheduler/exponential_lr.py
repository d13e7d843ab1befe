"""A learning rate that is multiplied by the same factor every epoch: γ_t = γ₀ · gᵗ, computed as γ_t = g ·
γ_{t−1}.

Source: torch.optim.lr_scheduler.ExponentialLR.
"""

from scratchnet.optim import _check
from scratchnet.optim.lr_scheduler.scheduler import LRScheduler
from scratchnet.optim.optimizer import Optimizer


class ExponentialLR(LRScheduler):
    """Multiply the learning rates by gamma every epoch.

    Args:
        optimizer: see `LRScheduler`.
        gamma: the factor.
        last_epoch: see `LRScheduler`. Default: -1
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        _check.number("ExponentialLR", "gamma", gamma)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        self._warn_if_called_by_user()
        if self._is_initial:
            return self._present_lrs()
        return [lr * self.gamma for lr in self._present_lrs()]

    def _get_closed_form_lr(self) -> list[float]:
        return [base_lr * self.gamma**self.last_epoch for base_lr in self.base_lrs]
