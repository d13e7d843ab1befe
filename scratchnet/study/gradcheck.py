"""Is a backward pass the derivative of its forward pass? Checked by finite differences, in float64.

The output y may have many elements, so one number is checked: φ = ⟨v, y⟩ = Σ_j v_j·y_j with random weights v. By the
chain rule its gradient is what backward(v) returns. Each element of it is a slope of φ, and a slope can be measured;
how, and how exactly, is in scratchnet/study/differences.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy

from scratchnet.nn.module import Module
from scratchnet.ops.shape import Array
from scratchnet.study.analytic import Analytic
from scratchnet.study.differences import Differences, Line, Verdict
from scratchnet.study.hints import hint
from scratchnet.study.report import Report, Result, numbers, place, ratio, size
from scratchnet.study.subject import FunctionSubject, ModuleSubject, Subject

MODES = ("auto", "elements", "directions")
ELEMENTS_LIMIT = 4000  # where "auto" goes over to directions


@dataclass(frozen=True)
class TensorCheck(Result):
    """One tensor's gradient. error = |analytic − numeric| / what the difference allows, at its worst; ≤ 1 passes.

    index is the worst element, or (k,) for the k-th direction; analytic and numeric are the two slopes there. Of the
    `checked` slopes `wrong` disagree, and `kinks` lie on a kink of the function.
    """

    analytic: float | None = None
    numeric: float | None = None
    checked: int = 0
    wrong: int = 0
    kinks: int = 0

    def cells(self) -> list[str]:
        counts = [str(count or "") for count in (self.checked, self.wrong, self.kinks)]
        return [
            *(self.name, size(self.shape), *counts, ratio(self.error)),
            *(place(self.index), *numbers(self.analytic, self.numeric, self.ok)),
        ]


class GradcheckReport(Report[TensorCheck]):
    """One `TensorCheck` for each input and parameter; `mode` is how they were checked: elements or directions."""

    header = ("tensor", "shape", "checked", "wrong", "kinks", "error", "worst at", "analytic", "numeric")

    def __init__(self, subject: str, how: str, results: Sequence[TensorCheck], mode: str) -> None:
        super().__init__(subject, how, results)
        self.mode = mode


def gradcheck(
    target: Module | tuple[Callable, Callable],
    *inputs: Array,
    mode: str = "auto",
    directions: int = 8,
    tol: float = 1e-7,
    seed: int = 0,
) -> GradcheckReport:
    """Compare the gradients that a backward pass computes with finite differences of its forward pass.

    ::

        gradcheck(nn.Conv2d(2, 3, 3), x).check()
        gradcheck((my_forward, my_backward), x, weight, bias).check()
        print(gradcheck(model, x))

    A deviation passes if |analytic − numeric| ≤ tol · s + rounding. s is the sum that makes the slope, taken over
    absolute terms, s = Σ_j |v_j · ∂y_j/∂x_i|, and the rounding error of the difference is measured. There is no
    absolute constant, so it does not matter in which units a gradient is large. A gradient that is zero by
    mathematics, such as that of a bias in front of BatchNorm, has to be zero up to rounding. With tol = 1e-7 an error
    of one part in a million of s fails.

    Kinks (ReLU at 0, a tie in a max pool) are recognised and counted. There the slope differs between the two sides,
    and any value between them passes; what lies outside fails. Elements that lie on kinks are also moved all
    together, which tells whether tied maxima share one gradient or each get all of it. Which of tied maxima wins is
    a convention that no derivative decides: `parity` compares it with torch. Where many kinks inside a network meet in
    one point (images with blank regions, inputs and biases of zeros) right code can fail too: use random inputs.

    Args:
        target: a Module, or a pair (forward, backward) of functions with ``y, cache = forward(*inputs)`` and
            ``gradients = backward(dy, cache)``, which returns a tuple with one array for each input, None for one
            that has no gradient, or a single array where only one input is floating-point. A module is copied, so
            that its weights, gradients, buffers and counters stay as they are; it runs in its current mode, and its
            state is put back before each evaluation: dropout has the same mask, BatchNorm the same buffers. A module
            that takes several inputs and returns one gradient, as the losses do, is checked for the first input.
        inputs: NumPy arrays. Floating-point ones are converted to float64, and so is the module: float32 is too
            coarse for differences. Integer ones (targets) are passed on unchanged.
        mode: "elements" checks each element of each tensor, at two forward passes an element; "directions" moves all
            elements of a tensor at once along random directions u and compares ⟨gradient, u⟩ with the slope along u,
            which is fast but dilutes an error in a single element; "auto" takes elements up to 4000 of them in all.
        directions: how many directions for each tensor.
        tol: the allowed deviation relative to s.
        seed: of v and of the directions.

    Returns:
        GradcheckReport. Wrong shapes, wrong dtypes, a wrong number of gradients and writing into dy or an input are
        results that fail, with a note that says what is wrong. An exception inside your functions comes through.

    Raises:
        TypeError: target is neither a module nor a pair of functions, an input is no NumPy array, or forward does
            not return a pair (y, cache).
        ValueError: a bad mode, tol or number of directions; no input and no parameter is floating-point; forward
            gives different outputs on the same inputs (a random mask that is drawn anew, for instance).

    Sources: the directional test is that of Chainer's and autograd's test utilities; C. Ridders, "Accurate
    computation of F′(x) and F′(x)F″(x)", 1982, for steps that shrink under an error bar.
    """
    if mode not in MODES:
        raise ValueError(f"gradcheck: expected mode as one of {', '.join(MODES)}, got {mode!r}")
    if not (isinstance(directions, int) and directions >= 1):
        raise ValueError(f"gradcheck: expected directions ≥ 1, got {directions!r}")
    if not 0 < tol < 1:
        raise ValueError(f"gradcheck: expected tol between 0 and 1, got {tol!r}")
    subject = _subject(target, inputs)
    rng = numpy.random.default_rng(seed)
    analytic = Analytic(subject, rng)
    results = [TensorCheck(f.name, f.shape, float("inf"), f.index, f"{f.name}: {f.note}") for f in analytic.faults]
    if mode == "auto":
        elements = sum(tensor.size for tensor in subject.tensors.values())
        mode = "elements" if elements <= ELEMENTS_LIMIT else "directions"
    if analytic.gradients:
        differences = Differences(analytic.y, analytic.v, analytic.output_rounding(), tol)
        for name in analytic.gradients:
            check = _Check(name, analytic, differences)
            results.append(check.elements() if mode == "elements" else check.directions(directions, rng))

    detail = "every element" if mode == "elements" else f"{directions} random directions for each tensor"
    how = f"gradcheck in float64, {detail}; error is |analytic − numeric| over what is allowed"
    return GradcheckReport(subject.name, how, results, mode)


def _subject(target: Any, inputs: Sequence[Any]) -> Subject:
    if isinstance(target, Module):
        return ModuleSubject(target, inputs)
    if isinstance(target, tuple | list) and len(target) == 2 and all(map(callable, target)):
        forward, backward = target
        return FunctionSubject(forward, backward, inputs)
    raise TypeError(f"gradcheck: expected a Module or a pair (forward, backward) of functions, got {target!r}")


class _Check:
    """The check of one tensor's gradient."""

    def __init__(self, name: str, analytic: Analytic, differences: Differences) -> None:
        self.name, self.analytic, self.differences = name, analytic, differences
        self.tensor = analytic.subject.tensors[name]
        self.gradient = analytic.gradients[name]
        self.unit = _typical_size(self.tensor)

    def elements(self) -> TensorCheck:
        verdicts: dict[tuple[int, ...], Verdict] = {}
        for index in numpy.ndindex(self.tensor.shape):
            verdicts[index] = self._element(index)
        result = self._summary(verdicts, {index: float(self.gradient[index]) for index in verdicts})
        if not result.wrong:
            return self._kinks_together(verdicts, result) if result.kinks > 1 else result
        numeric = numpy.reshape([verdict.numeric for verdict in verdicts.values()], self.tensor.shape)
        note = result.note or hint(self.gradient, numeric, result.wrong)
        if not note and result.wrong < result.checked:
            note = f"{result.wrong} of {result.checked} elements {'is' if result.wrong == 1 else 'are'} wrong"
        return self._noted(result, note)

    def _element(self, index: tuple[int, ...]) -> Verdict:
        unit = max(abs(float(self.tensor[index])), self.unit)  # steps are relative to it

        def line(t: float) -> tuple[Array, float]:
            before = self.tensor[index]
            self.tensor[index] = before + t * unit
            moved = float(self.tensor[index] - before) / unit
            y = self.analytic.subject.output()
            self.tensor[index] = before
            return y, moved

        return self._compare(line, float(self.gradient[index]), unit)

    def _kinks_together(self, verdicts: dict[tuple[int, ...], Verdict], result: TensorCheck) -> TensorCheck:
        """Tied elements that rise together stay tied, and the function is smooth along that line."""
        kinks = numpy.reshape([verdict.sides is not None for verdict in verdicts.values()], self.tensor.shape)
        slope = float(self.gradient[kinks].sum())
        verdict = self._compare(self._line(kinks * self.unit), slope, self.unit, int(kinks.sum()))
        if verdict.ok:
            return result
        note = (
            f"the {result.kinks} elements on kinks, moved together, give the slope {verdict.numeric:.6g}, and their "
            f"gradients sum to {slope:.6g}: does every tied maximum get the gradient instead of one of them?"
        )
        index = next(index for index, v in verdicts.items() if v.sides is not None)
        result = replace(result, error=verdict.error, index=index, analytic=slope, numeric=verdict.numeric)
        return self._noted(replace(result, wrong=result.kinks), verdict.note or note)

    def directions(self, count: int, rng: numpy.random.Generator) -> TensorCheck:
        sizes = numpy.maximum(abs(self.tensor), self.unit)
        verdicts: dict[tuple[int, ...], Verdict] = {}
        slopes: dict[tuple[int, ...], float] = {}
        for k in range(count if self.tensor.size else 0):
            u = sizes * rng.choice([-1.0, 1.0], self.tensor.shape) * rng.uniform(0.5, 1.5, self.tensor.shape)
            slopes[k,] = float((self.gradient * u).sum())
            verdicts[k,] = self._compare(self._line(u), slopes[k,], 1.0, float(abs(u).sum()))
        result = self._summary(verdicts, slopes)
        if not result.wrong:
            return result
        numeric = numpy.array([verdict.numeric for verdict in verdicts.values()])
        return self._noted(result, result.note or hint(numpy.array(list(slopes.values())), numeric, result.wrong))

    def _line(self, u: Array) -> Line:
        before = self.tensor.copy()

        def line(t: float) -> tuple[Array, float]:
            self.tensor[...] = before + t * u
            y = self.analytic.subject.output()
            self.tensor[...] = before
            return y, t

        return line

    def _compare(self, line: Line, slope: float, unit: float, weight: float = 1.0) -> Verdict:
        """The verdict on a slope, which is `unit` times smaller than along the line.

        weight is by how much the rounding error of one element counts in the slope.
        """
        rounding = min(self.analytic.rounding[self.name] * weight * unit, self.analytic.rounding_limit)
        verdict = self.differences.compare(line, slope * unit, rounding)
        if verdict.sides is not None and not verdict.ok:
            low, high = (side / unit for side in verdict.sides)
            note = (
                f"a kink: the slope is {low:.6g} on one side and {high:.6g} on the other, and this is not between "
                "them; where several kinks meet, as in blank regions of an image, check a randomly moved point instead"
            )
            verdict = verdict._replace(note=note)
        return verdict._replace(numeric=verdict.numeric / unit)

    def _summary(self, verdicts: dict[tuple[int, ...], Verdict], slopes: dict[tuple[int, ...], float]) -> TensorCheck:
        """The worst of all verdicts, and the counts."""
        if not verdicts:
            return TensorCheck(self.name, self.tensor.shape, 0.0)
        index = max(verdicts, key=lambda i: verdicts[i].error)
        worst = verdicts[index]
        result = TensorCheck(
            *(self.name, self.tensor.shape, worst.error, index, "", slopes[index], worst.numeric),
            checked=len(verdicts),
            wrong=sum(not verdict.ok for verdict in verdicts.values()),
            kinks=sum(verdict.sides is not None for verdict in verdicts.values()),
        )
        return self._noted(result, worst.note)

    def _noted(self, result: TensorCheck, note: str) -> TensorCheck:
        prefix = f"{self.name}: "
        return replace(result, note=prefix + note.removeprefix(prefix)) if note else result


def _typical_size(tensor: Array) -> float:
    """The root mean square of the elements; 1 where all are zero and there is no size to go by."""
    return float(numpy.sqrt(numpy.mean(numpy.square(tensor)))) or 1.0 if tensor.size else 1.0
