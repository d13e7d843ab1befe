"""What may look on while a Trainer works."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scratchnet.training.metrics import Evaluation
    from scratchnet.training.trainer import Trainer


class Callback:
    """Called by a `Trainer` as it goes; every method does nothing until a subclass says what.

    A callback may read everything of the trainer (`trainer.model`, `optimizer`, `epoch`, `step`, `global_step`) and
    may run the model. It must leave weights, gradients, mode and random state as they were.
    """

    def on_train_begin(self, trainer: "Trainer") -> None:
        """Before the first step, also of a run that is resumed."""

    def on_gradients(self, trainer: "Trainer") -> None:
        """The gradients of a step are complete; the optimizer has not used them yet."""

    def on_step_end(self, trainer: "Trainer", loss: float) -> None:
        """A step is done; loss is its batch's, from before the step. On a GPU it is an array, and float(loss) waits."""

    def on_evaluation(self, trainer: "Trainer", loss: float, result: "Evaluation") -> None:
        """The model was measured within an epoch; loss is that of the step before."""

    def on_epoch_end(self, trainer: "Trainer", metrics: dict[str, float]) -> None:
        """An epoch is done. metrics: epoch, step, train_loss, test_loss, test_accuracy, lr, seconds."""

    def on_train_end(self, trainer: "Trainer") -> None:
        """All epochs are done. Not called when training ends in an error or by a signal."""
