"""A run's figures in TensorBoard, through tensorboardX, which needs neither TensorFlow nor torch."""

import os
from typing import TYPE_CHECKING, Any

from scratchnet.training.callback import Callback

if TYPE_CHECKING:
    from scratchnet.training.metrics import Evaluation
    from scratchnet.training.trainer import Trainer


class TensorBoard(Callback):
    """Writes train and test losses, accuracy and learning rate as event files: `tensorboard --logdir runs`.

    The training loss is written every `every` steps; a continued run goes on in the same curves.

    Raises:
        RuntimeError: tensorboardX is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], every: int = 10) -> None:
        try:
            import tensorboardX
        except ImportError:
            raise RuntimeError("TensorBoard needs tensorboardX: pip install 'scratchnet[tensorboard]'") from None
        self._make = tensorboardX.SummaryWriter
        self._folder, self._every = str(folder), every
        self._writer: Any = None

    def on_train_begin(self, trainer: "Trainer") -> None:
        # purge_step hides what an interrupted run wrote after the checkpoint that this one continues
        self._writer = self._make(self._folder, purge_step=trainer.global_step + 1)

    def on_step_end(self, trainer: "Trainer", loss: float) -> None:
        if trainer.global_step % self._every == 0:
            self._write(trainer, {"loss/train_step": float(loss), "lr": trainer.lr})

    def on_evaluation(self, trainer: "Trainer", loss: float, result: "Evaluation") -> None:
        self._write(trainer, {"accuracy/test_within_epoch": result.accuracy})

    def on_epoch_end(self, trainer: "Trainer", metrics: dict[str, Any]) -> None:
        names = {"loss/train": "train_loss", "loss/test": "test_loss", "accuracy/test": "test_accuracy"}
        self._write(trainer, {tag: metrics[name] for tag, name in names.items() if name in metrics})
        self._writer.flush()

    def on_train_end(self, trainer: "Trainer") -> None:
        self._writer.close()

    def _write(self, trainer: "Trainer", values: dict[str, float]) -> None:
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, trainer.global_step)
