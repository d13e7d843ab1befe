"""What a training run prints: one line an epoch, or a progress bar with such lines where stderr is a terminal."""

import sys
from collections.abc import Sequence
from typing import Any

from scratchnet.datasets import ArrayDataset
from scratchnet.recipes import Recipe
from scratchnet.training.metrics import Evaluation


class Report:
    def __init__(self, recipe: Recipe, steps: int) -> None:
        self._recipe = recipe
        self._steps = steps  # of an epoch
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=steps * recipe.epochs, unit="step", leave=False)

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
        else:
            print(text, flush=True)

    def start(
        self, model: str, parameters: int, device: object, train_set: ArrayDataset, test_set: ArrayDataset
    ) -> None:
        recipe = self._recipe
        self._print(
            f"{recipe.dataset} {recipe.model}: {model} with {parameters:,} parameters on {device}; "
            f"{len(train_set):,} training and {len(test_set):,} test images"
        )
        momentum = f", momentum {recipe.momentum:g}" if recipe.momentum else ""
        decay = f", weight decay {recipe.weight_decay:g}" if recipe.weight_decay else ""
        order = "shuffled" if recipe.shuffle else "not shuffled"
        self._print(
            f"{recipe.optimizer} lr {recipe.lr:g}{momentum}{decay}, batch {recipe.batch_size} {order}, "
            f"{recipe.epochs} epoch{'s' if recipe.epochs > 1 else ''} of {self._steps:,} steps"
        )

    def step(self, epoch: int, step: int, loss: float) -> None:
        if self._bar is not None:
            self._bar.set_description(f"epoch {epoch} loss {loss:.4f}", refresh=False)
            self._bar.update()

    def progress(self, epoch: int, step: int, loss: float, result: Evaluation) -> None:
        self._print(
            f"epoch {epoch}  step {step:5}/{self._steps}  train loss {loss:.4f}  "
            f"test accuracy {result.accuracy:.4f} (first {result.total.sum():,} images)"
        )

    def epoch(self, epoch: int, loss: float, result: Evaluation, seconds: float) -> None:
        self._print(
            f"epoch {epoch:2}/{self._recipe.epochs}  train loss {loss:.4f}  test loss {result.loss:.4f}  "
            f"test accuracy {result.accuracy:.2%}  {seconds:.1f} s"
        )

    def finish(
        self,
        test_set: ArrayDataset,
        test: Evaluation,
        train: Evaluation | None,
        predictions: Sequence[int],
        labels: Sequence[int],
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        width = max(len(name) for name in test_set.classes)
        self._print("\naccuracy of each class on the test images")
        for name, correct, total in zip(test_set.classes, test.correct, test.total, strict=True):
            share = f"{correct / total:7.2%}" if total else "      –"
            self._print(f"  {name:<{width}}  {share}  {correct}/{total}")
        self._print(f"\nfirst {len(labels)} test images")
        names = [[test_set.classes[i] for i in row] for row in (predictions, labels)]
        column = max(map(len, names[0] + names[1]))
        for title, row in zip(("predicted", "label"), names, strict=True):
            self._print(f"  {title:<9}  " + " ".join(f"{name:>{column}}" for name in row))
        if train is not None:
            self._print(f"\ntrain loss {train.loss:.4f}  train accuracy {_accuracy(train)}")
        self._print(f"{'' if train is not None else chr(10)}test loss {test.loss:.4f}  test accuracy {_accuracy(test)}")


def _accuracy(result: Evaluation) -> str:
    return f"{result.accuracy:.2%} ({result.correct.sum():,} of {result.total.sum():,})"
