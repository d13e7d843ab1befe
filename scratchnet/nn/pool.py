"""Pooling, with torch.nn's signatures."""

from typing import Any

from scratchnet import functional as F
from scratchnet.functional import _check as check
from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array, Pair


class MaxPool2d(Module):
    """The largest pixel of each window: x (N, C, H, W) → y (N, C, OH, OW), or without the batch axis.

    Sizes are an int or (h, w); stride defaults to kernel_size; padding is at most half of the window. With
    return_indices the output is (y, indices), the position row·W + column of each maximum in its image.
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
        check.integer_pair("MaxPool2d", "kernel_size", kernel_size, 1)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )

    def forward(self, x: Array) -> tuple[Any, Any]:
        options = self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        return F.max_pool2d(x, self.kernel_size, *options)

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
    """The means of output_size windows that share out the image; (None, 7) keeps the input's height."""

    def __init__(self, output_size: int | tuple[int | None, int | None]) -> None:
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.adaptive_avg_pool2d(x, self.output_size)

    def backward(self, dy: Array, cache: Any) -> Array:
        return F.adaptive_avg_pool2d_backward(dy, cache)
