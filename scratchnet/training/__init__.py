"""Training: the loop, what it reached, and what a run leaves behind."""

from scratchnet.training.averaging import ModelEMA
from scratchnet.training.callback import Callback
from scratchnet.training.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from scratchnet.training.early_stopping import EarlyStopping
from scratchnet.training.loop import train_step
from scratchnet.training.metrics import Evaluation, evaluate
from scratchnet.training.non_finite import NonFiniteLossError
from scratchnet.training.run import RunFolder
from scratchnet.training.trainer import Trainer

__all__ = [
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "EarlyStopping",
    "Evaluation",
    "ModelEMA",
    "NonFiniteLossError",
    "RunFolder",
    "Trainer",
    "evaluate",
    "load_checkpoint",
    "save_checkpoint",
    "train_step",
]
