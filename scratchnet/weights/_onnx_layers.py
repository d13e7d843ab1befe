"""Each layer as ONNX operators: a function (graph, step) → the name of its output.

Heights and widths are fixed in the file, so what depends on them (the overhang of ceil_mode, the windows of adaptive
pooling) is worked out here. That leaves nothing to the corners in which versions of ONNX and its runtimes differ.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from scratchnet import nn
from scratchnet.functional import _check as check
from scratchnet.weights._onnx_graph import Graph, Step

Pads = Sequence[tuple[int, int]]  # (before, after) of each image axis


def find(kind: type[nn.Module]) -> Callable[[Graph, Step], str] | None:
    """The translation of a class of modules, or of one derived from it that leaves forward as it is."""
    bases = (base for base in kind.__mro__ if base in LAYERS and kind.forward is base.forward)
    return next((LAYERS[base] for base in bases), None)


def conv(graph: Graph, step: Step) -> str:
    module, x = step.module, step.x
    _needs_batch(step, 2 + len(module.kernel_size))
    if module.padding == "same":
        totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        pads: Pads = [(total // 2, total - total // 2) for total in totals]
    else:
        pads = [(p, p) for p in module.padding] if module.padding != "valid" else [(0, 0)] * len(module.kernel_size)
    if module.padding_mode != "zeros":
        x = _pad(graph, step, x, pads, module.padding_mode)
        pads = [(0, 0)] * len(pads)
    return graph.node(
        "Conv",
        [x, *_weights(graph, module)],
        step.name,
        kernel_shape=module.kernel_size,
        strides=module.stride,
        dilations=module.dilation,
        group=module.groups,
        pads=_begins_then_ends(pads),
    )


def conv_transpose(graph: Graph, step: Step) -> str:
    """output_padding is less cropped at the end, and where nothing is left to crop, zeros behind the input.

    As an attribute it has to be below the stride in onnxruntime, in torch below stride or dilation.
    """
    module = step.module
    _needs_batch(step, 4)
    axes = list(zip(module.padding, module.output_padding, module.stride, strict=True))
    zeros = [-(-max(0, extra - p) // s) for p, extra, s in axes]
    pads = [(p, p - extra + n * s) for (p, extra, s), n in zip(axes, zeros, strict=True)]
    return graph.node(
        "ConvTranspose",
        [_pad(graph, step, step.x, [(0, n) for n in zeros], "constant"), *_weights(graph, module)],
        step.name,
        kernel_shape=module.kernel_size,
        strides=module.stride,
        dilations=module.dilation,
        group=module.groups,
        pads=_begins_then_ends(pads),
    )


def max_pool(graph: Graph, step: Step) -> str:
    module, x = step.module, step.x
    kernel, dilation = _pair(module.kernel_size), _pair(module.dilation)
    strides, pads = _windows(step, dilation)
    if any(after >= k for (_, after), k in zip(pads, kernel, strict=True)):  # more than onnxruntime takes
        x = _pad(graph, step, x, pads, "constant", -math.inf)
        pads = [(0, 0), (0, 0)]
    return graph.node(
        "MaxPool",
        [x],
        step.name,
        kernel_shape=kernel,
        strides=strides,
        dilations=dilation,
        pads=_begins_then_ends(pads),
    )


def avg_pool(graph: Graph, step: Step) -> str:
    """torch counts padding pixels if it is told to, and the overhang of ceil_mode never."""
    module, x = step.module, step.x
    kernel, padding = _pair(module.kernel_size), _pair(module.padding)
    strides, pads = _windows(step, (1, 1))
    divisor = module.divisor_override
    if divisor is not None:  # the mean of whole windows, zeros included, times their size, over the divisor
        x = _pad(graph, step, x, pads, "constant")
        pads = [(0, 0), (0, 0)]
    elif module.count_include_pad and max(padding) > 0:  # padding becomes pixels, the overhang stays padding
        x = _pad(graph, step, x, [(p, p) for p in padding], "constant")
        pads = [(0, after - p) for (_, after), p in zip(pads, padding, strict=True)]
    name = step.name if divisor is None else f"{step.name}/mean"
    y = graph.node(
        "AveragePool", [x], name, kernel_shape=kernel, strides=strides, pads=_begins_then_ends(pads)
    )  # count_include_pad is 0 unless it is given
    if divisor is None:
        return y
    factor = graph.constant(f"{step.name}/factor", numpy.float32(math.prod(kernel) / divisor))
    return graph.node("Mul", [y, factor], step.name)


def adaptive_avg_pool(graph: Graph, step: Step) -> str:
    """Windows of uneven sizes are a product with matrices: y = rows · x · columnsᵀ, image by image."""
    _needs_batch(step, 4)
    (h, w), (oh, ow) = step.x_shape[2:], step.y_shape[2:]
    if 0 in (oh, ow):
        raise NotImplementedError(f"to_onnx: {step.name}: an output of shape {step.y_shape} holds nothing")
    if (oh, ow) == (1, 1):
        return graph.node("GlobalAveragePool", [step.x], step.name)
    if h % oh == 0 and w % ow == 0:
        size = h // oh, w // ow
        return graph.node("AveragePool", [step.x], step.name, kernel_shape=size, strides=size)
    rows = graph.constant(f"{step.name}/rows", _means(h, oh))  # (OH, H)
    columns = graph.constant(f"{step.name}/columns", _means(w, ow).T.copy())  # (W, OW)
    y = graph.node("MatMul", [rows, step.x], f"{step.name}/down")  # (N, C, OH, W)
    return graph.node("MatMul", [y, columns], step.name)  # (N, C, OH, OW)


def _means(size: int, out: int) -> numpy.ndarray:
    """(out, size): row i takes the mean of ⌊i·size/out⌋ … ⌈(i+1)·size/out⌉."""
    matrix = numpy.zeros((out, size), "float32")
    for i in range(out):
        start, stop = i * size // out, -(-(i + 1) * size // out)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def batch_norm(graph: Graph, step: Step) -> str:
    module, ones = step.module, numpy.ones(step.module.num_features, "float32")
    scale = graph.weight(module, "weight") if module.weight is not None else graph.constant(f"{step.name}/weight", ones)
    shift = graph.weight(module, "bias") if module.bias is not None else graph.constant(f"{step.name}/bias", 0 * ones)
    if module.running_mean is None:
        mean, var = _batch_statistics(graph, step)
    else:
        mean, var = graph.weight(module, "running_mean"), graph.weight(module, "running_var")
    return graph.node("BatchNormalization", [step.x, scale, shift, mean, var], step.name, epsilon=module.eps)


def _batch_statistics(graph: Graph, step: Step) -> tuple[str, str]:
    """The mean and the biased variance of each channel, for track_running_stats=False."""
    axes = [axis for axis in range(len(step.x_shape)) if axis != 1]
    options, more = ({"axes": axes}, []) if graph.opset < 18 else ({}, [graph.constant(f"{step.name}/axes", axes)])
    kept = graph.node("ReduceMean", [step.x, *more], f"{step.name}/mean_kept", **options)
    centred = graph.node("Sub", [step.x, kept], f"{step.name}/centred")
    square = graph.node("Mul", [centred, centred], f"{step.name}/square")
    mean = graph.node("ReduceMean", [step.x, *more], f"{step.name}/mean", keepdims=0, **options)
    return mean, graph.node("ReduceMean", [square, *more], f"{step.name}/var", keepdims=0, **options)


def linear(graph: Graph, step: Step) -> str:
    module = step.module
    if len(step.x_shape) == 2:
        return graph.node("Gemm", [step.x, *_weights(graph, module)], step.name, transB=1)
    weight = graph.constant(f"{step.name}/weight_t", module.weight.data.T.copy())  # (I, O)
    if module.bias is None:
        return graph.node("MatMul", [step.x, weight], step.name)
    y = graph.node("MatMul", [step.x, weight], f"{step.name}/product")
    return graph.node("Add", [y, graph.weight(module, "bias")], step.name)


def flatten(graph: Graph, step: Step) -> str:
    ndim = len(step.x_shape)
    start, end = (check.axis("Flatten", n, getattr(step.module, n), ndim) for n in ("start_dim", "end_dim"))
    if start == end:
        return step.x
    if (start, end) == (1, ndim - 1):
        return graph.node("Flatten", [step.x], step.name, axis=1)
    shape = graph.constant(f"{step.name}/shape", [-1, *step.y_shape[1:]])  # −1: as much as there is
    return graph.node("Reshape", [step.x, shape], step.name)


def gelu(graph: Graph, step: Step) -> str:
    """x·½·(1 + erf(x/√2)), or its tanh form; the operator Gelu is younger than the runtimes of many."""
    name, x = step.name, step.x

    def by(number: float, which: str) -> str:
        return graph.constant(f"{name}/{which}", numpy.float32(number))

    if step.module.approximate == "tanh":  # tanh(√(2/π)·(x + 0.044715·x³)) = tanh(x·(√(2/π) + c·x²))
        square = graph.node("Mul", [x, x], f"{name}/square")
        cubic = graph.node("Mul", [square, by(math.sqrt(2 / math.pi) * 0.044715, "c")], f"{name}/cubic")
        slope = graph.node("Add", [cubic, by(math.sqrt(2 / math.pi), "b")], f"{name}/slope")
        bend = graph.node("Tanh", [graph.node("Mul", [x, slope], f"{name}/z")], f"{name}/tanh")
    else:
        bend = graph.node("Erf", [graph.node("Mul", [x, by(math.sqrt(0.5), "root_half")], f"{name}/z")], f"{name}/erf")
    half = by(0.5, "half")
    share = graph.node("Add", [graph.node("Mul", [bend, half], f"{name}/scaled"), half], f"{name}/share")
    return graph.node("Mul", [x, share], name)


def same(graph: Graph, step: Step) -> str:
    """Identity, and dropout in evaluation: no operator."""
    return step.x


def _operator(name: str) -> Callable[[Graph, Step], str]:
    return lambda graph, step: graph.node(name, [step.x], step.name)


def _along(name: str) -> Callable[[Graph, Step], str]:
    def softmax(graph: Graph, step: Step) -> str:
        ndim, dim = len(step.x_shape), step.module.dim
        if dim is None:  # torch's guess
            dim = 0 if ndim in (1, 3) else 1
        return graph.node(name, [step.x], step.name, axis=dim % ndim)

    return softmax


LAYERS: dict[type[nn.Module], Callable[[Graph, Step], str]] = {
    nn.AdaptiveAvgPool2d: adaptive_avg_pool,
    nn.AvgPool2d: avg_pool,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    nn.Conv1d: conv,
    nn.Conv2d: conv,
    nn.ConvTranspose2d: conv_transpose,
    nn.Dropout: same,
    nn.Flatten: flatten,
    nn.GELU: gelu,
    nn.Identity: same,
    nn.LeakyReLU: lambda graph, step: graph.node("LeakyRelu", [step.x], step.name, alpha=step.module.negative_slope),
    nn.Linear: linear,
    nn.LogSoftmax: _along("LogSoftmax"),
    nn.MaxPool2d: max_pool,
    nn.ReLU: _operator("Relu"),
    nn.Sigmoid: _operator("Sigmoid"),
    nn.Softmax: _along("Softmax"),
    nn.Tanh: _operator("Tanh"),
}


def _weights(graph: Graph, module: nn.Module) -> list[str]:
    return [graph.weight(module, name) for name in ("weight", "bias") if getattr(module, name) is not None]


def _needs_batch(step: Step, ndim: int) -> None:
    if len(step.x_shape) != ndim:
        raise ValueError(
            f"to_onnx: {step.name}: expected an input of {ndim} axes, the batch first, got shape {step.x_shape}"
        )


def _pair(value: Any) -> tuple[int, int]:
    return check.integer_pair("to_onnx", "sizes", value, 0)


def _begins_then_ends(pads: Pads) -> list[int]:
    return [before for before, _ in pads] + [after for _, after in pads]


def _windows(step: Step, dilation: tuple[int, int]) -> tuple[tuple[int, int], Pads]:
    """Strides and pads of a pooling layer; padding reaches as far as the last window of ceil_mode."""
    _needs_batch(step, 4)
    kernel, padding = _pair(step.module.kernel_size), _pair(step.module.padding)
    strides = _pair(step.module.stride or kernel)
    sizes = zip(step.x_shape[2:], step.y_shape[2:], kernel, strides, padding, dilation, strict=True)
    ends = [(out - 1) * s + d * (k - 1) + 1 - size - p for size, out, k, s, p, d in sizes]
    return strides, [(p, max(p, end)) for p, end in zip(padding, ends, strict=True)]


def _pad(graph: Graph, step: Step, x: str, pads: Pads, mode: str, value: float = 0.0) -> str:
    """Pad the image axes, by an operator of its own."""
    name = f"{step.name}/pad"
    if not any(map(any, pads)):
        return x
    if mode == "circular":  # Pad learned to wrap in opset 19; picking pixels has always been there
        for axis, (size, around) in enumerate(zip(step.x_shape[2:], pads, strict=True), start=2):
            pixels = graph.constant(f"{name}/pixels", numpy.pad(numpy.arange(size), around, mode="wrap"))
            x = graph.node("Gather", [x, pixels], name, axis=axis)
        return x
    inputs = [x, graph.constant(f"{name}/widths", _begins_then_ends([(0, 0), (0, 0), *pads]))]  # N and C have none
    if mode == "constant":
        inputs.append(graph.constant(f"{name}/value", numpy.float32(value)))
    return graph.node("Pad", inputs, name, mode={"replicate": "edge"}.get(mode, mode))
