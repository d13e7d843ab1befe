"""Activation functions; the mathematics is in scratchnet/ops/activation.py. All take any shape."""

import warnings

from scratchnet.functional import _check as check
from scratchnet.functional._call import Saved, backward, forward
from scratchnet.ops.shape import Array


def relu(x: Array) -> tuple[Array, Saved]:
    """y = max(x, 0)."""
    check.check_float("relu", "the input", x)
    return forward("relu", x)


def relu_backward(dy: Array, cache: Saved) -> Array:
    return backward("relu", dy, cache)


def leaky_relu(x: Array, negative_slope: float = 0.01) -> tuple[Array, Saved]:
    """y = x where x > 0, else negative_slope · x."""
    check.check_float("leaky_relu", "the input", x)
    return forward("leaky_relu", x, check.number("leaky_relu", "negative_slope", negative_slope))


def leaky_relu_backward(dy: Array, cache: Saved) -> Array:
    return backward("leaky_relu", dy, cache)


def sigmoid(x: Array) -> tuple[Array, Saved]:
    """y = 1 / (1 + e^−x)."""
    check.check_float("sigmoid", "the input", x)
    return forward("sigmoid", x)


def sigmoid_backward(dy: Array, cache: Saved) -> Array:
    return backward("sigmoid", dy, cache)


def tanh(x: Array) -> tuple[Array, Saved]:
    """y = tanh(x)."""
    check.check_float("tanh", "the input", x)
    return forward("tanh", x)


def tanh_backward(dy: Array, cache: Saved) -> Array:
    return backward("tanh", dy, cache)


def gelu(x: Array, approximate: str = "none") -> tuple[Array, Saved]:
    """y = x·Φ(x); approximate="tanh" takes the tanh form instead of the error function."""
    check.check_float("gelu", "the input", x)
    return forward("gelu", x, check.choice("gelu", "approximate", approximate, ("none", "tanh")))


def gelu_backward(dy: Array, cache: Saved) -> Array:
    return backward("gelu", dy, cache)


def softmax(x: Array, dim: int | None = None) -> tuple[Array, Saved]:
    """Probabilities e^x / Σ e^x along axis dim (negative: from the back). Without dim it guesses, with a warning."""
    return _along("softmax", x, dim)


def softmax_backward(dy: Array, cache: Saved) -> Array:
    return backward("softmax", dy, cache)


def log_softmax(x: Array, dim: int | None = None) -> tuple[Array, Saved]:
    """x − log Σ e^x along axis dim (negative: from the back). Without dim it guesses, with a warning."""
    return _along("log_softmax", x, dim)


def log_softmax_backward(dy: Array, cache: Saved) -> Array:
    return backward("log_softmax", dy, cache)


def _along(op: str, x: Array, dim: int | None) -> tuple[Array, Saved]:
    check.check_float(op, "the input", x)
    if dim is None:
        dim = 0 if x.ndim in (0, 1, 3) else 1  # torch's guess, which it deprecates
        warnings.warn(f"{op}: without dim it takes axis {dim} of {x.shape}; pass the axis you mean", stacklevel=3)
    dim = check.axis(op, "dim", dim, x.ndim)
    if x.ndim == 0:  # one element: its own axis
        return forward(op, x, dim, unbatched=True)
    return forward(op, x, dim)
