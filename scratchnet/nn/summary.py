"""A network as a table: each step's output shape, parameters, arithmetic, and what it saves for backward."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy

from scratchnet.nn.activations import walk_forward
from scratchnet.nn.containers import Chain, Residual
from scratchnet.nn.conv import _Conv
from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array


class Row(NamedTuple):
    name: str  # dotted, as in `activations`
    kind: str
    output_shape: tuple[int, ...]
    parameters: int  # 0 where a module is used again
    mult_adds: int
    saved: int  # bytes that the step's cache holds beyond the parameters and what an earlier step holds


class Summary(NamedTuple):
    """str(summary) is the table. The conventions of the totals are torchinfo's, so that figures can be compared.

    mult_adds: a convolution does (weights + biases) · OH · OW of them for each image, any other layer one for each
    parameter. forward_backward: twice the bytes of the outputs of all layers with parameters. saved is measured.
    """

    rows: list[Row]
    input_shape: tuple[int, ...]
    parameters: int
    mult_adds: int
    forward_backward: int
    saved: int

    def __str__(self) -> str:
        cells = [("step", "layer", "output shape", "parameters", "mult-adds", "saved for backward")]
        for row in self.rows:
            shape = " × ".join(map(str, row.output_shape))
            counts = f"{row.parameters:,}" if row.parameters else "–", f"{row.mult_adds:,}" if row.mult_adds else "–"
            cells.append((row.name, row.kind, shape, *counts, _megabytes(row.saved) if row.saved else "–"))
        widths = [max(len(line[i]) for line in cells) for i in range(6)]
        lines = [
            "  ".join(_pad(text, w, right=i > 2) for i, (text, w) in enumerate(zip(c, widths, strict=True)))
            for c in cells
        ]
        rule = "─" * len(lines[0])
        totals = (
            f"input {' × '.join(map(str, self.input_shape))}",
            f"{self.parameters:,} parameters",
            f"{self.mult_adds / 1e6:,.2f} M mult-adds",
            f"forward/backward {self.forward_backward / 1e6:.2f} MB (torchinfo's estimate)",
            f"saved for backward {_megabytes(self.saved)} (measured)",
        )
        return "\n".join([lines[0], rule, *lines[1:], rule, *totals])


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1e4 else f"{size:,} B"


def summary(model: Module, input_shape: tuple[int, ...]) -> Summary:
    """Run a copy of the model once, in training mode, on zeros of that shape, and tabulate its steps.

    Steps of a Chain and of the paths of a Residual are listed one by one; any other module is one row.
    """
    model = model.copy().train()
    dtype = next((parameter.dtype for parameter in model.parameters()), numpy.dtype("float32"))
    held = {_buffer(parameter.data) for parameter in model.parameters()}
    counted: set[int] = set()
    rows: list[Row] = []

    def visit(name: str, module: Module, y: Array, cache: Any) -> None:
        if isinstance(module, Chain | Residual):
            return  # its steps have been visited
        new = [parameter for parameter in module.parameters() if id(parameter) not in counted]
        counted.update(map(id, new))
        sizes = sum(parameter.size for parameter in new)
        rows.append(Row(name, type(module).__name__, y.shape, sizes, _mult_adds(module, y), _saved(cache, held)))

    y, cache = walk_forward(model, numpy.zeros(input_shape, dtype), "", visit)
    visit("", model, y, cache)
    outputs = sum(math.prod(row.output_shape) for row in rows if row.mult_adds)
    return Summary(
        rows,
        input_shape,
        parameters=sum(row.parameters for row in rows),
        mult_adds=sum(row.mult_adds for row in rows),
        forward_backward=2 * outputs * dtype.itemsize,
        saved=sum(row.saved for row in rows),
    )


def _mult_adds(module: Module, y: Array) -> int:
    parameters = sum(parameter.size for parameter in module.parameters())
    pixels = math.prod(y.shape[2:]) if isinstance(module, _Conv) else 1
    return parameters * y.shape[0] * pixels


def _saved(cache: Any, held: set[int]) -> int:
    """Bytes of the arrays in a cache that nothing holds yet; they are held from now on."""
    total = 0
    for array in _arrays(cache):
        if _buffer(array) not in held:
            held.add(_buffer(array))
            total += array.nbytes
    return total


def _arrays(cache: Any) -> Iterator[numpy.ndarray]:
    if isinstance(cache, numpy.ndarray):
        yield cache
    elif isinstance(cache, tuple | list):
        for part in cache:
            yield from _arrays(part)


def _buffer(array: numpy.ndarray) -> int:
    """Where the array's memory begins: a view has the address of what it is a view of."""
    while isinstance(array.base, numpy.ndarray):
        array = array.base
    return array.__array_interface__["data"][0]
