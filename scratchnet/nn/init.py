"""How parameters start."""

import math
from typing import Any

import numpy

from scratchnet.nn.parameter import Parameter

# Draws the initial weights: a generator, or its seed; None takes fresh entropy. Layers of one network share one.
Rng = numpy.random.Generator | int | None


def uniform(rng: numpy.random.Generator, shape: tuple[int, ...], fan_in: int, dtype: Any) -> Parameter:
    """Uniform in ±1/√fan_in, torch's default (its kaiming_uniform with a = √5). Source: Y. LeCun et al., 1998."""
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return Parameter(rng.uniform(-bound, bound, shape).astype(dtype))
