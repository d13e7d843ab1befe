"""The fully connected layer and flatten, with torch.nn's signatures (and `rng`, which draws the weights)."""

from typing import Any

import numpy

from scratchnet import functional as F
from scratchnet.functional import _check as check
from scratchnet.nn.init import Rng, uniform
from scratchnet.nn.module import Module, float_dtype
from scratchnet.nn.parameter import Parameter
from scratchnet.ops.shape import Array


class Linear(Module):
    """y = x · weightᵀ + bias.

    Shapes: x (…, in_features) → y (…, out_features); weight (out_features, in_features), bias (out_features,).
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        rng: Rng = None,
    ) -> None:
        self.in_features = check.integer("Linear", "in_features", in_features, 0)
        self.out_features = check.integer("Linear", "out_features", out_features, 0)
        rng, dtype = numpy.random.default_rng(rng), float_dtype(dtype)
        self.weight = uniform(rng, (out_features, in_features), in_features, dtype)
        self.register_parameter("bias", uniform(rng, (out_features,), in_features, dtype) if bias else None)
        if device is not None:
            self.to(device)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.linear(x, self.weight.data, None if self.bias is None else self.bias.data)

    def backward(self, dy: Array, cache: Any) -> Array:
        dx, dweight, dbias = F.linear_backward(dy, cache)
        self.weight.accumulate(dweight)
        if self.bias is not None:
            self.bias.accumulate(dbias)
        return dx


class Flatten(Module):
    """Join the axes start_dim … end_dim; by default all but the batch axis: (N, C, H, W) → (N, C·H·W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = check.integer("Flatten", "start_dim", start_dim, -64)
        self.end_dim = check.integer("Flatten", "end_dim", end_dim, -64)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.flatten(x, self.start_dim, self.end_dim)

    def backward(self, dy: Array, cache: Any) -> Array:
        return F.flatten_backward(dy, cache)
