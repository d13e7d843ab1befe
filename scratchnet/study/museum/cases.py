"""Modules and inputs on which bugs are tried: the same constructor call for this library and for torch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from scratchnet import nn
from scratchnet.nn import Module
from scratchnet.ops.shape import Array


class Case(NamedTuple):
    """`build(nn)` and `build(torch.nn)` make the module; `inputs` are float64 arrays and class indices."""

    build: Callable[[Any], Any]
    inputs: list[Array]


def normal(*shape: int, seed: int = 0) -> Array:
    return numpy.random.default_rng((seed, 2)).standard_normal(shape)  # unlike the dy that `parity` draws from seed 0


def tied(*shape: int, seed: int = 0) -> Array:
    """Small whole numbers: many of them are equal, and some are 0."""
    return numpy.random.default_rng((seed, 2)).integers(-2, 3, shape).astype("float64")


def _twice(n: Any) -> Any:
    """A linear layer that is used twice, with an activation between."""
    shared = n.Linear(4, 4)
    return n.Sequential(shared, n.Tanh(), shared)


INDICES = numpy.array([0, 3, 1, 1, 2])

CASES = {
    "conv": Case(lambda n: n.Conv2d(2, 3, 3, padding=1), [normal(4, 2, 5, 6)]),
    "strided conv": Case(lambda n: n.Conv2d(2, 3, 3, stride=2, padding=1), [normal(2, 2, 7, 6)]),
    "dilated conv": Case(lambda n: n.Conv2d(2, 3, 2, dilation=2), [normal(2, 2, 6, 6)]),
    "grouped conv": Case(lambda n: n.Conv2d(4, 6, 3, groups=2), [normal(2, 4, 5, 5)]),
    "square conv": Case(lambda n: n.Conv2d(3, 3, 3), [normal(2, 3, 5, 5)]),
    "reflecting conv": Case(lambda n: n.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), [normal(2, 1, 4, 4)]),
    "transposed conv": Case(lambda n: n.ConvTranspose2d(2, 3, 3, stride=2, padding=1), [normal(2, 2, 4, 4)]),
    "max pool": Case(lambda n: n.MaxPool2d(2), [normal(2, 2, 6, 6)]),
    "overlapping max pool": Case(lambda n: n.MaxPool2d(3, 1), [normal(2, 2, 6, 6)]),
    "tied max pool": Case(lambda n: n.MaxPool2d(2), [tied(2, 2, 6, 6)]),
    "padded max pool": Case(lambda n: n.MaxPool2d(2, padding=1), [-1 - abs(normal(2, 2, 6, 6))]),
    "average pool": Case(lambda n: n.AvgPool2d(2), [normal(2, 2, 6, 6)]),
    "padded average pool": Case(lambda n: n.AvgPool2d(3, 2, 1, count_include_pad=False), [normal(2, 2, 6, 6)]),
    "adaptive pool": Case(lambda n: n.AdaptiveAvgPool2d(3), [normal(2, 2, 7, 5)]),
    "linear": Case(lambda n: n.Linear(5, 3), [normal(4, 5)]),
    "square linear": Case(lambda n: n.Linear(4, 4), [normal(6, 4)]),
    "deep linear": Case(lambda n: n.Linear(5, 3), [normal(4, 2, 5)]),
    "shared linear": Case(_twice, [normal(6, 4)]),
    "batch norm": Case(lambda n: n.BatchNorm2d(3), [2 + 3 * normal(4, 3, 3, 2)]),
    "batch norm 1d": Case(lambda n: n.BatchNorm1d(3), [2 + 3 * normal(6, 3)]),
    "batch norm in evaluation": Case(lambda n: n.BatchNorm2d(3).eval(), [2 + 3 * normal(4, 3, 3, 2)]),
    "relu": Case(lambda n: n.ReLU(), [normal(4, 5)]),
    "relu at 0": Case(lambda n: n.ReLU(), [tied(4, 5)]),
    "leaky relu": Case(lambda n: n.LeakyReLU(0.2), [normal(4, 5)]),
    "sigmoid": Case(lambda n: n.Sigmoid(), [normal(4, 5)]),
    "tanh": Case(lambda n: n.Tanh(), [normal(4, 5)]),
    "gelu": Case(lambda n: n.GELU(), [normal(4, 5)]),
    "softmax": Case(lambda n: n.Softmax(1), [normal(4, 5)]),
    "big softmax": Case(lambda n: n.Softmax(1), [1000 * normal(4, 5)]),
    "log softmax": Case(lambda n: n.LogSoftmax(1), [normal(4, 5)]),
    "dropout": Case(lambda n: n.Dropout(0.4), [normal(6, 5)]),
    "dropout in evaluation": Case(lambda n: n.Dropout(0.4).eval(), [normal(6, 5)]),
    "flatten": Case(lambda n: n.Flatten(), [normal(2, 3, 3)]),
    "cross entropy": Case(lambda n: n.CrossEntropyLoss(), [normal(5, 4), INDICES]),
    "sure cross entropy": Case(lambda n: n.CrossEntropyLoss(), [20 * normal(5, 4), INDICES]),
    "big cross entropy": Case(lambda n: n.CrossEntropyLoss(), [1000 * normal(5, 4), INDICES]),
    "smoothed cross entropy": Case(lambda n: n.CrossEntropyLoss(label_smoothing=0.2), [normal(5, 4), INDICES]),
    "ignoring cross entropy": Case(lambda n: n.CrossEntropyLoss(ignore_index=1), [normal(5, 4), INDICES]),
    "nll": Case(lambda n: n.NLLLoss(), [normal(5, 4), INDICES]),
    "mse": Case(lambda n: n.MSELoss(), [normal(5, 4), normal(5, 4, seed=1)]),
}


def ours(case: str) -> Module:
    """This library's module of a case, in float64, with parameters that are the same every time."""
    module = CASES[case].build(nn).double()
    for i, parameter in enumerate(module.parameters()):
        parameter.data = normal(*parameter.shape, seed=i)
    return module


def theirs(case: str, module: Module) -> Any:
    """torch's module of a case, with the module's parameters."""
    import torch

    twin = CASES[case].build(torch.nn).double()
    twin.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in module.state_dict().items()})
    return twin
