"""The judge: calls the learner's functions, compares, and says what is wrong in words that help.

In this order: does the file run, are the functions there with the right arguments; for each call, does it return the
right number of arrays, of the right shape and dtype, without NaN, without changing its arguments; are the numbers those
of this library's op; is the backward pass the derivative of the forward pass (gradcheck). Wrong numbers are compared
with those of every exhibit of the museum that belongs to the op.
"""

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from scratchnet.ops.shape import Array
from scratchnet.study.exercises.load import Problem, guarded, load
from scratchnet.study.exercises.task import Exercise, Outputs, Trial
from scratchnet.study.gradcheck import gradcheck
from scratchnet.study.hints import hint
from scratchnet.study.museum.exhibit import EXHIBITS, HEALTHY, Exhibit
from scratchnet.study.report import numbers, place

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}


@dataclass
class Judgement:
    """`passed` lists what is right, in order; `problem` is the first thing that is not, and `advice` what helps."""

    passed: list[str] = field(default_factory=list)
    problem: str = ""
    advice: list[str] = field(default_factory=list)
    exhibits: list[str] = field(default_factory=list)
    report: str = ""

    @property
    def ok(self) -> bool:
        return not self.problem


def judge(exercise: Exercise, path: Path) -> Judgement:
    judgement = Judgement()
    try:
        functions = load(path, exercise.functions)
        for name, function in functions.items():
            _check_signature(exercise, name, function)
        for dtype in ("float64", "float32"):
            for trial in exercise.trials(dtype):
                _judge_trial(exercise, path, functions, trial, dtype, judgement)
                if not judgement.ok:
                    return judgement
        _check_gradients(exercise, path, functions, judgement)
    except Problem as problem:
        judgement.problem = str(problem)
    return judgement


def _check_signature(exercise: Exercise, name: str, function: Callable) -> None:
    wanted = exercise.signature(name)
    try:
        given = inspect.signature(function)
        given.bind(*wanted.parameters)
    except (TypeError, ValueError):
        raise Problem(f"expected {name}{wanted}, got {name}{given}") from None


def _judge_trial(
    exercise: Exercise,
    path: Path,
    functions: Mapping[str, Callable],
    trial: Trial,
    dtype: str,
    judgement: Judgement,
) -> None:
    right = trial.expected(HEALTHY)
    mine = _called(path, functions[trial.function], trial, right)
    title = f"{trial.function}, {trial.title}, {dtype}"
    for name, value in right.items():
        _check_form(f"{title}: {name}", mine[name], numpy.asarray(value), dtype)
    wrong = [name for name, value in right.items() if not _close(mine[name], value, dtype)]
    if not wrong:
        judgement.passed.append(title)
        return
    judgement.problem = f"{title}: {', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} wrong"
    for name in wrong:
        judgement.advice += _differences(name, mine[name], numpy.asarray(right[name]))
    for exhibit, names in _relatives(exercise, trial, mine, right, wrong, dtype):
        judgement.exhibits.append(exhibit.name)
        judgement.advice.append(
            f"your {' and '.join(names)} equal{'s' if len(names) == 1 else ''} that of the museum's exhibit "
            f"'{exhibit.name}' ({exhibit.title}). {exhibit.notice} See: scratchnet museum show {exhibit.name}"
        )
    judgement.report = _gradcheck_report(path, functions, trial)


def _called(path: Path, function: Callable, trial: Trial, right: Outputs) -> Outputs:
    """What the function returns, by name, after a look at its arguments."""
    arguments = copy.deepcopy(trial.arguments)
    title = f"{trial.function}, {trial.title}"
    with guarded(path, title):
        result = function(*arguments.values())
    for name, before in trial.arguments.items():
        if isinstance(before, numpy.ndarray) and not numpy.array_equal(before, arguments[name], equal_nan=True):
            index = tuple(int(i) for i in numpy.argwhere(arguments[name] != before)[0])
            raise Problem(
                f"{title}: it changed its argument {name} (first at {place(index)}), which belongs to the caller: "
                "an operation such as -= or x[…] = works in place; work on a copy"
            )
    if result is None:
        raise Problem(f"{title}: it returned None: is a return missing?")
    if len(right) == 1:
        result = result if isinstance(result, tuple) and len(result) == 1 else (result,)
    if not isinstance(result, tuple | list) or len(result) != len(right):
        got = f"{len(result)} values" if isinstance(result, tuple | list) else f"one {type(result).__name__}"
        raise Problem(f"{title}: expected {len(right)} values, {', '.join(right)}; it returned {got}")
    return dict(zip(right, result, strict=True))


def _check_form(what: str, mine: Any, right: Array, dtype: str) -> None:
    if not isinstance(mine, numpy.ndarray | numpy.generic) and not (right.ndim == 0 and isinstance(mine, float)):
        raise Problem(f"{what} is no array but {type(mine).__name__}")
    array = numpy.asarray(mine)
    if array.shape != right.shape:
        transposed = ": transposed?" if array.shape == right.shape[::-1] else ""
        raise Problem(f"{what} has shape {array.shape}, expected {right.shape}{transposed}")
    if isinstance(mine, numpy.ndarray | numpy.generic) and array.dtype != right.dtype:
        raise Problem(
            f"{what} is {array.dtype} for arguments of {dtype}: numpy.zeros without a dtype makes float64, and a "
            "float64 array makes float64 of whatever it meets"
        )
    if numpy.isfinite(right).all() and not numpy.isfinite(array).all():
        index = tuple(int(i) for i in numpy.argwhere(~numpy.isfinite(array))[0])
        raise Problem(
            f"{what} is {array[index]} at {place(index)}: a division by zero, e to a large number or the logarithm of 0"
        )


def _close(a: Any, b: Any, dtype: str) -> bool:
    a, b = (numpy.asarray(value, "float64") for value in (a, b))
    return bool(numpy.linalg.norm(a - b) <= TOLERANCE[dtype] * numpy.linalg.norm(b) + 1e-300)


def _differences(name: str, mine: Array, right: Array) -> list[str]:
    mine, right = numpy.asarray(mine, "float64"), right.astype("float64")
    off = abs(mine - right)
    index = tuple(int(i) for i in numpy.unravel_index(off.argmax(), off.shape))
    count = int((off > 1e-6 * abs(right).max()).sum())
    yours, expected = numbers(float(mine[index]), float(right[index]), False)
    told = f"{name}: {count} of {off.size} elements are off, most at {place(index)}: yours {yours}, right {expected}"
    pattern = hint(mine, right, count)
    return [told, *([f"{name}: {pattern} (numeric is the right one, analytic is yours)"] if pattern else [])]


def _relatives(
    exercise: Exercise, trial: Trial, mine: Outputs, right: Outputs, wrong: list[str], dtype: str
) -> list[tuple[Exhibit, list[str]]]:
    """The exhibits that get the same wrong numbers, and which; those that explain the most outputs first."""
    found: list[tuple[Exhibit, list[str]]] = []
    bugs = [(e, bug) for e in EXHIBITS.values() if _belongs(e, exercise) for bug in (e.bug, *e.variants)]
    for exhibit, bug in bugs:
        try:
            outputs = trial.expected(bug)
        except (ValueError, TypeError, IndexError, RuntimeError):
            continue  # this exhibit cannot even compute it
        same = [
            name
            for name in wrong
            if numpy.shape(outputs[name]) == numpy.shape(right[name])
            and _close(mine[name], outputs[name], dtype)
            and not _close(outputs[name], right[name], dtype)
        ]
        if same:
            found.append((exhibit, same))
    most = max((len(same) for _, same in found), default=0)
    best = {exhibit.name: (exhibit, same) for exhibit, same in found if len(same) == most}
    return list(best.values())


def _belongs(exhibit: Exhibit, exercise: Exercise) -> bool:
    replaced = {name.removesuffix("_backward") for name in exhibit.bug.overrides}
    return bool(replaced & set(exercise.ops)) or (exhibit.bug.optimizer is not None and exhibit.case in exercise.ops)


def _gradcheck_report(path: Path, functions: Mapping[str, Callable], trial: Trial) -> str:
    """What gradcheck says of a backward function, "" where it has nothing to say."""
    if trial.gradcheck is None:
        return ""
    forward, backward, inputs = trial.gradcheck(functions)

    def named(*values: Array) -> Any:
        return forward(*values)

    named.__name__ = trial.function.removesuffix("_backward")
    kind = inspect.Parameter.POSITIONAL_ONLY
    signature = inspect.Signature([inspect.Parameter(name, kind) for name in inputs])
    vars(named)["__signature__"] = signature  # gives the rows of the report their names
    try:
        with guarded(path, "gradcheck"):
            report = gradcheck((named, backward), *inputs.values())
    except Problem:
        return ""
    return "" if report.ok else str(report)


def _check_gradients(exercise: Exercise, path: Path, functions: Mapping[str, Callable], judgement: Judgement) -> None:
    """gradcheck of every backward function, once its numbers are right."""
    for trial in exercise.trials("float64"):
        if trial.gradcheck is None:
            continue
        report = _gradcheck_report(path, functions, trial)
        if report:
            judgement.problem = f"{trial.function}, {trial.title}: the gradient is not that of the forward pass"
            judgement.report = report
            return
        judgement.passed.append(f"{trial.function}, {trial.title}: gradcheck")
