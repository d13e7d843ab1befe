"""Convolutions, with torch.nn's signatures (and `rng`, which draws the weights)."""

import math
from typing import Any

import numpy

from scratchnet import functional as F
from scratchnet.functional import _check as check
from scratchnet.functional.conv import PADDING_MODES, same_pads
from scratchnet.nn.init import Rng, uniform
from scratchnet.nn.module import Module, float_dtype
from scratchnet.nn.parameter import Parameter
from scratchnet.ops.shape import Array, Pair


class _Conv(Module):
    """What the convolutions share: options, parameters and repr. `_ndim` is the number of image axes."""

    weight: Parameter
    bias: Parameter | None
    kernel_size: Any  # a tuple of _ndim ints, like the next three
    stride: Any
    padding: Any  # or "same" or "valid"
    dilation: Any
    _ndim: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        padding_mode: str,
    ) -> None:
        name = type(self).__name__
        self.groups = check.integer(name, "groups", groups, 1)
        self.in_channels = check.integer(name, "in_channels", in_channels, 0)
        self.out_channels = check.integer(name, "out_channels", out_channels, 0)
        for which, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % self.groups:
                raise ValueError(f"{name}: expected {which} divisible by groups={groups}, got {channels}")
        self.kernel_size = self._sizes("kernel_size", kernel_size, 1)
        self.stride = self._sizes("stride", stride, 1)
        self.dilation = self._sizes("dilation", dilation, 1)
        self.padding_mode = check.choice(name, "padding_mode", padding_mode, PADDING_MODES)
        if isinstance(padding, str):
            self.padding = check.choice(name, "padding", padding, ("valid", "same"))
            if padding == "same" and max(self.stride) > 1:
                raise ValueError(f"{name}: padding='same' needs stride 1, got stride {stride}")
        else:
            self.padding = self._sizes("padding", padding, 0)

    def _sizes(self, name: str, value: Any, minimum: int) -> tuple[int, ...]:
        return check.integers(type(self).__name__, name, value, minimum, self._ndim)

    def _draw(self, shape: tuple[int, ...], fan_in: int, bias: bool, dtype: Any, device: Any, rng: Rng) -> None:
        """Draw weight (of that shape) and bias (out_channels,)."""
        rng, dtype = numpy.random.default_rng(rng), float_dtype(dtype)
        self.weight = uniform(rng, shape, fan_in, dtype)
        self.register_parameter("bias", uniform(rng, (self.out_channels,), fan_in, dtype) if bias else None)
        if device is not None:
            self.to(device)

    def _options(self) -> dict[str, tuple[Any, Any]]:
        """What the repr shows where it differs from the default: name → (value, default)."""
        zeros, ones = (0,) * self._ndim, (1,) * self._ndim
        return {
            "padding": (self.padding, zeros),
            "dilation": (self.dilation, ones),
            "groups": (self.groups, 1),
            "bias": (self.bias is not None, True),
            "padding_mode": (self.padding_mode, "zeros"),
        }

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        return text + "".join(f", {name}={now}" for name, (now, default) in self._options().items() if now != default)

    def _bias(self) -> Array | None:
        return None if self.bias is None else self.bias.data

    def _accumulate(self, dweight: Array, dbias: Array | None) -> None:
        self.weight.accumulate(dweight)
        if self.bias is not None:
            self.bias.accumulate(dbias)


class Conv2d(_Conv):
    """2-D convolution.

    Shapes: x (N, in_channels, H, W) → y (N, out_channels, OH, OW) with
    OH = ⌊(H + 2·padding − dilation·(kernel_size − 1) − 1) / stride⌋ + 1; x without the batch axis works too.
    weight (out_channels, in_channels/groups, KH, KW), bias (out_channels,).
    kernel_size, stride, padding and dilation are an int or (h, w); padding may be "valid" or "same".
    """

    _ndim = 2

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
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        shape = self.out_channels, self.in_channels // self.groups, *self.kernel_size
        self._draw(shape, math.prod(shape[1:]), bias, dtype, device, rng)

    def _pads(self) -> tuple[int, int, int, int]:
        """padding as (left, right, top, bottom), for the padding modes other than zeros."""
        if self.padding == "same":
            return same_pads(self.kernel_size, self.dilation)
        ph, pw = (0, 0) if isinstance(self.padding, str) else self.padding
        return pw, pw, ph, ph

    def forward(self, x: Array) -> tuple[Array, Any]:
        padding, pad = self.padding, None
        if self.padding_mode != "zeros":
            x, pad = F.pad2d(x, self._pads(), self.padding_mode)
            padding = "valid"
        y, cache = F.conv2d(x, self.weight.data, self._bias(), self.stride, padding, self.dilation, self.groups)
        return y, (pad, cache)

    def backward(self, dy: Array, cache: Any) -> Array:
        pad, cache = cache
        dx, dweight, dbias = F.conv2d_backward(dy, cache)
        self._accumulate(dweight, dbias)
        return dx if pad is None else F.pad2d_backward(dx, pad)


class Conv1d(_Conv):
    """1-D convolution: a Conv2d over images of height 1.

    Shapes: x (N, in_channels, L) → y (N, out_channels, OL), or without the batch axis;
    weight (out_channels, in_channels/groups, K), bias (out_channels,).
    """

    _ndim = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int],
        stride: int | tuple[int] = 1,
        padding: int | tuple[int] | str = 0,
        dilation: int | tuple[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        rng: Rng = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        shape = self.out_channels, self.in_channels // self.groups, *self.kernel_size
        self._draw(shape, math.prod(shape[1:]), bias, dtype, device, rng)

    def _pads(self) -> tuple[int, int, int, int]:
        if self.padding == "same":
            return same_pads((1, *self.kernel_size), (1, *self.dilation))
        (p,) = (0,) if isinstance(self.padding, str) else self.padding
        return p, p, 0, 0

    def forward(self, x: Array) -> tuple[Array, Any]:
        padding, pad = self.padding, None
        if self.padding_mode != "zeros":
            check.check_float("Conv1d", "the input", x)
            check.check_ndim("Conv1d", x, (2, 3), "(N, C, L) or (C, L)")
            x, pad = F.pad2d(x[..., None, :], self._pads(), self.padding_mode)
            x, padding = x[..., 0, :], "valid"
        y, cache = F.conv1d(x, self.weight.data, self._bias(), self.stride, padding, self.dilation, self.groups)
        return y, (pad, cache)

    def backward(self, dy: Array, cache: Any) -> Array:
        pad, cache = cache
        dx, dweight, dbias = F.conv1d_backward(dy, cache)
        self._accumulate(dweight, dbias)
        return dx if pad is None else F.pad2d_backward(dx[..., None, :], pad)[..., 0, :]


class ConvTranspose2d(_Conv):
    """Transposed 2-D convolution: the gradient of a Conv2d with respect to its input, used as a forward pass.

    Shapes: x (N, in_channels, H, W) → y (N, out_channels, OH, OW) with
    OH = (H − 1)·stride − 2·padding + dilation·(kernel_size − 1) + output_padding + 1; the batch axis is optional.
    weight (in_channels, out_channels/groups, KH, KW), bias (out_channels,).
    """

    _ndim = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        rng: Rng = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(
                f"ConvTranspose2d: expected padding_mode='zeros', the only one it has, got {padding_mode!r}"
            )
        if isinstance(padding, str):
            raise TypeError(f"ConvTranspose2d: expected padding as an integer or a pair, got {padding!r}")
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        self.output_padding: Any = self._sizes("output_padding", output_padding, 0)
        shape = self.in_channels, self.out_channels // self.groups, *self.kernel_size
        self._draw(shape, math.prod(shape[1:]), bias, dtype, device, rng)  # torch's fan_in for this layout

    def _options(self) -> dict[str, tuple[Any, Any]]:
        options = super()._options()
        return {
            "padding": options["padding"],
            "dilation": options["dilation"],
            "output_padding": (self.output_padding, (0, 0)),
            "groups": options["groups"],
            "bias": options["bias"],
        }

    def forward(self, x: Array) -> tuple[Array, Any]:
        options = self.stride, self.padding, self.output_padding, self.groups, self.dilation
        return F.conv_transpose2d(x, self.weight.data, self._bias(), *options)

    def backward(self, dy: Array, cache: Any) -> Array:
        dx, dweight, dbias = F.conv_transpose2d_backward(dy, cache)
        self._accumulate(dweight, dbias)
        return dx
