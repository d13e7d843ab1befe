"""Does a module compute what torch's computes? Outputs, gradients and buffers, tensor by tensor."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy

from scratchnet.nn.dropout import Dropout
from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array
from scratchnet.study.report import Index, Report, Result, numbers, place, ratio, size, title_of
from scratchnet.study.scales import INPUT, record, scales
from scratchnet.study.subject import input_names

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@dataclass(frozen=True)
class TensorParity(Result):
    """One tensor of ours and torch's. error = ‖ours − torch‖ / (tol · max(‖torch‖, s)); at most 1 passes.

    index is where the two differ most; ours and torch are the values there.
    """

    ours: float | None = None
    torch: float | None = None

    def cells(self) -> list[str]:
        return [
            *(self.name, size(self.shape), ratio(self.error)),
            *(place(self.index), *numbers(self.ours, self.torch, self.ok)),
        ]


class ParityReport(Report[TensorParity]):
    """One `TensorParity` for the output, each input's and parameter's gradient, and each buffer.

    Names are "output", "x.grad", "conv1.weight.grad", "bn1.running_mean".
    """

    header = ("tensor", "shape", "error", "worst at", "ours", "torch")


def parity(
    ours: Module, torch_module: Any, *inputs: Array, dy: Array | None = None, tol: float | None = None
) -> ParityReport:
    """Run a module of ours and torch's on the same numbers, forward and backward, and compare every tensor.

    ::

        parity(nn.Conv2d(3, 8, 5, padding=2), torch.nn.Conv2d(3, 8, 5, padding=2), x).check()

    torch's state_dict is loaded into ours, so the two must have the same keys. Both are deep copies: weights,
    gradients, buffers and modes of what you pass stay as they are. They run on the CPU, each in its present mode.

    A tensor passes if ‖ours − torch‖ ≤ L · tol · max(‖torch‖, s), with L the number of layer calls in the module
    (1 for a layer), since each adds a rounding error of its own. s is computed, layer by layer: the norm of the sum
    that made the tensor, taken over the absolute values of its terms. It says how small a sum can be
    by cancellation and still be right, as the gradient of a bias in front of BatchNorm is, which is zero by
    mathematics. Layers that this library does not know have s = 0: the bare relative error. NaN and infinities have
    to be in the same places.

    In float32 a ReLU's input that is zero up to rounding may be positive here and negative there, and then the
    gradients differ by more than rounding; compare deep networks in float64. A difference in one of n equal elements
    is 1/√n of the norm.

    Args:
        ours: a Module of this library or your own; a criterion takes (input, target).
        torch_module: a torch.nn.Module with the same state_dict keys.
        inputs: NumPy arrays. The floating-point ones are all float32 or all float64, and both modules run in that;
            integer ones are class indices. Of several inputs those are compared that our backward function returns
            gradients for: the first if it returns one array, else each that is not None.
        dy: the gradient of the output, of its shape and dtype; by default standard normal numbers, always the same,
            and 1 for a scalar loss.
        tol: the tolerance for one layer; by default 1e-12 in float64 and 1e-5 in float32.

    Raises:
        ImportError: torch is not installed.
        TypeError, ValueError: arguments that are no modules or arrays, mixed dtypes, different keys or shapes in the
            two state_dicts, one module in training mode and the other in evaluation, or dropout in training: the two
            draw different masks, so use .eval() or p=0.
    """
    torch = _import_torch()
    if not isinstance(ours, Module):
        raise TypeError(f"parity: expected ours as a scratchnet Module, got {type(ours).__name__}")
    if not isinstance(torch_module, torch.nn.Module):
        raise TypeError(f"parity: expected torch_module as a torch.nn.Module, got {type(torch_module).__name__}")
    if tol is not None and not tol > 0:
        raise ValueError(f"parity: expected tol > 0, got {tol!r}")
    dtype = _dtype(inputs)
    _check_modes(torch, ours, torch_module)

    theirs = _Theirs(torch, torch_module, inputs, dtype)
    mine = _Ours(ours, theirs.module.state_dict(), inputs, dtype)  # the state before torch's forward moves it
    theirs.forward()
    mine.forward()
    tol = TOLERANCE[dtype] if tol is None else tol
    results = _Results(tol * max(len(mine.calls), 1))
    if mine.y.shape == tuple(theirs.y.shape):
        dy = _gradient(dy, mine.y, dtype)
        mine.backward(dy)
        theirs.backward(dy)
        s = scales(mine.calls, mine.module, mine.inputs[0], mine.y)
        s[f"{mine.input_names[0]}.grad"] = s.get(INPUT, 0.0)
        reference = theirs.tensors(mine.input_names)
        for name, value in mine.tensors().items():
            results.add(name, value, reference.get(name), s.get(name, 0.0))
        for name, now, then in zip(("dy", *mine.input_names), (mine.dy, *mine.inputs), (dy, *inputs), strict=True):
            results.unchanged(name, now, then)
    else:  # no dy fits both
        results.add("output", mine.y, theirs.y.detach().numpy(), 0.0)

    mode = "training" if ours.training else "evaluation"
    layers = f" for each of {len(mine.calls)} layer calls" if len(mine.calls) > 1 else ""
    how = f"parity with torch in {dtype}, {mode} mode; error is ‖ours − torch‖ over what is allowed, {tol:g}{layers}"
    return ParityReport(title_of(ours), how, results.rows)


class _Ours:
    """Our side: a copy with torch's state, and what it computes by name."""

    def __init__(self, module: Module, state: dict[str, Any], inputs: Sequence[Array], dtype: str) -> None:
        self.input_names = input_names(module.forward, len(inputs), [name for name, _ in module.named_parameters()])
        self.module = module.copy().to("cpu").to(dtype)
        self.module.zero_grad()
        try:
            self.module.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"parity: torch's state does not fit into ours: {error}") from None
        self.inputs = [x.copy() for x in inputs]
        self.calls = record(self.module)

    def forward(self) -> None:
        self.y, self._cache = self.module.forward(*self.inputs)

    def backward(self, dy: Array) -> None:
        self.dy = dy.copy()
        dx = self.module.backward(self.dy, self._cache)
        self._dx = dx if isinstance(dx, tuple | list) else (dx,)

    def tensors(self) -> dict[str, Array | None]:
        tensors = {"output": self.y}
        for name, x, dx in zip(self.input_names, self.inputs, self._dx, strict=False):
            if x.dtype.kind == "f" and dx is not None:
                tensors[f"{name}.grad"] = dx
        tensors |= {f"{name}.grad": parameter.grad for name, parameter in self.module.named_parameters()}
        return tensors | dict(self.module.named_buffers())


class _Theirs:
    """torch's side."""

    def __init__(self, torch: ModuleType, module: Any, inputs: Sequence[Array], dtype: str) -> None:
        self.module = copy.deepcopy(module).to("cpu").to(getattr(torch, dtype))
        self.module.zero_grad()
        self._torch = torch
        self._inputs = [
            torch.from_numpy(x.copy()).requires_grad_() if x.dtype.kind == "f" else torch.from_numpy(x.astype("int64"))
            for x in inputs
        ]

    def forward(self) -> None:
        self.y = self.module(*self._inputs)

    def backward(self, dy: Array) -> None:
        if self.y.requires_grad:
            self.y.backward(self._torch.from_numpy(dy.copy()))

    def tensors(self, names: Sequence[str]) -> dict[str, Array | None]:
        tensors = {"output": self.y}
        tensors |= {f"{name}.grad": x.grad for name, x in zip(names, self._inputs, strict=True)}
        tensors |= {f"{name}.grad": parameter.grad for name, parameter in self.module.named_parameters()}
        tensors |= dict(self.module.named_buffers())
        return {name: None if value is None else value.detach().numpy() for name, value in tensors.items()}


class _Results:
    def __init__(self, tol: float) -> None:
        self.tol = tol
        self.rows: list[TensorParity] = []

    def add(self, name: str, ours: Any, torch: Array | None, s: Any) -> None:
        """Compare one tensor; s is an array of absolute sums, or 0."""
        if ours is None and torch is None:
            return
        if ours is None or torch is None:
            there = numpy.asarray(torch if ours is None else ours)
            self._fault(name, there.shape, f"{'ours' if ours is None else 'torch'} has none")
            return
        ours = numpy.asarray(ours)
        if ours.shape != torch.shape:
            transposed = ": transposed?" if ours.shape == torch.shape[::-1] else ""
            self._fault(name, ours.shape, f"ours has shape {ours.shape}, torch's {torch.shape}{transposed}")
        elif ours.dtype != torch.dtype and "f" in (ours.dtype.kind, torch.dtype.kind):
            self._fault(name, ours.shape, f"ours is {ours.dtype}, torch's {torch.dtype}")
        else:
            self.rows.append(self._compare(name, ours, torch, s))

    def unchanged(self, name: str, now: Array, then: Array) -> None:
        """A fault if an array that belongs to the caller is not what it was."""
        same = (now == then) | ((now != now) & (then != then))
        if not same.all():
            index = _first(~same)
            self._fault(
                name, then.shape, f"ours wrote into it (first at {place(index)}); it belongs to the caller", index
            )

    def _fault(self, name: str, shape: tuple[int, ...], note: str, index: Index = None) -> None:
        self.rows.append(TensorParity(name, shape, float("inf"), index, f"{name}: {note}"))

    def _compare(self, name: str, ours: Array, torch: Array, s: Any) -> TensorParity:
        finite = numpy.isfinite(ours) & numpy.isfinite(torch)
        same = (ours == torch) | (numpy.isnan(ours) & numpy.isnan(torch))
        if not (finite | same).all():
            index = _first(~(finite | same))
            note = f"{name}: NaN or inf in one and not in the other at {place(index)}"
            return TensorParity(name, ours.shape, float("inf"), index, note, float(ours[index]), float(torch[index]))
        if not ours.size:
            return TensorParity(name, ours.shape, 0.0)
        a, b = (numpy.where(finite, x, 0).astype("float64") for x in (ours, torch))
        difference = abs(a - b)
        index = tuple(int(i) for i in numpy.unravel_index(difference.argmax(), ours.shape))
        bound = self.tol * max(_norm(b), _norm(s)) if ours.dtype.kind == "f" else 0.0
        deviation = _norm(difference)
        error = deviation / bound if bound else (float("inf") if deviation else 0.0)
        return TensorParity(name, ours.shape, error, index, "", float(ours[index]), float(torch[index]))


def _norm(x: Any) -> float:
    """‖x‖ over the finite elements, without overflow on the way."""
    x = numpy.asarray(x, dtype="float64")
    x = x[numpy.isfinite(x)]
    largest = float(abs(x).max(initial=0.0))
    return largest * float(numpy.linalg.norm(x / largest)) if largest else 0.0


def _first(mask: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in numpy.argwhere(mask)[0])


def _import_torch() -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"parity needs PyTorch, which cannot be imported ({error}): pip install torch") from None
    return torch


def _dtype(inputs: Sequence[Any]) -> str:
    """The floating-point dtype that all inputs share."""
    if not inputs:
        raise ValueError("parity: expected at least one input, got none")
    for i, x in enumerate(inputs):
        if not isinstance(x, numpy.ndarray):
            raise TypeError(f"parity: expected input {i} as a NumPy array, got {type(x).__name__}")
    dtypes = {x.dtype.name for x in inputs if x.dtype.kind == "f"}
    if len(dtypes) != 1 or not dtypes <= TOLERANCE.keys():
        got = ", ".join(x.dtype.name for x in inputs)
        raise TypeError(f"parity: expected floating-point inputs, all of float32 or all of float64, got {got}")
    return dtypes.pop()


def _check_modes(torch: ModuleType, ours: Module, torch_module: Any) -> None:
    if ours.training != torch_module.training:
        modes = ["training" if m.training else "evaluation" for m in (ours, torch_module)]
        raise ValueError(
            f"parity: ours is in {modes[0]} mode and torch's in {modes[1]}: call .train() or .eval() on both"
        )
    for model, kind in ((ours, Dropout), (torch_module, torch.nn.modules.dropout._DropoutNd)):
        for module in model.modules():
            if isinstance(module, kind) and module.training and 0 < module.p < 1:
                raise ValueError(
                    f"parity: {module!r} in training draws a mask that differs from the other framework's: "
                    "call .eval() on both, or set p=0"
                )


def _gradient(dy: Array | None, y: Array, dtype: str) -> Array:
    if dy is None:
        return numpy.asarray(numpy.random.default_rng((0, 1)).standard_normal(y.shape) if y.shape else 1.0, dtype)
    dy = numpy.asarray(dy)
    if dy.shape != y.shape or dy.dtype != dtype:
        raise ValueError(f"parity: expected dy of {dtype} and shape {y.shape}, got {dy.dtype} and {dy.shape}")
    return dy
