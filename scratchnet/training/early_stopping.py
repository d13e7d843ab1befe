"""Stop when the test figures no longer get better."""

import math
from typing import Any

BETTER_IF_HIGHER = {"test_loss": False, "train_loss": False, "test_accuracy": True}


class EarlyStopping:
    """Stop after `patience` epochs in a row without an improvement by more than min_delta.

    Args:
        patience: how many epochs may pass without one, at least 1.
        min_delta: an improvement is a change by more than this.
        monitor: "test_loss", "test_accuracy" or "train_loss".

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, patience: int, min_delta: float = 0.0, monitor: str = "test_loss") -> None:
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ValueError(f"EarlyStopping: expected patience as a whole number ≥ 1, got {patience!r}")
        if not min_delta >= 0:
            raise ValueError(f"EarlyStopping: expected min_delta ≥ 0, got {min_delta!r}")
        if monitor not in BETTER_IF_HIGHER:
            raise ValueError(
                f"EarlyStopping: expected monitor as one of {', '.join(BETTER_IF_HIGHER)}, got {monitor!r}"
            )
        self.patience, self.min_delta, self.monitor = patience, min_delta, monitor
        self.best: float | None = None
        self.waited = 0

    def update(self, metrics: dict[str, Any]) -> bool:
        """Take the metrics of an epoch. → whether it is time to stop"""
        value = metrics.get(self.monitor)
        if value is None or math.isnan(value):
            raise ValueError(f"EarlyStopping: expected {self.monitor} in an epoch's metrics, got {value!r}")
        sign = 1 if BETTER_IF_HIGHER[self.monitor] else -1
        if self.best is None or sign * (value - self.best) > self.min_delta:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.waited = state_dict["best"], state_dict["waited"]
