"""The terms of the gradients of pooling: every window that contains the pixel is one."""

import itertools
from typing import Any

import numpy

from scratchnet import ops
from scratchnet.nn.pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from scratchnet.ops.shape import Array, pair
from scratchnet.study.trace_graph import Use
from scratchnet.study.trace_terms import Factor, Index, Terms, dy_at, one, product_of, rule


def _window(module: Any, i: int, axis: int) -> list[int]:
    """The positions that window i covers along an axis, also those outside the image."""
    kernel, stride, padding = (pair(value)[axis] for value in (module.kernel_size, module.stride, module.padding))
    dilation = pair(getattr(module, "dilation", 1))[axis]
    return [i * stride + u * dilation - padding for u in range(kernel)]


def _windows_with(use: Use, index: Index) -> Array:
    """The windows (i, j) that contain the pixel: (T, 2)."""
    out = use.output.data.shape[-2:]
    hits = [[i for i in range(out[axis]) if index[axis - 2] in _window(use.module, i, axis)] for axis in (0, 1)]
    return numpy.array(list(itertools.product(*hits)), dtype=int).reshape(-1, 2)


@rule(MaxPool2d)
def max_pool(use: Use, tensor: str, index: Index) -> Terms:
    x, windows = use.inputs[0].data[index[:-2]], _windows_with(use, index)
    won = [float(_winner(use.module, x, int(i), int(j)) == index[-2:]) for i, j in windows]
    there = product_of(one(index[:-2]), windows)
    formula = "dx = Σ dy[window] · [this pixel is the window's first maximum] over the windows that contain it"
    factor = Factor("[wins]", numpy.array(won))
    return Terms(formula, (ops.max_pool2d_backward, "dx[tap"), there, dy_at(use, there), (factor,), gate=True)


def _winner(module: MaxPool2d, x: Array, i: int, j: int) -> tuple[int, int]:
    """The first maximum in row-major order; NaN beats every number, and the last NaN wins."""
    rows = [row for row in _window(module, i, 0) if 0 <= row < x.shape[0]]
    columns = [column for column in _window(module, j, 1) if 0 <= column < x.shape[1]]
    best: tuple[int, int] | None = None
    for place in itertools.product(rows, columns):
        if best is None or x[place] > x[best] or numpy.isnan(x[place]):
            best = place
    return best or (-1, -1)


@rule(AvgPool2d)
def avg_pool(use: Use, tensor: str, index: Index) -> Terms:
    windows = _windows_with(use, index)
    divisors = numpy.array([_divisor(use.module, use.inputs[0].data.shape[-2:], window) for window in windows])
    there = product_of(one(index[:-2]), windows)
    factor = Factor("1/d", 1 / divisors)
    formula = "dx = Σ dy[window] / d[window] over the windows that contain the pixel"
    return Terms(formula, (ops.avg_pool2d_backward, "share ="), there, dy_at(use, there), (factor,))


def _divisor(module: AvgPool2d, size: tuple[int, int], window: Array) -> int:
    """How many positions of the window count: all up to the end of the padding, or those in the image."""
    if module.divisor_override is not None:
        return module.divisor_override
    margins = pair(module.padding) if module.count_include_pad else (0, 0)
    covered = [_window(module, int(window[axis]), axis) for axis in (0, 1)]
    counts = [
        sum(-margins[axis] <= position < size[axis] + margins[axis] for position in covered[axis]) for axis in (0, 1)
    ]
    return counts[0] * counts[1]


@rule(AdaptiveAvgPool2d)
def adaptive_avg_pool(use: Use, tensor: str, index: Index) -> Terms:
    shapes = zip(use.inputs[0].data.shape[-2:], use.output.data.shape[-2:], strict=True)
    spans = [[(i * size // out, -(-(i + 1) * size // out)) for i in range(out)] for size, out in shapes]
    hits = [[i for i, (start, end) in enumerate(spans[axis]) if start <= index[axis - 2] < end] for axis in (0, 1)]
    windows = numpy.array(list(itertools.product(*hits)), dtype=int).reshape(-1, 2)
    sizes = [float(numpy.prod([spans[axis][w[axis]][1] - spans[axis][w[axis]][0] for axis in (0, 1)])) for w in windows]
    there = product_of(one(index[:-2]), windows)
    factor = Factor("1/d", 1 / numpy.array(sizes).reshape(-1))
    formula = "dx = Σ dy[window] / (pixels in the window) over the windows that contain the pixel"
    return Terms(formula, (ops.adaptive_avg_pool2d_backward, "dx[..., rows"), there, dy_at(use, there), (factor,))
