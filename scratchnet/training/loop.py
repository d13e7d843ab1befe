"""One training step in five lines, the same five as in every framework."""

from scratchnet.nn import Module
from scratchnet.ops.shape import Array
from scratchnet.optim import Optimizer


def train_step(model: Module, criterion: Module, optimizer: Optimizer, x: Array, target: Array) -> Array:
    """One step on one batch → the loss before the step."""
    optimizer.zero_grad()
    loss = criterion(model(x), target)
    model.backward(criterion.backward())
    optimizer.step()
    return loss
