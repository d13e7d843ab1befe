"""Dropout, with torch.nn's signatures (and `rng`, which draws the masks' key)."""

from typing import Any

import numpy

from scratchnet import functional as F
from scratchnet.functional import _check as check
from scratchnet.nn.init import Rng
from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array


class Dropout(Module):
    """In training y = mask · x / (1 − p), in evaluation y = x.

    The mask is a function of three integers that are the module's whole random state: seed, stream, and calls,
    which counts the forward calls in training mode. Two modules of one network differ in stream. inplace is accepted
    as a hint; nothing writes into its input here.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, rng: Rng = None) -> None:
        self.inplace = inplace
        self.p = check.probability(type(self).__name__, p)
        seed, stream = numpy.random.default_rng(rng).integers(2**32, size=2)
        self.seed, self.stream, self.calls = int(seed), int(stream), 0

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"

    def forward(self, x: Array) -> tuple[Array, Any]:
        if not self.training:
            return x, None
        call, self.calls = self.calls, self.calls + 1
        return self._drop(x, call)

    def _drop(self, x: Array, call: int) -> tuple[Array, Any]:
        return F.dropout(x, self.p, seed=self.seed, stream=self.stream, call=call)

    def backward(self, dy: Array, cache: Any) -> Array:
        return dy if cache is None else F.dropout_backward(dy, cache)


class Dropout2d(Dropout):
    """Dropout of whole channels of x (N, C, H, W). On (N, C) it drops single elements, with a warning, as torch."""

    def _drop(self, x: Array, call: int) -> tuple[Array, Any]:
        return F.dropout2d(x, self.p, seed=self.seed, stream=self.stream, call=call)
