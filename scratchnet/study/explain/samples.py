"""Small whole numbers, so that a reader can check every product by head."""

import numpy

from scratchnet.ops.shape import Array
from scratchnet.study.explain.page import TooLargeError

MOST = 192
Shape = tuple[int, ...]


def check_shape(shape: Shape, layout: str, ndims: tuple[int, ...]) -> None:
    """The number of axes that the op takes, at least one of everything, and not too much to print."""
    if len(shape) not in ndims:
        raise ValueError(f"explain: expected --input as {layout}, got {'x'.join(map(str, shape))}")
    size = int(numpy.prod(shape, dtype=object))
    if size > MOST:
        raise TooLargeError(
            f"explain: --input {'x'.join(map(str, shape))} has {size:,} numbers, a page shows at most {MOST}: "
            "take a smaller one"
        )


def check_small(most: int = 16, **options: int | tuple[int, ...]) -> None:
    """Sizes, strides and counts of at least 1, paddings of at least 0, and none too large to show."""
    for name, value in options.items():
        sizes = value if isinstance(value, tuple) else (value,)
        if min(sizes) < (0 if "pad" in name else 1):
            raise ValueError(f"explain: expected --{name.replace('_', '-')} ≥ {int('pad' not in name)}, got {value}")
        if max(sizes) > most:
            raise TooLargeError(f"explain: --{name.replace('_', '-')} {value} is too large to print, at most {most}")


def integers(rng: numpy.random.Generator, shape: Shape, low: int, high: int) -> Array:
    """Whole numbers low … high in float64."""
    return rng.integers(low, high + 1, shape).astype(numpy.float64)


def tenths(rng: numpy.random.Generator, shape: Shape, low: float, high: float) -> Array:
    """Numbers with one decimal."""
    return rng.uniform(low, high, shape).round(1) + 0.0  # + 0.0 turns −0.0 into 0.0


def gradient(rng: numpy.random.Generator, shape: Shape) -> Array:
    """The gradient that arrives from the layer behind: whole numbers −2 … 2."""
    return integers(rng, shape, -2, 2)
