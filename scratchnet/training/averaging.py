"""An exponential moving average of the weights, which often generalises better than the weights themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy

from scratchnet.nn import Module
from scratchnet.ops.shape import Array, array_module


class ModelEMA:
    """avg ← d·avg + (1 − d)·weight, after every step, for all parameters and floating-point buffers.

    d is `decay`, and (1 + t)/(10 + t) while that is smaller in step t: the first weights, which are random, are
    forgotten sooner. Integers, such as BatchNorm's num_batches_tracked, are copied. Source: B. Polyak and A. Juditsky,
    "Acceleration of stochastic approximation by averaging", 1992; the warm-up is TensorFlow's.

    Raises:
        ValueError: decay is not in [0, 1).
    """

    def __init__(self, model: Module, decay: float = 0.999) -> None:
        if isinstance(decay, bool) or not isinstance(decay, int | float) or not 0 <= decay < 1:
            raise ValueError(f"ModelEMA: expected decay as a number in [0, 1), got {decay!r}")
        self.model = model
        self.decay = float(decay)
        self.steps = 0
        # not value.copy(): of a counter that is a NumPy scalar that makes another, which cannot be written into
        self._averages: list[Array] = [array_module(value).array(value) for *_, value in _values(model)]

    def update(self) -> None:
        """Take the present weights into the average."""
        self.steps += 1
        new = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        for average, (*_, value) in zip(self._averages, _values(self.model), strict=True):
            if average.dtype.kind == "f":
                average += new * (value - average)
            else:
                average[...] = value

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model has the averaged weights; afterwards its own are back."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, numpy.ndarray]:
        """The averaged weights under the names of the model's state_dict."""
        with self.applied():
            return self.model.state_dict()

    def load_state_dict(self, state_dict: dict[str, numpy.ndarray]) -> None:
        with self.applied():
            self.model.load_state_dict(state_dict)

    def _swap(self) -> None:
        for i, (owner, name, value) in enumerate(list(_values(self.model))):
            owner[name] = self._averages[i]
            self._averages[i] = value


def _values(model: Module) -> Iterator[tuple[dict[str, Any], str, Array]]:
    """Every parameter and buffer once, as (dict that holds it, key, array)."""
    for parameter in model.parameters():
        yield parameter.__dict__, "data", parameter.data
    for module in model.modules():
        for name, value in module._buffers.items():
            if value is not None:
                yield module._buffers, name, value
