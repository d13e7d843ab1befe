"""The terms of the gradients of convolutions, for any number of image axes.

Along an axis, window i looks with kernel position u at position i·stride + u·dilation − before, counted from the
first pixel. `_sources` tabulates which pixel that is: itself inside the image, outside what the padding mode puts
there, or −1 for a zero.
"""

from typing import Any

import numpy

from scratchnet import ops
from scratchnet.nn.conv import Conv1d, Conv2d, ConvTranspose2d
from scratchnet.ops.shape import Array
from scratchnet.study.trace_graph import Use
from scratchnet.study.trace_terms import Factor, Index, Terms, at, dy_at, one, product_of, rule

_NUMPY_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _sources(size: int, out: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int], mode: str) -> Array:
    """Which pixel window i sees at kernel position u: (out, kernel), −1 where it sees a zero of the padding."""
    pixels = numpy.arange(size)
    if mode == "zeros":
        padded = numpy.pad(pixels, pads, constant_values=-1)
    else:
        padded = numpy.pad(pixels, pads, mode=_NUMPY_MODES[mode])
    return padded[numpy.arange(out)[:, None] * stride + numpy.arange(kernel) * dilation]


def _pads(module: Any, axis: int) -> tuple[int, int]:
    """What padding comes before and after an axis of the image."""
    if module.padding == "same":
        total = module.dilation[axis] * (module.kernel_size[axis] - 1)
        return total // 2, total - total // 2
    padding = 0 if module.padding == "valid" else module.padding[axis]
    return padding, padding


def _tables(use: Use) -> list[Array]:
    """`_sources` of every image axis."""
    module, x, y = use.module, use.inputs[0].data, use.output.data
    axes = len(module.kernel_size)
    return [
        _sources(
            x.shape[axis - axes],
            y.shape[axis - axes],
            module.kernel_size[axis],
            module.stride[axis],
            module.dilation[axis],
            _pads(module, axis),
            module.padding_mode,
        )
        for axis in range(axes)
    ]


def _images(use: Use) -> Array:
    """The batch indices (N, 1), or (1, 0) for an input without the batch axis."""
    x = use.inputs[0].data
    batched = x.ndim == len(use.module.kernel_size) + 2
    return numpy.arange(len(x))[:, None] if batched else numpy.empty((1, 0), int)


@rule(Conv1d, Conv2d)
def convolution(use: Use, tensor: str, index: Index) -> Terms:
    module, x, weight = use.module, use.inputs[0].data, use.module.weight.data
    letters = "i, j" if len(module.kernel_size) == 2 else "i"
    if tensor == "bias":
        return _bias(use, index, letters, ops.conv2d_backward)
    tables = _tables(use)
    per_group_in, per_group_out = weight.shape[1], len(weight) // module.groups
    if tensor == "weight":
        o, c, *taps = index
        channel = o // per_group_out * per_group_in + c
        windows = [numpy.flatnonzero(table[:, u] >= 0) for table, u in zip(tables, taps, strict=True)]
        pixels = [table[i, u] for table, i, u in zip(tables, windows, taps, strict=True)]
        there = product_of(_images(use), one((o,)), *windows)
        inputs = product_of(_images(use), one((channel,)), *pixels)
        formula = f"dweight[o, c, tap] = Σ_{{n, {letters}}} dy[n, o, {letters}] · x[n, c, what ({letters}) sees there]"
        total = len(_images(use)) * int(numpy.prod([len(table) for table in tables]))
        note = f"{total - len(there)} of {total} windows see padding here, which is 0" if total > len(there) else ""
        factor = Factor("x", at(x, inputs), inputs)
        return Terms(formula, (ops.conv2d_backward, "dweight ="), there, dy_at(use, there), (factor,), note=note)
    *n, c = index[: -len(tables)]
    group, within = divmod(c, per_group_in)
    outputs = group * per_group_out + numpy.arange(per_group_out)
    hits = [numpy.argwhere(table == pixel) for table, pixel in zip(tables, index[-len(tables) :], strict=True)]
    there = product_of(one(tuple(n)), outputs, *[hit[:, 0] for hit in hits])
    weights = product_of(outputs, one((within,)), *[hit[:, 1] for hit in hits])
    formula = f"dx[n, c, pixel] = Σ dy[n, o, {letters}] · weight[o, c, tap] over all that see the pixel at a tap"
    factor = Factor("weight", at(weight, weights), weights)
    return Terms(formula, (ops.conv2d_backward, "dcols ="), there, dy_at(use, there), (factor,))


def _bias(use: Use, index: Index, letters: str, backward: Any) -> Terms:
    image = use.output.data.shape[-len(use.module.kernel_size) :]
    there = product_of(_images(use), one(index), *map(numpy.arange, image))
    formula = f"dbias[o] = Σ_{{n, {letters}}} dy[n, o, {letters}]"
    return Terms(formula, (backward, "dbias ="), there, dy_at(use, there))


@rule(ConvTranspose2d)
def transposed(use: Use, tensor: str, index: Index) -> Terms:
    """Pixel i lays its kernel on output positions i·stride + u·dilation − padding."""
    module, x, weight = use.module, use.inputs[0].data, use.module.weight.data
    backward = ops.conv_transpose2d_backward
    if tensor == "bias":
        return _bias(use, index, "i, j", backward)
    targets = [_targets(use, axis) for axis in range(2)]  # (H, KH) and (W, KW): −1 where cut off by padding
    per_group_in, per_group_out = len(weight) // module.groups, weight.shape[1]
    if tensor == "weight":
        c, o, *taps = index
        pixels = [numpy.flatnonzero(table[:, u] >= 0) for table, u in zip(targets, taps, strict=True)]
        hit = [table[i, u] for table, i, u in zip(targets, pixels, taps, strict=True)]
        inputs = product_of(_images(use), one((c,)), *pixels)
        there = product_of(_images(use), one((c // per_group_in * per_group_out + o,)), *hit)
        formula = "dweight[c, o, u, v] = Σ_{n, i, j} x[n, c, i, j] · dy[n, o, where pixel (i, j) puts tap (u, v)]"
        factor = Factor("x", at(x, inputs), inputs)
        return Terms(formula, (backward, "dweight ="), there, dy_at(use, there), (factor,))
    *n, c, i, j = index
    taps_of = [numpy.flatnonzero(table[p] >= 0) for table, p in zip(targets, (i, j), strict=True)]
    hit = [table[p, u] for table, p, u in zip(targets, (i, j), taps_of, strict=True)]
    outputs = numpy.arange(per_group_out)
    there = product_of(one(tuple(n)), outputs + c // per_group_in * per_group_out, *hit)
    weights = product_of(one((c,)), outputs, *taps_of)
    formula = "dx[n, c, i, j] = Σ_{o, u, v} dy[n, o, where pixel (i, j) puts tap (u, v)] · weight[c, o, u, v]"
    factor = Factor("weight", at(weight, weights), weights)
    return Terms(formula, (backward, "dx ="), there, dy_at(use, there), (factor,))


def _targets(use: Use, axis: int) -> Array:
    module = use.module
    size, out = (shape[axis - 2] for shape in (use.inputs[0].data.shape, use.output.data.shape))
    position = numpy.arange(size)[:, None] * module.stride[axis] - module.padding[axis]
    position = position + numpy.arange(module.kernel_size[axis]) * module.dilation[axis]
    return numpy.where((position >= 0) & (position < out), position, -1)
