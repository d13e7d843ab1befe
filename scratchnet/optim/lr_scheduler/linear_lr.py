"""Learning rates that begin at a fraction of their value: warm-up in a straight line, or in one step.

Formula
-------
With base rate γ₀, over T = total_iters epochs::

    LinearLR      γ_t = γ₀ · (a + (b − a)·min(t, T)/T)        a = start_factor, b = end_factor
    ConstantLR    γ_t = γ₀ · factor  for t < T,  then γ₀

LinearLR is computed recursively, the present rate being multiplied by the quotient of two factors::

    γ_t = γ_{t−1} · (1 + (b − a)/(T·a + (t − 1)·(b − a)))        0 < t ≤ T

Source: torch.optim.lr_scheduler.
"""

from scratchnet.optim import _check
from scratchnet.optim.lr_scheduler.scheduler import LRScheduler
from scratchnet.optim.optimizer import Optimizer


class LinearLR(LRScheduler):
    """Change the learning rates in a straight line from start_factor to end_factor times their initial value.

    Args:
        optimizer: see `LRScheduler`.
        start_factor: in (0, 1]. Default: 1/3
        end_factor: in [0, 1]. Default: 1.0
        total_iters: epochs until end_factor is reached, ≥ 0. Default: 5
        last_epoch: see `LRScheduler`. Default: -1

    As in torch, total_iters = 0 leaves the rates at start_factor.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        _check.number("LinearLR", "start_factor", start_factor)
        _check.number("LinearLR", "end_factor", end_factor)
        _check.non_negative("LinearLR", "total_iters", total_iters)
        if not 0 < start_factor <= 1:
            raise ValueError(
                "LinearLR: Starting multiplicative factor expected to be greater than 0 and less or equal "
                f"to 1, got {start_factor}"
            )
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: Ending multiplicative factor expected to be between 0 and 1, got {end_factor}")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        self._warn_if_called_by_user()
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in self._present_lrs()]
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._present_lrs()
        rise = self.end_factor - self.start_factor
        quotient = 1.0 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise)
        return [lr * quotient for lr in self._present_lrs()]

    def _get_closed_form_lr(self) -> list[float]:
        rise = self.end_factor - self.start_factor
        if self.total_iters > 0:
            factor = self.start_factor + rise * min(self.total_iters, self.last_epoch) / self.total_iters
        else:
            factor = self.start_factor
        return [base_lr * factor for base_lr in self.base_lrs]


class ConstantLR(LRScheduler):
    """Multiply the learning rates by a factor until total_iters epochs have passed.

    Args:
        optimizer: see `LRScheduler`.
        factor: in [0, 1]. Default: 1/3
        total_iters: epochs with the factor. Default: 5
        last_epoch: see `LRScheduler`. Default: -1
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        _check.number("ConstantLR", "factor", factor)
        _check.number("ConstantLR", "total_iters", total_iters)
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: Constant multiplicative factor expected to be between 0 and 1, got {factor}")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        self._warn_if_called_by_user()
        if self.last_epoch == 0:
            return [lr * self.factor for lr in self._present_lrs()]
        if self.last_epoch != self.total_iters:
            return self._present_lrs()
        if self.factor == 0:  # a rate of zero has nothing left to multiply
            return list(self.base_lrs)
        return [lr * (1.0 / self.factor) for lr in self._present_lrs()]

    def _get_closed_form_lr(self) -> list[float]:
        factor = self.factor + (self.last_epoch >= self.total_iters) * (1 - self.factor)
        return [base_lr * factor for base_lr in self.base_lrs]
