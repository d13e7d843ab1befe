"""What a classifier confuses: the confusion matrix, and precision, recall and F1 of each class."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

WIDTH = 100  # characters of a line


@dataclass(frozen=True)
class ClassificationReport:
    """Counts of (label, prediction).

    Args:
        confusion: integers (classes, classes); confusion[i, j] images of class i were taken for class j.
        classes: their names.

    With TP = confusion[i, i], of class i::

        precision = TP / images taken for i      recall = TP / images of i      f1 = 2·TP / (the two together)

    A share of no images at all is NaN.
    """

    confusion: np.ndarray
    classes: tuple[str, ...]

    @classmethod
    def of(cls, labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str]) -> "ClassificationReport":
        """Count labels (N,) and predictions (N,), both indices into classes."""
        count = len(classes)
        cells = np.bincount(labels * count + predictions, minlength=count * count)
        return cls(cells.reshape(count, count), tuple(classes))

    @cached_property
    def correct(self) -> np.ndarray:
        return self.confusion.diagonal()

    @cached_property
    def total(self) -> np.ndarray:
        """Images of each class."""
        return self.confusion.sum(axis=1)

    @cached_property
    def predicted(self) -> np.ndarray:
        """Images taken for each class."""
        return self.confusion.sum(axis=0)

    @property
    def accuracy(self) -> float:
        return float(_share(self.correct.sum(), self.total.sum()))

    @property
    def precision(self) -> np.ndarray:
        return _share(self.correct, self.predicted)

    @property
    def recall(self) -> np.ndarray:
        return _share(self.correct, self.total)

    @property
    def f1(self) -> np.ndarray:
        return _share(2 * self.correct, self.predicted + self.total)

    def table(self) -> str:
        """A line for each class: precision, recall, f1, correct/total."""
        width = max(5, *map(len, self.classes))
        counts = [f"{correct}/{total}" for correct, total in zip(self.correct, self.total, strict=True)]
        lines = [f"{'class':<{width}}  precision    recall        f1  {'correct':>{max(map(len, counts))}}"]
        for name, *shares, count in zip(self.classes, self.precision, self.recall, self.f1, counts, strict=True):
            columns = "  ".join(f"{_percent(share):>{9 if i == 0 else 8}}" for i, share in enumerate(shares))
            lines.append(f"{name:<{width}}  {columns}  {count:>{max(7, *map(len, counts))}}")
        return "\n".join(lines)

    def matrix(self) -> str | None:
        """The confusion matrix with a row for each class and a dot for 0, or None if it is wider than WIDTH.

        Columns have the classes' names, or their numbers where names are too long.
        """
        for heads in (self.classes, tuple(map(str, range(len(self.classes))))):
            cell = 2 + max(len(str(self.confusion.max())), *map(len, heads))
            rows = self.classes if heads == self.classes else [f"{i} {name}" for i, name in enumerate(self.classes)]
            left = max(map(len, rows))
            if left + cell * len(heads) <= WIDTH:
                lines = [" " * left + "".join(f"{head:>{cell}}" for head in heads)]
                for name, row in zip(rows, self.confusion, strict=True):
                    lines.append(f"{name:<{left}}" + "".join(f"{count or '·':>{cell}}" for count in row))
                return "\n".join(lines)
        return None

    def confused(self) -> Iterator[tuple[str, str, int]]:
        """(class, what it was taken for, how often), the most frequent first."""
        wrong = self.confusion - np.diag(self.correct)
        order = np.argsort(-wrong, axis=None, kind="stable")
        for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True):
            if not wrong[i, j]:
                return
            yield self.classes[i], self.classes[j], int(wrong[i, j])


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.2%}"
