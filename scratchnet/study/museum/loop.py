"""Mistakes around the network: the data, and the loop that trains."""

from typing import Any

import numpy

from scratchnet.nn import Module
from scratchnet.ops.shape import Array
from scratchnet.optim import Optimizer
from scratchnet.study.museum.exhibit import Bug, exhibit

FAMILY = "data and loop"


def shuffled(rng: numpy.random.Generator, images: Array, labels: Array) -> tuple[Array, Array]:
    """Images and labels of an epoch, in the same new order."""
    order = rng.permutation(len(labels))
    return images[order], labels[order]


def train_step(model: Module, criterion: Module, optimizer: Optimizer, x: Array, labels: Array) -> Any:
    """One step of training → the loss of the batch."""
    optimizer.zero_grad()
    loss = criterion(model(x), labels)
    model.backward(criterion.backward())
    optimizer.step()
    return loss


@exhibit(
    "images-shuffled-without-labels",
    title="The images are shuffled, the labels are not",
    family=FAMILY,
    right=shuffled,
    bug=lambda wrong: Bug(draw=wrong),
    check="pairs",
    case="mnist",
    why="shuffle(images); shuffle(labels): two calls, two orders. Or the label list is made once, before the images "
    "are shuffled.",
    effect="The network learns the class frequencies and nothing else: the loss stays near log 10 ≈ 2.303 and the "
    "accuracy near 10%.",
    notice="No layer is wrong, so no check of a layer can find it. Show some images with their labels; or try to "
    "overfit ten examples in their original order, which works.",
    seen=("ck37/coral-ordinal issue 6: shuffled test images compared with labels in the old order, accuracy 10%",),
)
def images_shuffled(rng: numpy.random.Generator, images: Array, labels: Array) -> tuple[Array, Array]:
    order = rng.permutation(len(labels))
    return images[order], labels


@exhibit(
    "gradients-never-zeroed",
    title="The gradients of the last step stay",
    family=FAMILY,
    right=train_step,
    bug=lambda wrong: Bug(step=wrong),
    check="fresh gradients",
    case="network",
    why="Backward adds into grad, since a layer may be used twice. Somebody has to start from nothing at every step.",
    effect="Each step uses the sum of all gradients so far: a momentum that never forgets. The loss swings more and "
    "more; with a large learning rate it explodes.",
    notice="Each backward pass is right, so gradcheck passes. Compare the gradients of two steps on the same batch "
    "with learning rate 0: they have to be equal, not doubled.",
)
def train_step_without_zero_grad(
    model: Module, criterion: Module, optimizer: Optimizer, x: Array, labels: Array
) -> Any:
    loss = criterion(model(x), labels)
    model.backward(criterion.backward())
    optimizer.step()
    return loss
