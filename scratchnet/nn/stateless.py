"""Layers without parameters: activations, pooling, dropout, flatten. Signatures and defaults are torch.nn's."""

from typing import Any

import numpy

from scratchnet import functional as F
from scratchnet.functional import _check as check
from scratchnet.nn.layers import Rng
from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array, Pair


def _not_in_place(name: str, inplace: bool) -> None:
    if inplace:
        raise NotImplementedError(f"{name}: inplace=True is not built; no op writes into its input here")


class ReLU(Module):
    """y = max(x, 0), any shape."""

    def __init__(self, inplace: bool = False) -> None:
        _not_in_place("ReLU", inplace)

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.relu(x)

    def backward(self, dy: Array, cache: Any) -> Array:
        return F.relu_backward(dy, cache)


class LeakyReLU(Module):
    """y = x where x > 0, else negative_slope · x; any shape."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        _not_in_place("LeakyReLU", inplace)
        self.negative_slope = check.number("LeakyReLU", "negative_slope", negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"

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


def _dim(name: str, dim: int | None) -> int:
    if dim is None:
        raise NotImplementedError(f"{name}: an implicit dim is not built (torch deprecates it): pass dim=1 or dim=-1")
    return check.integer(name, "dim", dim, -64)


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


class MaxPool2d(Module):
    """The largest pixel of each window: x (N, C, H, W) → y (N, C, OH, OW), or without the batch axis.

    Sizes are an int or (h, w); stride defaults to kernel_size; padding is at most half of the window.
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        if return_indices:
            raise NotImplementedError("MaxPool2d: return_indices=True is not built")
        check.integer_pair("MaxPool2d", "kernel_size", kernel_size, 1)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def backward(self, dy: Array, cache: Any) -> Array:
        return F.max_pool2d_backward(dy, cache)


class AvgPool2d(Module):
    """The mean of each window: x (N, C, H, W) → y (N, C, OH, OW), or without the batch axis.

    count_include_pad counts padding pixels in the divisor; divisor_override replaces the divisor.
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        check.integer_pair("AvgPool2d", "kernel_size", kernel_size, 1)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"

    def forward(self, x: Array) -> tuple[Array, Any]:
        options = self.ceil_mode, self.count_include_pad, self.divisor_override
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, *options)

    def backward(self, dy: Array, cache: Any) -> Array:
        return F.avg_pool2d_backward(dy, cache)


class AdaptiveAvgPool2d(Module):
    """The means of output_size windows that share out the image; None keeps the input's size along an axis."""

    def __init__(self, output_size: int | tuple[int | None, int | None] | None) -> None:
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.adaptive_avg_pool2d(x, self.output_size)

    def backward(self, dy: Array, cache: Any) -> Array:
        return F.adaptive_avg_pool2d_backward(dy, cache)


class Dropout(Module):
    """In training y = mask · x / (1 − p), in evaluation y = x.

    The mask is a function of three integers that are the module's whole random state: seed, stream, and calls,
    which counts the forward calls in training mode. Two modules of one network differ in stream.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, rng: Rng = None) -> None:
        _not_in_place(type(self).__name__, inplace)
        self.p = check.probability(type(self).__name__, p)
        seed, stream = numpy.random.default_rng(rng).integers(2**32, size=2)
        self.seed, self.stream, self.calls = int(seed), int(stream), 0

    def extra_repr(self) -> str:
        return f"p={self.p}"

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
