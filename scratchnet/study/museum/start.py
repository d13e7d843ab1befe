"""Mistakes in how weights start."""

import math
from typing import Any

import numpy

from scratchnet.nn import Module, Parameter, init
from scratchnet.nn.conv import Conv2d
from scratchnet.nn.linear import Linear
from scratchnet.study.museum.exhibit import Bug, exhibit

FAMILY = "initialisation"


def _restarted(uniform: Any) -> Bug:
    """The weights of convolutions and linear layers drawn anew by a wrong `uniform`, with biases of zero."""

    def plant(model: Module) -> None:
        rng = numpy.random.default_rng(0)
        for module in model.modules():
            if isinstance(module, Conv2d | Linear):
                data = module.weight.data
                fan_in = math.prod(data.shape[1:])
                module.weight.data = uniform(rng, data.shape, fan_in, data.dtype).data
                if module.bias is not None:
                    module.bias.data = numpy.zeros_like(module.bias.data)

    return Bug(plant=plant)


@exhibit(
    "initialised-to-zero",
    title="All weights start at zero",
    family=FAMILY,
    right=init.uniform,
    bug=_restarted,
    check="initialisation",
    case="network",
    why="Zero looks neutral, and it is right for biases.",
    effect="All units of a layer compute the same and get the same gradient, and behind a layer of zero weights no "
    "gradient passes at all: only the last biases learn, and the loss stays near log 10 ≈ 2.303.",
    notice="The loss falls to that of guessing by class frequency and stops. Look for rows of a weight that are equal.",
)
def uniform_zero(rng: numpy.random.Generator, shape: tuple[int, ...], fan_in: int, dtype: Any) -> Parameter:
    return Parameter(numpy.zeros(shape, dtype))


@exhibit(
    "fan-in-without-the-kernel",
    title="The fan-in of a convolution without its kernel size",
    family=FAMILY,
    right=init.uniform,
    bug=_restarted,
    check="initialisation",
    case="network",
    why="A linear layer's fan-in is shape[1]. For a convolution it is C·KH·KW, the number of terms of its sum.",
    effect="Weights are √(KH·KW) times too large, 3 times for a 3 × 3 kernel, and so are the activations, in each "
    "convolution again. BatchNorm hides it.",
    notice="Print the standard deviation of every activation before the first step: it should neither grow nor shrink "
    "from layer to layer. Without BatchNorm the first loss is above log 10 ≈ 2.303.",
    seen=(
        "LeelaChessZero/lczero-training pull request 43: a fan without the 3 · 3, activations that grew from block to "
        "block",
        "intel/ipex-llm issue 1219: Inception v1 did not converge with a wrong Xavier initialisation of convolutions",
    ),
)
def uniform_fan_in_without_the_kernel(
    rng: numpy.random.Generator, shape: tuple[int, ...], fan_in: int, dtype: Any
) -> Parameter:
    bound = 1 / math.sqrt(shape[1]) if fan_in else 0.0
    return Parameter(rng.uniform(-bound, bound, shape).astype(dtype))


@exhibit(
    "initialised-with-unit-normals",
    title="Weights drawn from a standard normal distribution",
    family=FAMILY,
    right=init.uniform,
    bug=_restarted,
    check="initialisation",
    case="network",
    why="numpy.random.randn(out, in) is what is at hand.",
    effect="Each layer multiplies the activations by about √fan_in. The first loss is in the hundreds or thousands "
    "instead of 2.3, and its gradients throw the weights so far that units die.",
    notice="The first loss. A classifier with 10 classes that knows nothing has loss log 10 ≈ 2.303.",
)
def uniform_unit_normal(rng: numpy.random.Generator, shape: tuple[int, ...], fan_in: int, dtype: Any) -> Parameter:
    return Parameter(rng.standard_normal(shape).astype(dtype))
