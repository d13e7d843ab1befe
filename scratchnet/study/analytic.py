"""The gradients that a backward pass computes at a point, and what is wrong with them before any number is compared."""

from dataclasses import dataclass
from typing import Any

import numpy

from scratchnet.ops.shape import Array
from scratchnet.study.report import place
from scratchnet.study.subject import Subject

EPS = float(numpy.finfo("float64").eps)
JIGGLE = 2.0**-40  # changes all the bits that rounding depends on, and no digit that a comparison sees
PROBES = 3
SAME = 1e-9  # two runs that differ by more than this fraction do not differ by rounding


@dataclass(frozen=True)
class Fault:
    """Something wrong that no difference quotient is needed for."""

    name: str
    note: str
    shape: tuple[int, ...] = ()
    index: tuple[int, ...] | None = None


class Analytic:
    """What a subject's backward pass makes of random output weights v.

    gradients     by name, those that have the right shape and dtype
    faults        everything else, and arrays that were written into
    rounding      by name: how far off an element of the gradient can be, measured
    """

    def __init__(self, subject: Subject, rng: numpy.random.Generator) -> None:
        self.subject, self._rng = subject, rng
        self.faults: list[Fault] = []
        self.gradients: dict[str, Array] = {}
        self.rounding: dict[str, float] = {}
        self.rounding_limit = 0.0
        if not subject.tensors:
            raise ValueError(f"gradcheck: {subject.name} has no floating-point input and no parameter to check")

        before = _copies(subject)
        with numpy.errstate(all="ignore"):
            y, cache = subject.forward()
        self.y = numpy.array(y)
        self._find_changes(before, "forward")
        if not self._usable(self.y):
            return
        self._check_repeatable()
        shape = self.y.shape
        # None of them is so small that an output is not seen.
        self.v = numpy.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape))
        self._take_gradients(cache, before)
        self._measure_rounding()

    def _usable(self, y: Array) -> bool:
        if y.dtype != numpy.dtype("float64"):
            note = f"forward gives {y.dtype} for float64 inputs: is a dtype written into it?"
            self.faults.append(Fault("output", note, y.shape))
            return False
        finite = numpy.isfinite(y)
        if not finite.all():
            index = _first(~finite)
            note = f"forward gives {y[index]} at {place(index)}, where there is no slope"
            self.faults.append(Fault("output", note, y.shape, index))
        return bool(finite.all())

    def _check_repeatable(self) -> None:
        difference = abs(self.subject.output() - self.y).max(initial=0.0)
        if not difference <= SAME * abs(self.y).max(initial=0.0):
            raise ValueError(
                f"gradcheck: {self.subject.name} gives different outputs for the same inputs; draw random numbers "
                "from a generator that is seeded inside forward, so that every call sees the same ones"
            )

    def _take_gradients(self, cache: Any, before: dict[str, Array]) -> None:
        dy = self.v.copy()
        with numpy.errstate(all="ignore"):
            gradients, complaints = self.subject.backward(dy, cache)
        self.faults += [Fault(name, note) for name, note in complaints]
        if not numpy.array_equal(dy, self.v):
            index = _first(dy != self.v)
            note = f"backward wrote into it (first at {place(index)}); it belongs to the caller: work on a copy"
            self.faults.append(Fault("dy", note, dy.shape, index))
        self._find_changes(before, "backward")
        for name, tensor in self.subject.tensors.items():
            if name not in gradients:
                continue
            gradient = gradients[name]
            note = _complaint(gradient, tensor, self.subject.kinds[name])
            if note:
                self.faults.append(Fault(name, note, tensor.shape))
            else:
                self.gradients[name] = numpy.array(gradient)

    def _find_changes(self, before: dict[str, Array], who: str) -> None:
        """Note every array that is not what it was, and put it back."""
        for name, array in _arrays(self.subject).items():
            changed = (array != before[name]) & ~((array != array) & (before[name] != before[name]))
            if changed.any():
                index = _first(changed)
                note = f"{who} wrote into it (first at {place(index)}); it belongs to the caller: work on a copy"
                self.faults.append(Fault(name, note, array.shape, index))
                array[...] = before[name]

    def _measure_rounding(self) -> None:
        """How much a gradient moves when dy moves so little that only the rounding of its terms can change.

        A gradient that is zero by mathematics is this small and no smaller. backward is linear in dy, so that
        nothing else moves it, unless it is wrong; hence the limit.
        """
        self.rounding_limit = SAME * float((abs(self.v) * abs(self.y)).sum())
        self.rounding = dict.fromkeys(self.gradients, 0.0)
        before = _copies(self.subject)
        for _ in range(PROBES):
            with numpy.errstate(all="ignore"):
                _, cache = self.subject.forward()
                gradients, _ = self.subject.backward(self._jiggled(self.v, JIGGLE), cache)
            for name, gradient in self.gradients.items():
                moved = abs(numpy.asarray(gradients[name]) - gradient)
                self.rounding[name] = max(self.rounding[name], float(numpy.nan_to_num(moved).max(initial=0.0)))
            for name, array in _arrays(self.subject).items():
                array[...] = before[name]

    def output_rounding(self) -> Array:
        """How far off each element of y can be: ε, or what it moves when all arguments change in their last bits."""
        rounding = EPS * abs(self.y)
        before = _copies(self.subject)
        for _ in range(PROBES):
            for tensor in self.subject.tensors.values():
                tensor[...] = self._jiggled(tensor, EPS)
            moved = abs(self.subject.output() - self.y)
            rounding = numpy.maximum(rounding, numpy.where(numpy.isfinite(moved), moved, 0))
            for name, tensor in self.subject.tensors.items():
                tensor[...] = before[name]
        return rounding

    def _jiggled(self, x: Array, step: float) -> Array:
        """x with every element changed by one or two steps, relative to itself."""
        return numpy.asarray(x * (1 + step * self._rng.choice([-2.0, -1.0, 1.0, 2.0], x.shape)))


def _arrays(subject: Subject) -> dict[str, Array]:
    """Every array that backward must leave alone: all inputs, the integer ones too, and all parameters."""
    return {**dict(zip(subject.input_names, subject.inputs, strict=True)), **subject.tensors}


def _copies(subject: Subject) -> dict[str, Array]:
    return {name: array.copy() for name, array in _arrays(subject).items()}


def _first(mask: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in numpy.argwhere(mask)[0])


def _complaint(gradient: Any, tensor: Array, kind: str) -> str:
    """What is wrong with a gradient besides its values."""
    if gradient is None:
        return "backward gave no gradient"
    if not isinstance(gradient, numpy.ndarray | numpy.generic):
        return f"the gradient is no array but {type(gradient).__name__}"
    if gradient.shape != tensor.shape:
        transposed = ": transposed?" if gradient.shape == tensor.shape[::-1] else ""
        return f"the gradient has shape {gradient.shape}, {kind} {tensor.shape}{transposed}"
    if gradient.dtype != tensor.dtype:
        return f"the gradient is {gradient.dtype}, {kind} {tensor.dtype}: is a dtype written into backward?"
    return ""
