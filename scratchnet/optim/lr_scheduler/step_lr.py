"""Learning rates that fall in steps: at regular intervals, or at given epochs.

Formula
-------
With base rate γ₀ and factor g, the rate at epoch t is::

    StepLR         γ_t = γ₀ · g^⌊t / step_size⌋
    MultiStepLR    γ_t = γ₀ · g^(how many milestones are ≤ t)

Computed recursively: the present rate is multiplied by g when a step is due.

Source: torch.optim.lr_scheduler.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from scratchnet.optim import _check
from scratchnet.optim.lr_scheduler.scheduler import LRScheduler
from scratchnet.optim.optimizer import Optimizer


class StepLR(LRScheduler):
    """Multiply the learning rates by gamma every step_size epochs.

    Args:
        optimizer: see `LRScheduler`.
        step_size: epochs from one decay to the next, > 0.
        gamma: the factor. Default: 0.1
        last_epoch: see `LRScheduler`. Default: -1
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        _check.number("StepLR", "step_size", step_size)
        _check.number("StepLR", "gamma", gamma)
        if not step_size > 0:
            raise ValueError(f"StepLR: expected step_size > 0, got {step_size}")
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        self._warn_if_called_by_user()
        if self.last_epoch == 0 or self.last_epoch % self.step_size != 0:
            return self._present_lrs()
        return [lr * self.gamma for lr in self._present_lrs()]

    def _get_closed_form_lr(self) -> list[float]:
        return [base_lr * self.gamma ** (self.last_epoch // self.step_size) for base_lr in self.base_lrs]


class MultiStepLR(LRScheduler):
    """Multiply the learning rates by gamma at each of the milestones.

    Args:
        optimizer: see `LRScheduler`.
        milestones: epochs; one that is listed n times multiplies by gammaⁿ.
        gamma: the factor. Default: 0.1
        last_epoch: see `LRScheduler`. Default: -1
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        if not isinstance(milestones, Iterable):
            raise TypeError(f"MultiStepLR: expected milestones to be a list of epochs, got {milestones!r}")
        epochs = list(milestones)
        for epoch in epochs:
            _check.number("MultiStepLR", "every milestone", epoch)
        _check.number("MultiStepLR", "gamma", gamma)
        self.milestones = Counter(epochs)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        self._warn_if_called_by_user()
        if self.last_epoch not in self.milestones:
            return self._present_lrs()
        return [lr * self.gamma ** self.milestones[self.last_epoch] for lr in self._present_lrs()]

    def _get_closed_form_lr(self) -> list[float]:
        passed = bisect_right(sorted(self.milestones.elements()), self.last_epoch)
        return [base_lr * self.gamma**passed for base_lr in self.base_lrs]

    def _set_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._set_state(state_dict)
        # JSON has no integer keys: {"30": 1} is {30: 1}.
        self.milestones = Counter({int(epoch): count for epoch, count in state_dict["milestones"].items()})
