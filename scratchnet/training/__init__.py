"""The training loop and the measures of what it reached."""

from scratchnet.training.loop import NonFiniteLossError, train_epoch, train_step
from scratchnet.training.metrics import Evaluation, evaluate

__all__ = ["Evaluation", "NonFiniteLossError", "evaluate", "train_epoch", "train_step"]
