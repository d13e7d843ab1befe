"""Arrays of other libraries, taken in without a copy: through DLPack, or through `__array_interface__`.

The way out needs no function. What scratchnet returns is a NumPy (or CuPy) array, whose memory `torch.from_numpy` and
`torch.from_dlpack` share; `numpy.asarray(parameter)` and `torch.from_dlpack(parameter)` share a Parameter's.
"""

import sys
from types import ModuleType
from typing import Any

import numpy

from scratchnet.ops.shape import Array

CUDA = 2  # DLPack's number for the memory of an NVIDIA GPU


def asarray(x: Any) -> Array:
    """A NumPy array, or a CuPy array on a GPU, that shares the memory of x.

    ::

        logits = model(scratchnet.asarray(batch))  # batch is a torch tensor

    Args:
        x: anything with `__dlpack__` or `__array_interface__`: a tensor of torch, an array of JAX, a Parameter.
            A NumPy or CuPy array comes back as it is.

    Shape:
        any; shape, strides and dtype stay.

    Raises:
        TypeError: x gives no access to its memory, as a list, or gives one that NumPy cannot use: a dtype that it does
            not have, such as bfloat16, or another device.
        RuntimeError: x is a torch tensor that requires grad. Its autograd graph cannot follow into scratchnet: pass
            `x.detach()`.
    """
    cupy = sys.modules.get("cupy")
    if isinstance(x, numpy.ndarray) or (cupy is not None and isinstance(x, cupy.ndarray)):
        return x
    if hasattr(x, "detach") and x.requires_grad:
        raise RuntimeError(
            "asarray: this tensor requires grad, and autograd does not follow into scratchnet: pass x.detach()"
        )
    if hasattr(x, "__dlpack__"):
        return _from_dlpack(x)
    if hasattr(x, "__array_interface__"):
        return numpy.asarray(x)
    raise TypeError(
        f"asarray: expected what has __dlpack__ or __array_interface__, as a tensor of torch, got {type(x).__name__}; "
        "numpy.array(x, dtype='float32') copies numbers into a new array"
    )


def _from_dlpack(x: Any) -> Array:
    try:
        device, _ = x.__dlpack_device__()
        library = _cupy() if device == CUDA else numpy
        return library.from_dlpack(x)
    except (BufferError, RuntimeError, ValueError) as error:
        kind = f"{type(x).__name__} of {getattr(x, 'dtype', 'unknown dtype')}"
        raise TypeError(f"asarray: cannot share the memory of this {kind}: {error}") from None


def _cupy() -> ModuleType:
    try:
        import cupy
    except ImportError:
        raise BufferError("it is on a GPU, which takes CuPy: pip install cupy-cuda12x, or cupy-cuda13x") from None
    return cupy
