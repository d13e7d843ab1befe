"""What a training run prints: one line an epoch, or a progress bar with such lines where stderr is a terminal."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scratchnet.datasets import ArrayDataset
from scratchnet.recipes import Recipe
from scratchnet.training.callback import Callback
from scratchnet.training.metrics import Evaluation

if TYPE_CHECKING:
    from scratchnet.training.trainer import Trainer


class Report:
    """The lines themselves; scratchnet.train and torch_ref.train print the same."""

    def __init__(self, epochs: int, steps: int, done: int = 0) -> None:
        self._epochs = epochs
        self._steps = steps  # of an epoch
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=steps * epochs, initial=done, unit="step", leave=False)

    def print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
        else:
            print(text, flush=True)

    def start(
        self,
        recipe: Recipe,
        model: str,
        parameters: int,
        device: object,
        train_set: ArrayDataset,
        test_set: ArrayDataset,
    ) -> None:
        self.print(
            f"{recipe.dataset} {recipe.model}: {model} with {parameters:,} parameters on {device}; "
            f"{len(train_set):,} training and {len(test_set):,} test images"
        )
        self.print(f"{settings(recipe)}, {_count(recipe.epochs, 'epoch')} of {_count(self._steps, 'step')}")

    def step(self, epoch: int, step: int, loss: float | None) -> None:
        """None: the loss is on the GPU, and nobody is to wait for it."""
        if self._bar is not None:
            self._bar.set_description(f"epoch {epoch}" + ("" if loss is None else f" loss {loss:.4f}"), refresh=False)
            self._bar.update()

    def progress(self, epoch: int, step: int, loss: float, result: Evaluation) -> None:
        self.print(
            f"epoch {epoch}  step {step:5}/{self._steps}  train loss {loss:.4f}  "
            f"test accuracy {result.accuracy:.4f} (first {result.total.sum():,} images)"
        )

    def epoch(self, epoch: int, loss: float, test_loss: float, test_accuracy: float, seconds: float) -> None:
        self.print(
            f"epoch {epoch:2}/{self._epochs}  train loss {loss:.4f}  test loss {test_loss:.4f}  "
            f"test accuracy {test_accuracy:.2%}  {seconds:.1f} s"
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def finish(
        self,
        test_set: ArrayDataset,
        test: Evaluation,
        train: Evaluation | None,
        predictions: Sequence[int],
        labels: Sequence[int],
    ) -> None:
        self.close()
        width = max(len(name) for name in test_set.classes)
        self.print("\naccuracy of each class on the test images")
        for name, correct, total in zip(test_set.classes, test.correct, test.total, strict=True):
            share = f"{correct / total:7.2%}" if total else "      –"
            self.print(f"  {name:<{width}}  {share}  {correct}/{total}")
        self.print(f"\nfirst {len(labels)} test images")
        names = [[test_set.classes[i] for i in row] for row in (predictions, labels)]
        column = max(map(len, names[0] + names[1]))
        for title, row in zip(("predicted", "label"), names, strict=True):
            self.print(f"  {title:<9}  " + " ".join(f"{name:>{column}}" for name in row))
        if train is not None:
            self.print(f"\ntrain loss {train.loss:.4f}  train accuracy {_accuracy(train)}")
        self.print(f"{'' if train is not None else chr(10)}test loss {test.loss:.4f}  test accuracy {_accuracy(test)}")


class Reporter(Callback):
    """Prints a Trainer's progress through a Report."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def on_step_end(self, trainer: "Trainer", loss: float) -> None:
        self.report.step(trainer.epoch, trainer.step, loss if isinstance(loss, float) else None)

    def on_evaluation(self, trainer: "Trainer", loss: float, result: Evaluation) -> None:
        self.report.progress(trainer.epoch, trainer.step, float(loss), result)

    def on_epoch_end(self, trainer: "Trainer", metrics: dict[str, Any]) -> None:
        losses = metrics["train_loss"], metrics["test_loss"], metrics["test_accuracy"]
        self.report.epoch(metrics["epoch"], *losses, metrics["seconds"])


def settings(recipe: Recipe) -> str:
    """The recipe in one line: adam lr 0.001, batch 50 shuffled"""
    parts = [f"{recipe.optimizer} lr {recipe.lr:g}"]
    if recipe.momentum:
        parts.append(f"{'nesterov ' if recipe.nesterov else ''}momentum {recipe.momentum:g}")
    if recipe.weight_decay:
        parts.append(f"weight decay {recipe.weight_decay:g}")
    if recipe.schedule:
        parts.append(recipe.schedule)
    if recipe.label_smoothing:
        parts.append(f"label smoothing {recipe.label_smoothing:g}")
    if recipe.clip_norm:
        parts.append(f"gradients clipped to {recipe.clip_norm:g}")
    if recipe.ema:
        parts.append(f"weights averaged with {recipe.ema:g}")
    if recipe.mirror:
        parts.append("measured with mirror images")
    if recipe.augment:
        parts.append("augmented by " + " and ".join(recipe.augment))
    batch = f"{recipe.accumulate} × {recipe.batch_size}" if recipe.accumulate > 1 else str(recipe.batch_size)
    parts.append(f"batch {batch} {'shuffled' if recipe.shuffle else 'not shuffled'}")
    return ", ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _accuracy(result: Evaluation) -> str:
    return f"{result.accuracy:.2%} ({result.correct.sum():,} of {result.total.sum():,})"
