"""A parameter: an array that training changes, and the gradient that says how."""

from typing import Any

import numpy

from scratchnet.ops.shape import Array, array_module


class Parameter:
    """An array with its gradient.

    data            the value, float32 or float64, a NumPy or CuPy array
    grad            ∂L/∂data of data's shape and dtype, or None before the first backward pass
    requires_grad   False freezes the parameter: backward passes leave grad alone, and so optimizers skip it

    `numpy.asarray(parameter)`, `torch.from_dlpack(parameter)` and others share data's memory, until data is replaced.
    """

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        data = data if hasattr(data, "dtype") else numpy.asarray(data, dtype="float32")
        if data.dtype not in (numpy.dtype("float32"), numpy.dtype("float64")):
            raise TypeError(f"Parameter: expected an array of float32 or float64, got {data.dtype}")
        self.data: Array = data
        self.grad: Array | None = None
        self.requires_grad = requires_grad

    def accumulate(self, gradient: Array | None) -> None:
        """Add a gradient into grad: a parameter that is used twice gets the sum of both uses."""
        if gradient is None or not self.requires_grad:
            return
        if self.grad is None:
            self.grad = gradient
        elif gradient.shape == self.grad.shape:
            self.grad = self.grad + gradient
        else:
            raise ValueError(f"Parameter: expected another gradient of shape {self.grad.shape}, got {gradient.shape}")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray:
        return numpy.array(self.data, dtype=dtype, copy=copy)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """data itself stands for its address: whoever shares the memory keeps it alive when data is replaced."""
        interface = self.data.__array_interface__
        if interface["strides"] is not None:
            raise AttributeError("an array that is not C-contiguous is shared by __array__ or __dlpack__")
        return {**interface, "data": self.data}

    def __dlpack__(self, **options: Any) -> Any:
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    def __repr__(self) -> str:
        values = array_module(self.data).array2string(self.data, separator=", ", threshold=20)
        return f"Parameter(shape={self.shape}, dtype={self.dtype}, data=\n{values})"
