"""What a trained model is worth: loss, accuracy, accuracy of each class."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy

from scratchnet.nn import Module
from scratchnet.ops.shape import Array, array_module


class Evaluation(NamedTuple):
    loss: float  # mean over all images
    correct: numpy.ndarray  # (classes,): images of the class that were recognised
    total: numpy.ndarray  # (classes,): images of the class

    @property
    def accuracy(self) -> float:
        """The share of all images that were recognised, 0 … 1; NaN where the targets are no classes."""
        return int(self.correct.sum()) / int(self.total.sum()) if self.total.any() else math.nan


def predict(model: Callable[[Array], Array], x: Array, mirror: bool = False) -> Array:
    """model(x); with mirror, for images (N, C, H, W), the mean of that and of the model of the images left to right.

    Of a network that was trained on mirrored images, too, the mean is right more often than either.
    """
    y = model(x)
    return (y + model(array_module(x).ascontiguousarray(x[..., ::-1]))) / 2 if mirror else y


def evaluate(
    model: Module,
    criterion: Module,
    batches: Iterable[tuple[Array, Array]],
    num_classes: int | None = None,
    mirror: bool = False,
) -> Evaluation:
    """Measure the model, in evaluation mode, on all batches; its mode is restored afterwards.

    Targets that are class indices (N,) beside outputs (N, C) are counted by class; for others there is the loss alone.
    """
    was_training = model.training
    model.eval()
    loss, images = 0.0, 0
    correct, total = (numpy.zeros(num_classes or 0, int) for _ in range(2))
    for x, target in batches:
        y = predict(model, x, mirror)
        loss += float(criterion.forward(y, target)[0]) * len(target)
        images += len(target)
        if target.ndim == 1 and target.dtype.kind in "iu" and y.ndim == 2:
            hit = target[y.argmax(axis=1) == target]
            correct, total = _count(correct, hit, y.shape[1]), _count(total, target, y.shape[1])
    model.train(was_training)
    return Evaluation(loss / images if images else math.nan, correct, total)


def _count(counts: numpy.ndarray, classes: Array, num_classes: int) -> numpy.ndarray:
    """counts and how often each class occurs"""
    new = numpy.bincount(_host(classes), minlength=num_classes)
    return new if not counts.size else counts + new


def _host(x: Array) -> numpy.ndarray:
    return x if isinstance(x, numpy.ndarray) else x.get()
