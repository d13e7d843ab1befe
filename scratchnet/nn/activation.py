"""Activation functions, with torch.nn's signatures."""

from typing import Any

from scratchnet import functional as F
from scratchnet.functional import _check as check
from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array


class ReLU(Module):
    """y = max(x, 0), any shape. inplace is accepted as a hint; nothing writes into its input here."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.relu(x)

    def backward(self, dy: Array, cache: Any) -> Array:
        return F.relu_backward(dy, cache)


class LeakyReLU(Module):
    """y = x where x > 0, else negative_slope · x; any shape. inplace is a hint, see ReLU."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.inplace = inplace
        self.negative_slope = check.number("LeakyReLU", "negative_slope", negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.leaky_relu(x, self.negative_slope)

    def backward(self, dy: Array, cache: Any) -> Array:
        return F.leaky_relu_backward(dy, cache)


class Sigmoid(Module):
    """y = 1 / (1 + e^−x), any shape."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.sigmoid(x)

    def backward(self, dy: Array, cache: Any) -> Array:
        return F.sigmoid_backward(dy, cache)


class Tanh(Module):
    """y = tanh(x), any shape."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.tanh(x)

    def backward(self, dy: Array, cache: Any) -> Array:
        return F.tanh_backward(dy, cache)


class GELU(Module):
    """y = x·Φ(x), any shape; approximate="tanh" takes the tanh form."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = check.choice("GELU", "approximate", approximate, ("none", "tanh"))

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.gelu(x, self.approximate)

    def backward(self, dy: Array, cache: Any) -> Array:
        return F.gelu_backward(dy, cache)


class Softmax(Module):
    """Probabilities along axis dim (negative: from the back)."""

    def __init__(self, dim: int | None = None) -> None:
        self.dim = _dim("Softmax", dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.softmax(x, self.dim)

    def backward(self, dy: Array, cache: Any) -> Array:
        return F.softmax_backward(dy, cache)


class LogSoftmax(Module):
    """Log probabilities along axis dim (negative: from the back)."""

    def __init__(self, dim: int | None = None) -> None:
        self.dim = _dim("LogSoftmax", dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.log_softmax(x, self.dim)

    def backward(self, dy: Array, cache: Any) -> Array:
        return F.log_softmax_backward(dy, cache)


def _dim(name: str, dim: int | None) -> int | None:
    return None if dim is None else check.integer(name, "dim", dim, -64)
