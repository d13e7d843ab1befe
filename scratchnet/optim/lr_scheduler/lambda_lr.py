"""A learning rate by a function of one's own: γ_t = γ₀ · f(t).

Source: torch.optim.lr_scheduler.LambdaLR.
"""

import types
from collections.abc import Callable, Mapping
from typing import Any

from scratchnet.optim.lr_scheduler.scheduler import LRScheduler
from scratchnet.optim.optimizer import Optimizer


class LambdaLR(LRScheduler):
    """Set the learning rates to the initial ones times a function of the epoch.

    Args:
        optimizer: see `LRScheduler`.
        lr_lambda: from an epoch to a factor; a function, or a list with one for each parameter group.
        last_epoch: see `LRScheduler`. Default: -1

    `state_dict` cannot hold functions: it has None for each. Of a callable object it has the attributes.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(self._check_optimizer(optimizer).param_groups)
        self.lr_lambdas: list[Callable[[int], float]]
        if isinstance(lr_lambda, list | tuple):
            self.lr_lambdas = list(lr_lambda)
        else:
            self.lr_lambdas = [lr_lambda] * groups
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"LambdaLR: Expected {groups} lr_lambdas, but got {len(self.lr_lambdas)}")
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"LambdaLR: expected lr_lambda to be a function, got {function!r}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        self._warn_if_called_by_user()
        return [
            base_lr * function(self.last_epoch)
            for function, base_lr in zip(self.lr_lambdas, self.base_lrs, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        state["lr_lambdas"] = [
            None if isinstance(function, types.FunctionType) else dict(getattr(function, "__dict__", {}))
            for function in self.lr_lambdas
        ]
        return state

    def _check_state(self, state_dict: Any) -> None:
        super()._check_state(state_dict)
        if len(state_dict["lr_lambdas"]) != len(self.lr_lambdas):
            raise ValueError(
                f"LambdaLR: expected the state of {len(self.lr_lambdas)} lr_lambdas, "
                f"got {len(state_dict['lr_lambdas'])}"
            )

    def _set_state(self, state_dict: Mapping[str, Any]) -> None:
        for function, attributes in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if attributes:
                function.__dict__.update(attributes)
        super()._set_state({key: value for key, value in state_dict.items() if key != "lr_lambdas"})
