"""The training loop. One step is five lines, the same five as in every framework."""

import math
from collections.abc import Callable, Iterable

from scratchnet.nn import Module
from scratchnet.ops.shape import Array
from scratchnet.optim import Optimizer


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite: training on would only spread it."""


def train_step(model: Module, criterion: Module, optimizer: Optimizer, x: Array, target: Array) -> Array:
    """One step on one batch → the loss before the step."""
    optimizer.zero_grad()
    loss = criterion(model(x), target)
    model.backward(criterion.backward())
    optimizer.step()
    return loss


def train_epoch(
    model: Module,
    criterion: Module,
    optimizer: Optimizer,
    batches: Iterable[tuple[Array, Array]],
    after_step: Callable[[int, float], None] = lambda step, loss: None,
) -> float:
    """One pass over the batches → the mean loss of all images.

    after_step(step, loss) is called after every step, counted from 1; it may evaluate the model, whose training
    mode is set again before the next step.
    """
    total, images = 0.0, 0
    for step, (x, target) in enumerate(batches, start=1):
        model.train()
        loss = float(train_step(model, criterion, optimizer, x, target))
        if not math.isfinite(loss):
            raise NonFiniteLossError(f"the loss is {loss} at step {step}; a smaller learning rate often helps")
        total, images = total + loss * len(target), images + len(target)
        after_step(step, loss)
    return total / images if images else math.nan
