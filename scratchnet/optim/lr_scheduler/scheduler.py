"""The base class of learning-rate schedulers: count epochs, ask for the rates, write them into the groups."""

import warnings
from collections.abc import Mapping
from typing import Any

from scratchnet.optim.optimizer import Optimizer

# Keys that a state dict may lack, or have in excess, because torch's versions differ in them.
_OPTIONAL = {"_is_initial", "_get_lr_called_within_step", "_last_lr", "default_min_lr"}
_OBSOLETE = {"verbose"}


class LRScheduler:
    """Base class for all learning-rate schedulers.

    Args:
        optimizer: the Optimizer whose ``param_groups[i]["lr"]`` are set.
        last_epoch: the epoch that was finished last; −1 begins. Another value resumes, and each group must
            have the ``"initial_lr"`` that a scheduler once wrote. Default: -1

    Attributes:
        last_epoch: how often `step` was called, 0 after construction.
        base_lrs: the initial learning rate of each group; also in ``param_groups[i]["initial_lr"]``.

    A scheduler sets the rates of epoch 0 when it is made. Call `step` at the end of every epoch (every batch,
    for a schedule in batches), after ``optimizer.step()``. Most schedules are recursive, the next rate being
    computed from the present one, so that several schedulers on one optimizer multiply. To write a scheduler,
    override `get_lr`; where a formula gives the rate of an epoch directly, also `_get_closed_form_lr`.

    Raises:
        TypeError: optimizer is not an Optimizer.
        ValueError: last_epoch ≥ 0 and a group has no ``"initial_lr"``.
    """

    # Read by get_lr; part of the state dict under torch's names once they have been set.
    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = self._check_optimizer(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f"{self._name}: param 'initial_lr' is not specified in param_groups[{i}], which resuming "
                    f"with last_epoch={last_epoch} needs: load the optimizer's state first, "
                    "or leave last_epoch at -1"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def get_lr(self) -> list[float]:
        """The rate of each group at `last_epoch`. `step` calls it; to read the rates, use `get_last_lr`."""
        raise NotImplementedError(f"{self._name}: get_lr is not written")

    def get_last_lr(self) -> list[float]:
        """The rates that this scheduler set last, one for each group."""
        return list(self._last_lr)

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch and set its rates.

        Args:
            epoch: go to this epoch instead, by the closed form where there is one. Deprecated, as in torch.
        """
        self._warn_if_first()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(
                f"{self._name}: the epoch parameter of step() is deprecated; call step() once an epoch",
                UserWarning,
                stacklevel=2,
            )
        self._update_lr(epoch)

    def state_dict(self) -> dict[str, Any]:
        """All that the scheduler remembers, except the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned here or in torch. The optimizer keeps the rates
        itself.

        All is checked before anything is changed.

        Raises:
            ValueError: the state is of another scheduler or of another number of groups.
        """
        self._check_state(state_dict)
        self._set_state(state_dict)

    def _initial_step(self) -> None:
        """Set the rates of the first epoch."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._get_lr_called_within_step = True
        try:
            rates = self.get_lr() if epoch is None else self._get_closed_form_lr()
        finally:
            self._get_lr_called_within_step = False
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = self._present_lrs()

    def _get_closed_form_lr(self) -> list[float]:
        """The rates at `last_epoch` from the initial ones; where a schedule has no such formula, `get_lr`."""
        return self.get_lr()

    def _present_lrs(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _check_optimizer(self, optimizer: Any) -> Optimizer:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{self._name}: expected an Optimizer, but {type(optimizer).__name__} is not an Optimizer")
        return optimizer

    def _check_state(self, state_dict: Any) -> None:
        if not isinstance(state_dict, Mapping):
            raise ValueError(f"{self._name}: expected a state dict, got {type(state_dict).__name__}")
        own = self.state_dict()
        missing = own.keys() - state_dict.keys() - _OPTIONAL
        unknown = state_dict.keys() - own.keys() - _OPTIONAL - _OBSOLETE
        if missing or unknown:
            raise ValueError(
                f"{self._name}: expected a state of this scheduler; "
                f"missing keys {sorted(missing)}, unknown keys {sorted(unknown)}"
            )
        if len(state_dict.get("base_lrs", own.get("base_lrs", []))) != len(own.get("base_lrs", [])):
            raise ValueError(
                f"{self._name}: expected base_lrs for {len(own['base_lrs'])} groups, got {state_dict['base_lrs']}"
            )

    def _set_state(self, state_dict: Mapping[str, Any]) -> None:
        self.__dict__.update(state_dict)

    def _warn_if_first(self) -> None:
        """Warn at the first step if the optimizer has made none (one that overrides step does not tell)."""
        if self._step_count != 1 or type(self.optimizer).step is not Optimizer.step:
            return
        if not self.optimizer._opt_called:
            warnings.warn(
                f"{self._name}: detected call of `lr_scheduler.step()` before `optimizer.step()`. "
                "Call them in the opposite order: otherwise the first rate of the schedule is skipped",
                UserWarning,
                stacklevel=3,
            )

    def _warn_if_called_by_user(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                f"{self._name}: to get the last learning rate, use get_last_lr(); get_lr() computes another",
                UserWarning,
                stacklevel=3,
            )
