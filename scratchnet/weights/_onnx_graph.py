"""An ONNX graph while it grows: nodes, weights, and names that are taken."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy

from scratchnet.nn.module import Module


class Step(NamedTuple):
    """A layer to be translated: where it stands, and the shapes that it takes and gives for the exported size."""

    name: str
    module: Any
    x: str  # the name of its input in the graph
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]


def import_onnx() -> ModuleType:
    try:
        import onnx
    except ImportError:
        raise RuntimeError("ONNX files take the onnx package: pip install 'scratchnet[onnx]'") from None
    return onnx


class Graph:
    """Nodes in order, and initializers, which hold the weights and constants."""

    def __init__(self, model: Module, opset: int, reserved: Sequence[str]) -> None:
        self.opset = opset
        self._helper = import_onnx().helper
        self._nodes: list[Any] = []
        self._initializers: dict[str, numpy.ndarray] = {}
        self._keys: dict[tuple[int, str], str] = {}  # (module, attribute) → key of the state_dict
        for key, (module, attribute, _) in model._slots():
            self._keys.setdefault((id(module), attribute), key)
        self._taken = {*reserved, *self._keys.values()}

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node; its output has the node's name, which is returned, as the graph may have to change it."""
        name = self._free(name)
        self._nodes.append(self._helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, module: Module, attribute: str) -> str:
        """A parameter or buffer under its name in the state_dict, which modules used twice share."""
        key = self._keys[id(module), attribute]
        self._initializers[key] = numpy.asarray(getattr(module, attribute))
        return key

    def constant(self, name: str, value: Any) -> str:
        """An array that belongs to no module."""
        name = self._free(name)
        self._initializers[name] = numpy.asarray(value)
        return name

    def _free(self, name: str) -> str:
        number, free = 2, name
        while free in self._taken:
            free, number = f"{name}_{number}", number + 1
        self._taken.add(free)
        return free

    def finish(self, name: str, x: tuple[str, tuple], y: tuple[str, str, tuple]) -> Any:
        """The model: x is (name, shape) of its input, y (name in the graph, name to get, shape) of its output."""
        helper, onnx = self._helper, import_onnx()
        last, y_name, y_shape = y
        if last == x[0]:  # nothing computes
            self._nodes.append(helper.make_node("Identity", [last], [y_name], name=y_name))
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [y_name if n == last and last != x[0] else n for n in names]
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(x[0], onnx.TensorProto.FLOAT, x[1])],
            [helper.make_tensor_value_info(y_name, onnx.TensorProto.FLOAT, y_shape)],
            [onnx.numpy_helper.from_array(array, key) for key, array in self._initializers.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        version = helper.find_min_ir_version_for(opsets)
        return helper.make_model(graph, opset_imports=opsets, ir_version=version, producer_name="scratchnet")
