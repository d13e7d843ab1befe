"""One cycle of the learning rate: up to a maximum, then down to almost nothing, with momentum the other way
round.

Formula
-------
Over S steps in all, the first p·S of them upwards, from γ_max/d₁ (initial_lr) over γ_max to γ_max/(d₁·d₂)
(min_lr)::

    two phases      initial → max until step p·S − 1,  max → min until step S − 1
    three phases    initial → max until p·S − 1,  max → initial until 2·p·S − 2,  initial → min until S − 1

Within a phase from value a to value b, with x from 0 to 1 the part of it that has passed::

    cos       b + (a − b)/2·(1 + cos(π·x))
    linear    a + (b − a)·x

Momentum (β₁ of an optimizer with betas) goes from max_momentum to base_momentum while the rate rises, and
back. Large steps with little momentum in the middle, small ones with much of it at both ends.

Source: L. Smith, N. Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
Rates", 2018; torch.optim.lr_scheduler.OneCycleLR.
"""

import math
from typing import Any, Literal

from scratchnet.optim import _check
from scratchnet.optim.lr_scheduler.scheduler import LRScheduler
from scratchnet.optim.optimizer import Optimizer


class OneCycleLR(LRScheduler):
    """Set learning rates and momenta by the 1cycle policy. Call `step` after every batch.

    Args:
        optimizer: see `LRScheduler`.
        max_lr: the largest learning rate, one for all groups or a list.
        total_steps: steps in the cycle S; None takes epochs · steps_per_epoch. Default: None
        epochs: epochs of training. Default: None
        steps_per_epoch: batches in an epoch. Default: None
        pct_start: the part p of the cycle in which the rate rises, a float in [0, 1]. Default: 0.3
        anneal_strategy: "cos" or "linear". Default: "cos"
        cycle_momentum: cycle momentum too. Default: True
        base_momentum: the smallest momentum, one for all groups or a list. Default: 0.85
        max_momentum: the largest, one for all groups or a list. Default: 0.95
        div_factor: d₁, initial_lr = max_lr/d₁. Default: 25.0
        final_div_factor: d₂, min_lr = initial_lr/d₂. Default: 1e4
        three_phase: come back to initial_lr before going to min_lr. Default: False
        last_epoch: the batch that was finished last, see `LRScheduler`. Default: -1

    Raises:
        ValueError: an argument is out of range; the optimizer has no momentum to cycle; `step` goes beyond
            total_steps.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        groups = self._check_optimizer(optimizer).param_groups
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: Expected float between 0 and 1 pct_start, but got {pct_start!r}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy!r}"
            )
        for name, divisor in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            _check.number("OneCycleLR", name, divisor)
            if divisor == 0:
                raise ValueError(f"OneCycleLR: expected {name} ≠ 0, got {divisor}")
        max_lrs = _one_each("max_lr", max_lr, len(groups))
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            if not {"momentum", "betas"} & optimizer.defaults.keys():
                raise ValueError(
                    "OneCycleLR: optimizer must support momentum or beta1 with `cycle_momentum` option "
                    f"enabled, {type(optimizer).__name__} has neither"
                )
            self.use_beta1 = "betas" in optimizer.defaults
            max_momentums = _one_each("max_momentum", max_momentum, len(groups))
            base_momentums = _one_each("base_momentum", base_momentum, len(groups))

        self.optimizer = optimizer
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        if last_epoch == -1:
            for i, group in enumerate(groups):
                group["initial_lr"] = max_lrs[i] / div_factor
                group["max_lr"] = max_lrs[i]
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    self._set_momentum(group, max_momentums[i])
                    group["max_momentum"] = max_momentums[i]
                    group["base_momentum"] = base_momentums[i]
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rate of each group at `last_epoch`. Sets the momenta on the way, as in torch."""
        self._warn_if_called_by_user()
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"OneCycleLR: Tried to step {self.last_epoch} times. "
                f"The specified number of total steps is {self.total_steps}"
            )
        phase, x = self._phase()
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._anneal(group[phase["start_lr"]], group[phase["end_lr"]], x))
            if self.cycle_momentum:
                start, end = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, self._anneal(start, end, x))
        return rates

    def _phase(self) -> tuple[dict[str, Any], float]:
        """The phase that last_epoch is in, and the part of it that has passed."""
        start_step = 0.0
        for phase in self._schedule_phases[:-1]:
            if self.last_epoch <= phase["end_step"]:
                break
            start_step = phase["end_step"]
        else:
            phase = self._schedule_phases[-1]
        length = phase["end_step"] - start_step
        # A phase without length, such as pct_start = 1/total_steps makes, has passed.
        return phase, (self.last_epoch - start_step) / length if length else 1.0

    def _anneal(self, start: float, end: float, x: float) -> float:
        if self._anneal_func_type == "cos":
            return end + (start - end) / 2.0 * (math.cos(math.pi * x) + 1)
        return (end - start) * x + start

    def _set_momentum(self, group: dict[str, Any], momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


def _total_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        return _positive("total_steps", total_steps)
    if epochs is None or steps_per_epoch is None:
        raise ValueError("OneCycleLR: You must define either total_steps OR (epochs AND steps_per_epoch)")
    return _positive("epochs", epochs) * _positive("steps_per_epoch", steps_per_epoch)


def _positive(name: str, value: int) -> int:
    if not isinstance(value, int) or value <= 0:
        raise ValueError(f"OneCycleLR: Expected positive integer {name}, but got {value!r}")
    return value


def _one_each(name: str, value: Any, groups: int) -> list[float]:
    values = _check.same_length("OneCycleLR", name, value, groups)
    for one in values:
        _check.number("OneCycleLR", name, one)
    return values


def _phases(total_steps: int, pct_start: float, three_phase: bool) -> list[dict[str, Any]]:
    rise = {
        "end_step": float(pct_start * total_steps) - 1,
        "start_lr": "initial_lr",
        "end_lr": "max_lr",
        "start_momentum": "max_momentum",
        "end_momentum": "base_momentum",
    }
    if not three_phase:
        fall = {
            "end_step": total_steps - 1,
            "start_lr": "max_lr",
            "end_lr": "min_lr",
            "start_momentum": "base_momentum",
            "end_momentum": "max_momentum",
        }
        return [rise, fall]
    back = {
        "end_step": float(2 * pct_start * total_steps) - 2,
        "start_lr": "max_lr",
        "end_lr": "initial_lr",
        "start_momentum": "base_momentum",
        "end_momentum": "max_momentum",
    }
    vanish = {
        "end_step": total_steps - 1,
        "start_lr": "initial_lr",
        "end_lr": "min_lr",
        "start_momentum": "max_momentum",
        "end_momentum": "max_momentum",
    }
    return [rise, back, vanish]
