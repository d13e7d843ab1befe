"""Schedulers one after the other: each runs from its milestone on, counting its own epochs from 0.

Source: torch.optim.lr_scheduler.SequentialLR.
"""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from scratchnet.optim import _check
from scratchnet.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateau
from scratchnet.optim.lr_scheduler.scheduler import LRScheduler
from scratchnet.optim.optimizer import Optimizer


class SequentialLR(LRScheduler):
    """Run schedulers one after the other.

    Args:
        optimizer: see `LRScheduler`.
        schedulers: at least one, all made for this optimizer.
        milestones: the epochs at which the second, third, … scheduler takes over, in rising order.
        last_epoch: see `LRScheduler`. Default: -1

    At a milestone the new scheduler sets the rates of its epoch 0, which it computes from the initial rates.

    Raises:
        ValueError: no scheduler, the wrong number of milestones, milestones that fall, a scheduler of another
            optimizer, or a ReduceLROnPlateau, which needs a metric.
        TypeError: a scheduler that is none.
        NotImplementedError: a SequentialLR inside of another, whose milestones torch counts one epoch off.

    Example::

        warmup = LinearLR(optimizer, start_factor=0.1, total_iters=5)
        decay = CosineAnnealingLR(optimizer, T_max=95)
        scheduler = SequentialLR(optimizer, [warmup, decay], milestones=[5])
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = self._check_optimizer(optimizer)
        self._check_schedulers(schedulers)
        _check_milestones(milestones, len(schedulers) - 1)
        self._schedulers = schedulers
        self._milestones = milestones
        self.last_epoch = last_epoch + 1

        # Each scheduler has taken its initial step when it was made: take these back, then let only the first
        # begin.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in schedulers:
            scheduler.last_epoch -= 1
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:  # type: ignore[override]
        """Go to the next epoch and let the scheduler whose turn it is set the rates."""
        self.last_epoch += 1
        index = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        state["_schedulers"] = [scheduler.state_dict() for scheduler in self._schedulers]
        return state

    def _check_schedulers(self, schedulers: Any) -> None:
        if not isinstance(schedulers, list | tuple) or len(schedulers) < 1:
            raise ValueError(f"SequentialLR: expects at least one scheduler, got {schedulers!r}")
        for i, scheduler in enumerate(schedulers):
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(f"SequentialLR: expected schedulers, got {type(scheduler).__name__} at index {i}")
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(
                    f"SequentialLR: does not support ReduceLROnPlateau (index {i}), whose step needs a metric"
                )
            if isinstance(scheduler, SequentialLR):
                raise NotImplementedError(
                    f"SequentialLR: a SequentialLR inside of another (index {i}) is not built: put its schedulers "
                    "into one list"
                )
            if scheduler.optimizer is not self.optimizer:
                raise ValueError(
                    "SequentialLR: expects all schedulers to belong to the same optimizer, "
                    f"{type(scheduler).__name__} at index {i} does not"
                )

    def _check_state(self, state_dict: Any) -> None:
        super()._check_state(state_dict)
        if len(state_dict["_schedulers"]) != len(self._schedulers):
            raise ValueError(
                f"SequentialLR: expected the state of {len(self._schedulers)} schedulers, "
                f"got {len(state_dict['_schedulers'])}"
            )
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler._check_state(state)

    def _set_state(self, state_dict: Mapping[str, Any]) -> None:
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler._set_state(state)
        super()._set_state({key: value for key, value in state_dict.items() if key != "_schedulers"})


def _check_milestones(milestones: Any, expected: int) -> None:
    if not isinstance(milestones, list | tuple):
        raise TypeError(f"SequentialLR: expected milestones to be a list of epochs, got {milestones!r}")
    if len(milestones) != expected:
        raise ValueError(
            "SequentialLR: expects number of schedulers provided to be one more than the number of milestone "
            f"points, but got {expected + 1} schedulers and {len(milestones)} milestones"
        )
    for milestone in milestones:
        _check.number("SequentialLR", "every milestone", milestone)
    if list(milestones) != sorted(milestones):
        raise ValueError(f"SequentialLR: expected milestones in rising order, got {milestones}")
