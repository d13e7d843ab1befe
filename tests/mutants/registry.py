"""The list of planted bugs, and the modules and inputs that they are tried on.

A mutant replaces one function of an op, on the im2col rung, whose caches it reads. One whose forward function is
wrong may bring the backward function that belongs to it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mutant:
    overrides: dict[str, Callable]
    case: str
    check: str  # which of the two kills it


MUTANTS: dict[str, Mutant] = {}


def mutant(op, case, check="gradcheck", backward=None):
    """Register a function as a mutant of `op`, to be killed on that case by that check."""

    def register(function):
        overrides = {op: function} if backward is None else {op: function, f"{op}_backward": backward}
        assert function.__name__ not in MUTANTS
        MUTANTS[function.__name__] = Mutant(overrides, case, check)
        return function

    return register


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def tied(*shape, seed=0):
    return np.random.default_rng(seed).integers(-2, 3, shape).astype("float64")


INDICES = np.array([0, 3, 1, 1, 2])

# name → our module or torch's, and its inputs
CASES = {
    "conv": (lambda n: n.Conv2d(2, 3, 3, padding=1), [normal(4, 2, 5, 6)]),
    "strided conv": (lambda n: n.Conv2d(2, 3, 3, stride=2, padding=1), [normal(2, 2, 7, 6)]),
    "dilated conv": (lambda n: n.Conv2d(2, 3, 2, dilation=2), [normal(2, 2, 6, 6)]),
    "grouped conv": (lambda n: n.Conv2d(4, 6, 3, groups=2), [normal(2, 4, 5, 5)]),
    "square conv": (lambda n: n.Conv2d(3, 3, 3), [normal(2, 3, 5, 5)]),
    "reflecting conv": (lambda n: n.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), [normal(2, 1, 4, 4)]),
    "transposed conv": (lambda n: n.ConvTranspose2d(2, 3, 3, stride=2, padding=1), [normal(2, 2, 4, 4)]),
    "max pool": (lambda n: n.MaxPool2d(2), [normal(2, 2, 6, 6)]),
    "overlapping max pool": (lambda n: n.MaxPool2d(3, 1), [normal(2, 2, 6, 6)]),
    "tied max pool": (lambda n: n.MaxPool2d(2), [tied(2, 2, 6, 6)]),
    "padded max pool": (lambda n: n.MaxPool2d(2, padding=1), [-1 - abs(normal(2, 2, 6, 6))]),
    "average pool": (lambda n: n.AvgPool2d(2), [normal(2, 2, 6, 6)]),
    "padded average pool": (lambda n: n.AvgPool2d(3, 2, 1, count_include_pad=False), [normal(2, 2, 6, 6)]),
    "adaptive pool": (lambda n: n.AdaptiveAvgPool2d(3), [normal(2, 2, 7, 5)]),
    "linear": (lambda n: n.Linear(5, 3), [normal(4, 5)]),
    "square linear": (lambda n: n.Linear(4, 4), [normal(6, 4)]),
    "deep linear": (lambda n: n.Linear(5, 3), [normal(4, 2, 5)]),
    "batch norm": (lambda n: n.BatchNorm2d(3), [2 + 3 * normal(4, 3, 3, 2)]),
    "batch norm 1d": (lambda n: n.BatchNorm1d(3), [2 + 3 * normal(6, 3)]),
    "batch norm in evaluation": (lambda n: n.BatchNorm2d(3).eval(), [2 + 3 * normal(4, 3, 3, 2)]),
    "relu": (lambda n: n.ReLU(), [normal(4, 5)]),
    "leaky relu": (lambda n: n.LeakyReLU(0.2), [normal(4, 5)]),
    "sigmoid": (lambda n: n.Sigmoid(), [normal(4, 5)]),
    "tanh": (lambda n: n.Tanh(), [normal(4, 5)]),
    "gelu": (lambda n: n.GELU(), [normal(4, 5)]),
    "softmax": (lambda n: n.Softmax(1), [normal(4, 5)]),
    "big softmax": (lambda n: n.Softmax(1), [1000 * normal(4, 5)]),
    "log softmax": (lambda n: n.LogSoftmax(1), [normal(4, 5)]),
    "dropout": (lambda n: n.Dropout(0.4), [normal(6, 5)]),
    "flatten": (lambda n: n.Flatten(), [normal(2, 3, 3)]),
    "cross entropy": (lambda n: n.CrossEntropyLoss(), [normal(5, 4), INDICES]),
    "smoothed cross entropy": (lambda n: n.CrossEntropyLoss(label_smoothing=0.2), [normal(5, 4), INDICES]),
    "ignoring cross entropy": (lambda n: n.CrossEntropyLoss(ignore_index=1), [normal(5, 4), INDICES]),
    "nll": (lambda n: n.NLLLoss(), [normal(5, 4), INDICES]),
    "mse": (lambda n: n.MSELoss(), [normal(5, 4), normal(5, 4, seed=1)]),
}
