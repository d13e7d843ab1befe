"""Layers with parameters: Linear, Conv2d, BatchNorm. Signatures, defaults and state_dict keys are torch.nn's.

What torch does not have is `rng`: the numpy.random.Generator, or its seed, that draws the initial weights. Layers
of one network share one generator; without it the weights differ from run to run.
"""

import math
from typing import Any

import numpy

from scratchnet import functional as F
from scratchnet.functional import _check as check
from scratchnet.functional.conv import PADDING_MODES, same_pads
from scratchnet.nn.module import Module, float_dtype
from scratchnet.nn.parameter import Parameter
from scratchnet.ops.shape import Array, Pair

Rng = numpy.random.Generator | int | None


def uniform(rng: numpy.random.Generator, shape: tuple[int, ...], fan_in: int, dtype: Any) -> Parameter:
    """Uniform in ±1/√fan_in, torch's default (its kaiming_uniform with a = √5). Source: Y. LeCun et al., 1998."""
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return Parameter(rng.uniform(-bound, bound, shape).astype(dtype))


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


class Conv2d(Module):
    """2-D convolution.

    Shapes: x (N, in_channels, H, W) → y (N, out_channels, OH, OW) with
    OH = ⌊(H + 2·padding − dilation·(kernel_size − 1) − 1) / stride⌋ + 1; x without the batch axis works too.
    weight (out_channels, in_channels/groups, KH, KW), bias (out_channels,).
    kernel_size, stride, padding and dilation are an int or (h, w); padding may be "valid" or "same".
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        rng: Rng = None,
    ) -> None:
        self.groups = check.integer("Conv2d", "groups", groups, 1)
        self.in_channels = check.integer("Conv2d", "in_channels", in_channels, 0)
        self.out_channels = check.integer("Conv2d", "out_channels", out_channels, 0)
        for name, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % self.groups:
                raise ValueError(f"Conv2d: expected {name} divisible by groups={groups}, got {channels}")
        self.kernel_size = check.integer_pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = check.integer_pair("Conv2d", "stride", stride, 1)
        self.dilation = check.integer_pair("Conv2d", "dilation", dilation, 1)
        self.padding_mode = check.choice("Conv2d", "padding_mode", padding_mode, PADDING_MODES)
        self.padding: tuple[int, int] | str
        if isinstance(padding, str):
            self.padding = check.choice("Conv2d", "padding", padding, ("valid", "same"))
            if padding == "same" and self.stride != (1, 1):
                raise ValueError(f"Conv2d: padding='same' needs stride 1, got stride {stride}")
        else:
            self.padding = check.integer_pair("Conv2d", "padding", padding, 0)
        rng, dtype = numpy.random.default_rng(rng), float_dtype(dtype)
        shape = self.out_channels, self.in_channels // self.groups, *self.kernel_size
        fan_in = math.prod(shape[1:])
        self.weight = uniform(rng, shape, fan_in, dtype)
        self.register_parameter("bias", uniform(rng, shape[:1], fan_in, dtype) if bias else None)
        if device is not None:
            self.to(device)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        options = {
            "padding": (self.padding, (0, 0)),
            "dilation": (self.dilation, (1, 1)),
            "groups": (self.groups, 1),
            "bias": (self.bias is not None, True),
            "padding_mode": (self.padding_mode, "zeros"),
        }
        return text + "".join(f", {name}={now}" for name, (now, default) in options.items() if now != default)

    def _pads(self) -> tuple[int, int, int, int]:
        """padding as (left, right, top, bottom), for the padding modes other than zeros."""
        if self.padding == "same":
            return same_pads(self.kernel_size, self.dilation)
        (ph, pw) = (0, 0) if isinstance(self.padding, str) else self.padding
        return pw, pw, ph, ph

    def forward(self, x: Array) -> tuple[Array, Any]:
        padding, pad = self.padding, None
        if self.padding_mode != "zeros":
            x, pad = F.pad2d(x, self._pads(), self.padding_mode)
            padding = 0, 0
        bias = None if self.bias is None else self.bias.data
        y, cache = F.conv2d(x, self.weight.data, bias, self.stride, padding, self.dilation, self.groups)
        return y, (pad, cache)

    def backward(self, dy: Array, cache: Any) -> Array:
        pad, cache = cache
        dx, dweight, dbias = F.conv2d_backward(dy, cache)
        self.weight.accumulate(dweight)
        if self.bias is not None:
            self.bias.accumulate(dbias)
        return dx if pad is None else F.pad2d_backward(dx, pad)


class _BatchNorm(Module):
    """Batch normalisation of each channel; the two subclasses differ in the inputs that they accept.

    Parameters weight (γ) and bias (β), buffers running_mean, running_var, num_batches_tracked, all of shape
    (num_features,) but for the counter. momentum=None averages over all batches equally; affine=False has no
    parameters, bias=False no β; track_running_stats=False has no buffers and normalises by the batch in evaluation too.
    """

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Array | None
    running_var: Array | None
    num_batches_tracked: Array
    _layout: str
    _ndims: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        name, dtype = type(self).__name__, float_dtype(dtype)
        n = self.num_features = check.integer(name, "num_features", num_features, 0)
        self.eps = check.number(name, "eps", eps)
        if self.eps <= 0:
            raise ValueError(f"{name}: expected eps > 0, got {eps}")
        self.momentum = None if momentum is None else check.number(name, "momentum", momentum)
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.register_parameter("weight", Parameter(numpy.ones(n, dtype)) if affine else None)
        self.register_parameter("bias", Parameter(numpy.zeros(n, dtype)) if affine and bias else None)
        self.register_buffer("running_mean", numpy.zeros(n, dtype) if track_running_stats else None)
        self.register_buffer("running_var", numpy.ones(n, dtype) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", numpy.array(0) if track_running_stats else None)
        if device is not None:
            self.to(device)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def forward(self, x: Array) -> tuple[Array, Any]:
        name = type(self).__name__
        check.check_float(name, "the input", x)
        check.check_ndim(name, x, self._ndims, self._layout)
        if x.shape[1] != self.num_features:
            raise ValueError(f"{name}: expected {self.num_features} channels, got an input of shape {x.shape}")
        use_batch = self.training or self.running_mean is None
        moving = self.training and self.running_mean is not None
        weight = None if self.weight is None else self.weight.data
        bias = None if self.bias is None else self.bias.data
        running = (self.running_mean, self.running_var) if moving or not use_batch else (None, None)
        momentum = self.momentum
        if momentum is None:  # the cumulative mean: the k-th batch has weight 1/k
            momentum = 1 / (int(self.num_batches_tracked) + 1) if moving else 0.0
        (y, mean, var), cache = F.batch_norm(x, *running, weight, bias, use_batch, momentum, self.eps)
        if moving:
            self.running_mean, self.running_var = mean, var
            self.num_batches_tracked = self.num_batches_tracked + 1
        return y, cache

    def backward(self, dy: Array, cache: Any) -> Array:
        dx, dweight, dbias = F.batch_norm_backward(dy, cache)
        if self.weight is not None:
            self.weight.accumulate(dweight)
        if self.bias is not None:
            self.bias.accumulate(dbias)
        return dx


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of x (N, C) or (N, C, L)."""

    _ndims, _layout = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of x (N, C, H, W)."""

    _ndims, _layout = (4,), "(N, C, H, W)"


for _cls in (BatchNorm1d, BatchNorm2d):
    _cls.__doc__ = f"{_cls.__doc__}\n\n{_BatchNorm.__doc__}"
