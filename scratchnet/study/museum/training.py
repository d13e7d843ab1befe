"""A short training of the museum's network on MNIST, with a bug or without."""

from dataclasses import dataclass

import numpy

import scratchnet
from scratchnet import datasets, nn
from scratchnet.ops.shape import Array
from scratchnet.study.museum import loop
from scratchnet.study.museum.checks import make_optimizer
from scratchnet.study.museum.exhibit import Bug
from scratchnet.study.museum.network import NETWORKS

BATCH = 32
TEST_IMAGES = 500


@dataclass(frozen=True)
class Run:
    """The loss of every step, and the loss and accuracy on test images afterwards. A loss may be inf or NaN.

    error is what an exception said that ended the training; `losses` then holds the steps before it.
    """

    losses: list[float]
    test_loss: float
    test_accuracy: float
    error: str = ""


def _batch(split: str, count: int) -> tuple[Array, Array]:
    dataset = datasets.load("mnist", split).subset(count)
    return datasets.ToFloat("float32")(dataset.images), dataset.labels


def train(bug: Bug, network: str = "cnn", optimizer: str = "sgd", steps: int = 200, seed: int = 0) -> Run:
    """Train on the first images of MNIST, one pass; the same seed gives the same weights, order and masks."""
    images, labels = _batch("train", steps * BATCH)
    with scratchnet.use("im2col"), bug.active(), numpy.errstate(all="ignore"):
        model = bug.planted(NETWORKS[network](rng=seed))
        criterion = nn.CrossEntropyLoss()
        optimiser = make_optimizer(optimizer, bug, list(model.parameters()))
        images, labels = (bug.draw or loop.shuffled)(numpy.random.default_rng(seed), images, labels)
        step = bug.step or loop.train_step
        losses: list[float] = []
        for i in range(0, len(labels), BATCH):
            try:
                loss = step(model, criterion, optimiser, images[i : i + BATCH], labels[i : i + BATCH])
            except (ValueError, TypeError, RuntimeError) as error:
                return Run(losses, float("nan"), float("nan"), f"{type(error).__name__}: {error}")
            losses.append(float(loss))
        return Run(losses, *_evaluate(model, criterion))


def _evaluate(model: nn.Module, criterion: nn.Module) -> tuple[float, float]:
    x, labels = _batch("test", TEST_IMAGES)
    logits = model.eval()(x)
    return float(criterion(logits, labels)), float((logits.argmax(axis=1) == labels).mean())
