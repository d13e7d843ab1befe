"""What a trained model is worth: loss, accuracy, accuracy of each class."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy

from scratchnet.nn import Module
from scratchnet.ops.shape import Array


class Evaluation(NamedTuple):
    loss: float  # mean over all images
    correct: numpy.ndarray  # (classes,): images of the class that were recognised
    total: numpy.ndarray  # (classes,): images of the class

    @property
    def accuracy(self) -> float:
        """The share of all images that were recognised, 0 … 1."""
        return int(self.correct.sum()) / max(int(self.total.sum()), 1)


def evaluate(
    model: Module, criterion: Module, batches: Iterable[tuple[Array, Array]], num_classes: int = 10
) -> Evaluation:
    """Measure the model, in evaluation mode, on all batches; its mode is restored afterwards."""
    was_training = model.training
    model.eval()
    loss = 0.0
    correct, total = numpy.zeros(num_classes, int), numpy.zeros(num_classes, int)
    for x, target in batches:
        logits = model(x)
        loss += float(criterion.forward(logits, target)[0]) * len(target)
        hit = target[logits.argmax(axis=1) == target]
        correct += numpy.bincount(_host(hit), minlength=num_classes)
        total += numpy.bincount(_host(target), minlength=num_classes)
    model.train(was_training)
    return Evaluation(loss / max(int(total.sum()), 1), correct, total)


def _host(x: Array) -> numpy.ndarray:
    return x if isinstance(x, numpy.ndarray) else x.get()
