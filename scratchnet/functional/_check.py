"""The checks that every op shares. Each message names the op, what was expected and what came."""

import numbers
import operator
import sys
from typing import Any

import numpy

from scratchnet.ops.shape import Array

FLOATS = (numpy.dtype("float32"), numpy.dtype("float64"))


def is_array(x: Any) -> bool:
    """An array, or a NumPy scalar, which is what an element of an array or an op on a 0-d array gives."""
    cupy = sys.modules.get("cupy")
    return isinstance(x, numpy.ndarray | numpy.generic) or (cupy is not None and isinstance(x, cupy.ndarray))


def kind_of(x: Any) -> str:
    """What came where an array was expected, for messages, and how to make one of it."""
    if is_array(x):
        return f"an array of {x.dtype}"
    shares = hasattr(x, "__dlpack__") or hasattr(x, "__array_interface__")
    return type(x).__name__ + ("; scratchnet.asarray makes it an array without a copy" if shares else "")


def dims(shape: tuple[int, ...]) -> str:
    """(16, 3, 5, 5) → "16×3×5×5", for messages."""
    return "×".join(map(str, shape))


def check_float(op: str, name: str, x: Any) -> None:
    """x must be an array of float32 or float64."""
    if not is_array(x):
        raise TypeError(f"{op}: expected {name} as a NumPy or CuPy array, got {kind_of(x)}")
    if x.dtype not in FLOATS:
        raise TypeError(f"{op}: expected {name} of float32 or float64, got {x.dtype}")


def check_parameter(op: str, name: str, value: Any, x: Array, shape: tuple[int, ...] | None = None) -> None:
    """A weight or bias must be an array of x's dtype, and of the given shape."""
    check_float(op, name, value)
    if value.dtype != x.dtype:
        raise TypeError(f"{op}: expected {name} of the input's {x.dtype}, got {value.dtype}")
    if shape is not None and value.shape != shape:
        raise ValueError(f"{op}: expected {name} of shape {shape}, got {value.shape}")


def check_ndim(op: str, x: Array, expected: tuple[int, ...], layout: str) -> None:
    if x.ndim not in expected:
        raise ValueError(f"{op}: expected an input of shape {layout}, got {x.shape}")


def integer(op: str, name: str, value: Any, minimum: int) -> int:
    """value as an int ≥ minimum; a bool or a float is no integer."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{op}: expected {name} as an integer, got {value!r}")
    value = operator.index(value)
    if value < minimum:
        raise ValueError(f"{op}: expected {name} ≥ {minimum}, got {value}")
    return value


def integers(op: str, name: str, value: Any, minimum: int, count: int) -> tuple[int, ...]:
    """3, (3,) or a tuple of `count` → `count` ints ≥ minimum, one for each image axis."""
    if not isinstance(value, tuple | list):
        return (integer(op, name, value, minimum),) * count
    if len(value) not in (1, count):
        expected = "an integer or a pair (h, w)" if count == 2 else "one integer"
        raise ValueError(f"{op}: expected {name} as {expected}, got {value!r}")
    sizes = tuple(integer(op, name, v, minimum) for v in value)
    return sizes if len(sizes) == count else sizes * count


def integer_pair(op: str, name: str, value: Any, minimum: int) -> tuple[int, int]:
    """3, (3,) or (3, 5) → a pair of ints ≥ minimum."""
    first, last = integers(op, name, value, minimum, 2)
    return first, last


def number(op: str, name: str, value: Any) -> float:
    """value as a Python float, which leaves float32 arrays float32."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{op}: expected {name} as a number, got {value!r}")
    return float(value)


def boolean(op: str, name: str, value: Any) -> bool:
    """value as a bool; 1, None or "yes" is none."""
    if not isinstance(value, bool | numpy.bool):
        raise TypeError(f"{op}: expected {name} as True or False, got {value!r}")
    return bool(value)


def probability(op: str, p: Any) -> float:
    p = number(op, "p", p)
    if not 0 <= p <= 1:
        raise ValueError(f"{op}: expected a probability p between 0 and 1, got {p}")
    return p


def choice(op: str, name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{op}: expected {name} as one of {', '.join(allowed)}, got {value!r}")
    return value


def axis(op: str, name: str, value: Any, ndim: int) -> int:
    """An axis counted from the front (0 …) or the back (−1 …) → counted from the front. A scalar has one axis."""
    ndim = max(ndim, 1)
    value = integer(op, name, value, -sys.maxsize)
    if not -ndim <= value < ndim:
        raise ValueError(f"{op}: expected {name} between {-ndim} and {ndim - 1}, got {value}")
    return value % ndim
