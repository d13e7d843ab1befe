"""A model as an ONNX file, derived from its chain.

Source: the operators of ONNX, https://onnx.ai/onnx/operators/
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from scratchnet import backend
from scratchnet.nn import Chain, Concat, Module, Residual, no_grad
from scratchnet.nn.fuse import Fused
from scratchnet.weights import _onnx_layers
from scratchnet.weights._onnx_graph import Graph, Step, import_onnx
from scratchnet.weights.files import write

OLDEST_OPSET = 13  # the first whose Softmax means what torch's does


class _Value(NamedTuple):
    """An intermediate array: its name in the graph, and what it is for an input of zeros, which tells its shape."""

    name: str
    sample: numpy.ndarray


def to_onnx(
    model: Module,
    input_shape: Sequence[int | None],
    path: str | os.PathLike[str] | None = None,
    *,
    opset: int = 17,
    input_name: str = "input",
    output_name: str = "logits",
    metadata: Mapping[str, str] | None = None,
) -> Any:
    """The model in evaluation mode as an ONNX graph: dropout is gone, BatchNorm uses its running statistics.

    ::

        scratchnet.weights.to_onnx(model, (None, 3, 32, 32), "model.onnx")

    Every step of a Chain becomes the operators that compute it. Intermediate values have the names of `activations`,
    weights those of the state_dict. The weights are float32. The model is left as it is.

    Args:
        model: a Chain, a Sequential, or any module of `scratchnet.nn`, nested as deep as you like.
        input_shape: (N, C, H, W) for images; None in place of N takes batches of any size. The other axes are fixed.
        path: where to write it, if it is to be written.
        opset: the version of ONNX's operators. The older, the more runtimes read it.
        input_name, output_name: what the graph calls x and y.
        metadata: strings that the file carries as metadata_props.

    Returns:
        onnx.ModelProto: checked by onnx.checker.

    Raises:
        NotImplementedError: a module with a forward of its own, which nothing can be derived from; max pooling that
            returns indices.
        ValueError: input_shape does not fit the model; an opset that is not there.
        RuntimeError: the onnx package is missing.
    """
    onnx = import_onnx()
    if not isinstance(model, Module):
        raise TypeError(f"to_onnx: expected a module, got {type(model).__name__}")
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise ValueError(f"to_onnx: expected an opset between {OLDEST_OPSET} and {newest}, got {opset}")
    shape = _checked_shape(input_shape)
    original = model.original if isinstance(model, Fused) else model
    model = original.copy().to("cpu").float().eval()
    graph = Graph(model, opset, (input_name, output_name))
    with no_grad(), backend.use("im2col"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Softmax without dim has warned in training
        y = _translate(graph, "", model, _Value(input_name, numpy.zeros(shape, "float32")))

    batch = "batch" if input_shape[0] is None else shape[0]
    y_batch = batch if y.sample.shape[:1] == shape[:1] else None
    proto = graph.finish(
        type(original).__name__,
        (input_name, (batch, *shape[1:])),
        (y.name, output_name, (y_batch, *y.sample.shape[1:])),
    )
    onnx.helper.set_model_props(proto, dict(metadata or {}))
    onnx.checker.check_model(proto, full_check=True)
    if path is not None:
        write(Path(path), proto.SerializeToString())
    return proto


def _checked_shape(input_shape: Sequence[int | None]) -> tuple[int, ...]:
    """The shape of the sample: two images stand for a batch of any size."""
    sizes = tuple(input_shape)
    whole = (2, *sizes[1:]) if sizes and sizes[0] is None else sizes
    if len(whole) < 2 or not all(isinstance(n, int) and n > 0 for n in whole):
        raise ValueError(
            "to_onnx: expected input_shape as sizes with the batch axis first, such as (None, 3, 32, 32), "
            f"got {input_shape!r}"
        )
    return whole  # type: ignore[return-value]


def _translate(graph: Graph, name: str, module: Module, x: _Value) -> _Value:
    """Add the operators of a module to the graph; inner modules have dotted names, as in `activations`."""
    dot = f"{name}." if name else ""
    kind = type(module)
    if kind.forward is Chain.forward:
        for step_name, step in module.chain:
            x = _translate(graph, dot + step_name, step, x)
        return x
    if kind.forward is Residual.forward:
        main, shortcut = (_translate(graph, dot + part, getattr(module, part), x) for part in ("main", "shortcut"))
        sample = _compute(name, module, x)
        return _Value(graph.node("Add", [main.name, shortcut.name], name or "residual"), sample)
    if kind.forward is Concat.forward:
        branches = [_translate(graph, dot + part, branch, x).name for part, branch in module.named_children()]
        sample = _compute(name, module, x)
        return _Value(graph.node("Concat", branches, name or "concat", axis=module.dim % sample.ndim), sample)

    layer = _onnx_layers.find(kind)
    if layer is None:
        raise NotImplementedError(
            f"to_onnx: {name or 'the model'} ({kind.__name__}) has a forward of its own, from which no ONNX can be "
            "derived. Build it as an nn.Chain of the modules of scratchnet.nn; or save its weights for torch, with "
            "weights.save(model.state_dict(), 'model.pt'), and export the same model from there"
        )
    y = _compute(name, module, x)
    return _Value(layer(graph, Step(name or kind.__name__.lower(), module, x.name, x.sample.shape, y.shape)), y)


def _compute(name: str, module: Module, x: _Value) -> numpy.ndarray:
    try:
        y, _ = module.forward(x.sample)
    except (ValueError, TypeError) as error:
        raise ValueError(f"to_onnx: {name}: {error}") from None
    if not isinstance(y, numpy.ndarray):
        raise NotImplementedError(f"to_onnx: {name}: {module} gives {len(y)} outputs, of which a chain has one")
    return y
