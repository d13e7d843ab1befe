"""Lower the learning rate when a metric, such as the validation loss, no longer improves.

Rule
----
An epoch is good if its metric beats the best one so far by the threshold θ; then it is the new best::

    mode "min":  metric < best·(1 − θ)  (rel)    metric < best − θ  (abs)
    mode "max":  metric > best·(1 + θ)  (rel)    metric > best + θ  (abs)

After more than `patience` bad epochs in a row, γ ← max(γ·factor, min_lr), unless that changes γ by no more
than eps. For `cooldown` epochs from then on, bad epochs do not count.

Source: torch.optim.lr_scheduler.ReduceLROnPlateau.
"""

import math
import warnings
from collections.abc import Mapping
from typing import Any, Literal, SupportsFloat

from scratchnet.optim import _check
from scratchnet.optim.lr_scheduler.scheduler import LRScheduler
from scratchnet.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """Multiply the learning rates by factor when the metric has not improved for more than patience epochs.

    Args:
        optimizer: see `LRScheduler`.
        mode: "min" where a lower metric is better, "max" where a higher one is. Default: "min"
        factor: < 1. Default: 0.1
        patience: bad epochs in a row that are put up with. Default: 10
        threshold: θ, by how much the best metric must be beaten. Default: 1e-4
        threshold_mode: "rel" or "abs". Default: "rel"
        cooldown: epochs after a reduction in which bad epochs do not count. Default: 0
        min_lr: the rates' lower bound, one for all groups or a list. Default: 0
        eps: a reduction by this much or less is left out. Default: 1e-8

    `step` takes the metric: ``scheduler.step(validation_loss)``.

    Raises:
        ValueError: factor ≥ 1, an unknown mode, min_lr of the wrong length.
        TypeError: optimizer is not an Optimizer; a metric that is not a number.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: list[float] | float = 0,
        eps: float = 1e-8,
    ) -> None:
        self.optimizer = self._check_optimizer(optimizer)
        numbers = {
            "factor": factor,
            "patience": patience,
            "threshold": threshold,
            "cooldown": cooldown,
            "eps": eps,
        }
        for name, value in numbers.items():
            _check.number("ReduceLROnPlateau", name, value)
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: Factor should be < 1.0, got {factor}")
        _check_modes(mode, threshold_mode)
        self.min_lrs = _check.same_length("ReduceLROnPlateau", "min_lr", min_lr, len(optimizer.param_groups))
        for bound in self.min_lrs:
            _check.number("ReduceLROnPlateau", "min_lr", bound)
        self.default_min_lr = None if isinstance(min_lr, list | tuple) else min_lr
        self.factor = factor
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self.last_epoch = 0
        self._last_lr = self._present_lrs()

    @property
    def in_cooldown(self) -> bool:
        return self.cooldown_counter > 0

    def step(self, metrics: SupportsFloat, epoch: int | None = None) -> None:  # type: ignore[override]
        """Take the metric of an epoch, and reduce the rates if it is time.

        Args:
            metrics: anything that float() takes.
            epoch: the number of the epoch. Deprecated, as in torch.
        """
        current = float(metrics)
        if epoch is not None:
            warnings.warn(
                "ReduceLROnPlateau: the epoch parameter of step() is deprecated; call step(metrics)",
                UserWarning,
                stacklevel=2,
            )
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch

        if self._is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce_lr()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self._present_lrs()

    def _is_better(self, current: float) -> bool:
        if self.mode == "min":
            bound = self.best * (1.0 - self.threshold) if self.threshold_mode == "rel" else self.best - self.threshold
            return current < bound
        bound = self.best * (1.0 + self.threshold) if self.threshold_mode == "rel" else self.best + self.threshold
        return current > bound

    def _reduce_lr(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise RuntimeError(
                    f"ReduceLROnPlateau: min_lr has {len(self.min_lrs)} values, but the optimizer now has "
                    f"{len(groups)} parameter groups: make the list `min_lrs` longer"
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, min_lr in zip(groups, self.min_lrs, strict=True):
            old_lr = float(group["lr"])
            new_lr = max(old_lr * self.factor, min_lr)
            if old_lr - new_lr > self.eps:
                group["lr"] = new_lr

    def _check_state(self, state_dict: Any) -> None:
        super()._check_state(state_dict)
        _check_modes(state_dict["mode"], state_dict["threshold_mode"])

    def _set_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._set_state(state_dict)
        self.mode_worse = math.inf if self.mode == "min" else -math.inf


def _check_modes(mode: str, threshold_mode: str) -> None:
    if mode not in ("min", "max"):
        raise ValueError(f"ReduceLROnPlateau: mode {mode} is unknown! Expected 'min' or 'max'")
    if threshold_mode not in ("rel", "abs"):
        raise ValueError(f"ReduceLROnPlateau: threshold mode {threshold_mode} is unknown! Expected 'rel' or 'abs'")
