"""Mistakes in dropout. Each function is that of scratchnet/ops/dropout.py but for the mistake."""

from typing import Any

import numpy

from scratchnet.nn import Dropout, Module
from scratchnet.ops.dropout import DropoutCache, dropout, dropout_backward, keep_mask
from scratchnet.ops.shape import Array, array_module
from scratchnet.study.museum.exhibit import Bug, exhibit, replaces

FAMILY = "dropout"


@exhibit(
    "dropout-not-rescaled",
    title="Dropout without 1/(1 − p)",
    family=FAMILY,
    right=dropout,
    bug=replaces("dropout"),
    check="expectation",
    case="dropout",
    why="The mask is all that dropout seems to be about. The first papers did leave the activations as they are in "
    "training, and multiplied the weights by 1 − p afterwards; taking one half of that gives this bug.",
    effect="Training goes on as usual, with smaller activations. In evaluation all units are there, and the layer "
    "above gets 1/(1 − p) times what it was trained on.",
    notice="Forward and backward agree, so gradcheck passes; torch draws other masks, so parity cannot compare. "
    "Average the output over many masks: it has to be x.",
)
def dropout_not_rescaled(
    x: Array, p: float, key: tuple[int, int], call: int, channels: bool = False
) -> tuple[Array, DropoutCache]:
    xp = array_module(x)
    shape = (*x.shape[:2], *[1] * (x.ndim - 2)) if channels else x.shape
    mask = keep_mask(shape, p, key, call, xp)
    cache = DropoutCache(mask, 1.0)
    return xp.where(mask, x * cache.scale, 0), cache


@exhibit(
    "dropout-divides-by-p",
    title="Dropout divides by p instead of 1 − p",
    family=FAMILY,
    right=dropout,
    bug=replaces("dropout"),
    check="expectation",
    case="dropout",
    why="Some libraries call p the probability to keep, others the probability to drop. At p = 0.5 both are the same.",
    effect="With p = 0.2 activations are four times too large in training, and the layers above are trained on numbers "
    "that evaluation never gives them.",
    notice="At p = 0.5 there is no bug: check with another p. The average over many masks has to be x.",
    seen=(
        "lmjohns3/theanets pull request 123: divide by (1 − weight) rather than by weight",
        "rasbt/LLMs-from-scratch issue 431: the same slip in a text, found at p = 0.1",
    ),
)
def dropout_divides_by_p(
    x: Array, p: float, key: tuple[int, int], call: int, channels: bool = False
) -> tuple[Array, DropoutCache]:
    xp = array_module(x)
    shape = (*x.shape[:2], *[1] * (x.ndim - 2)) if channels else x.shape
    mask = keep_mask(shape, p, key, call, xp)
    cache = DropoutCache(mask, 1 / p if p > 0 else 1.0)
    return xp.where(mask, x * cache.scale, 0), cache


@exhibit(
    "dropout-new-mask-in-backward",
    title="The backward pass draws its own mask",
    family=FAMILY,
    right=dropout_backward,
    bug=replaces("dropout_backward"),
    check="gradcheck",
    case="dropout",
    why="Forward and backward are both “dropout with probability p”, and calling the same helper twice is easier than "
    "keeping the mask.",
    effect="Units that were dropped get gradients, and units that were not get none. Where dy does not depend on the "
    "mask the gradient is right on average, with much more noise; elsewhere it is not even that.",
    notice="A unit whose output was 0 by the mask must have gradient 0.",
)
def dropout_new_mask_in_backward(dy: Array, cache: DropoutCache) -> Array:
    mask = numpy.random.default_rng(dy.size).random(cache.mask.shape) < 1 / cache.scale
    return array_module(dy).where(mask, dy * cache.scale, 0)


@exhibit(
    "dropout-gradient-not-masked",
    title="The gradient passes dropped units",
    family=FAMILY,
    right=dropout_backward,
    bug=replaces("dropout_backward"),
    check="gradcheck",
    case="dropout",
    why="Dropout is seen as noise that is added to the forward pass, which the backward pass need not know of.",
    effect="The weights below a dropped unit are corrected for an output that nobody used. Training suffers little, "
    "which is why the bug is found by reading and not by results.",
    notice="A unit whose output was 0 by the mask must have gradient 0.",
    seen=("ddbourgin/numpy-ml issue 94: the backward pass of the dropout wrapper does not apply the mask",),
)
def dropout_gradient_not_masked(dy: Array, cache: DropoutCache) -> Array:
    return dy * cache.scale


@exhibit(
    "dropout-gradient-not-rescaled",
    title="The gradient lacks 1/(1 − p)",
    family=FAMILY,
    right=dropout_backward,
    bug=replaces("dropout_backward"),
    check="gradcheck",
    case="dropout",
    why="The mask is remembered, the scale is not: forward is “inverted” dropout, backward the older kind.",
    effect="Everything below learns at (1 − p) times its learning rate.",
    notice="numeric = analytic / (1 − p) for each unit that was kept.",
)
def dropout_gradient_not_rescaled(dy: Array, cache: DropoutCache) -> Array:
    return array_module(dy).where(cache.mask, dy, 0)


class DropoutInEvaluation(Dropout):
    def forward(self, x: Array) -> tuple[Array, Any]:
        call, self.calls = self.calls, self.calls + 1
        return self._drop(x, call)


DropoutInEvaluation.__name__ = DropoutInEvaluation.__qualname__ = "Dropout"


def _plant(model: Module) -> None:
    for module in model.modules():
        if type(module) is Dropout:
            module.__class__ = DropoutInEvaluation


exhibit(
    "dropout-in-evaluation",
    title="Dropout goes on in evaluation",
    family=FAMILY,
    right=Dropout.forward,
    bug=lambda wrong: Bug(plant=_plant),
    check="evaluation",
    case="dropout in evaluation",
    why="model.eval() was not called, or a layer of one's own has no mode.",
    effect="Training is right. Evaluation is noisy and worse than it should be, and the same image gets another answer "
    "each time.",
    notice="Evaluate the same batch twice. The training loss says nothing about it.",
)(DropoutInEvaluation.forward)
