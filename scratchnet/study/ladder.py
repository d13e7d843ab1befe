"""The ladder: one op on every rung, timed forward and backward, with what it costs in memory.

    print(ladder("conv2d"))

Each rung computes the same numbers from the same arrays. What changes from rung to rung is how: nested Python loops,
array expressions over copied windows, compiled loops that keep sums in registers. PyTorch, if it is installed, stands
at the top. It is imported only when all rungs are timed, since two frameworks' threads disturb each other.
"""

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy

from scratchnet import backend, functional
from scratchnet.functional._call import Saved
from scratchnet.functional.conv import PaddedSaved
from scratchnet.ops.shape import Array
from scratchnet.study._ladder_cases import OPS, Case, Sizes, make_case, reduced, sizes_of
from scratchnet.study.report import table

LOOP_ITERATIONS = 100_000  # of nested Python loops: a fraction of a second
CALLS = 5  # at least


@dataclass(frozen=True)
class Step:
    """One rung. Times are medians in seconds; kept and scratch are bytes.

    scale is 1, or the factor by which the measured times were multiplied because the rung was timed on `sizes`
    smaller than asked for. kept is all that the cache refers to, scratch what of it is neither an input nor a part
    of one.
    """

    rung: str
    forward: float
    backward: float
    kept: int | None
    scratch: int | None
    scale: float
    sizes: Sizes
    multiply_adds: int

    @property
    def seconds(self) -> float:
        return self.forward + self.backward


@dataclass(frozen=True)
class Ladder:
    """The steps from the lowest up. peak is in floating-point operations a second, None where it was not measured."""

    op: str
    where: str
    sizes: Sizes
    dtype: str
    threads: int
    peak: float | None
    steps: list[Step]
    notes: list[str]

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __getitem__(self, rung: str) -> Step:
        for step in self.steps:
            if step.rung == rung:
                return step
        raise KeyError(f"ladder: {rung!r} was not timed; there are {', '.join(step.rung for step in self.steps)}")

    def speed_up(self, step: Step) -> float | None:
        """Times as fast as the step below."""
        index = self.steps.index(step)
        return self.steps[index - 1].seconds / step.seconds if index else None

    def share_of_peak(self, step: Step) -> float | None:
        """Of the multiplications and additions that the CPU could have done in that time.

        Backward is counted as twice forward: one product for dx and one for dweight.
        """
        if not self.peak or not step.multiply_adds:
            return None
        return 3 * 2 * step.multiply_adds / step.seconds / self.peak

    def __str__(self) -> str:
        header = ["rung", "forward ms", "backward ms", "both ms", "× rung below", "keeps", "scratch", "of peak"]
        rows = []
        for step in self.steps:
            speed_up, share = self.speed_up(step), self.share_of_peak(step)
            rows.append([
                "≈" if step.scale != 1 else "",
                step.rung,
                *(_milliseconds(value) for value in (step.forward, step.backward, step.seconds)),
                "" if speed_up is None else f"{speed_up:.3g}",
                *("" if count is None else _bytes(count) for count in (step.kept, step.scratch)),
                "" if share is None else f"{100 * share:.2g} %",
            ])  # fmt: skip
        sizes = ", ".join(f"{name} {value}" for name, value in self.sizes.items())
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        title = f"{self.op} ({self.where}): {self.dtype}, {threads}\n{sizes}"
        return "\n".join([title, "", *table(header, rows), "", *self.notes])

    def as_json(self) -> dict[str, Any]:
        steps = [
            {**asdict(step), "speed_up": self.speed_up(step), "share_of_peak": self.share_of_peak(step)}
            for step in self.steps
        ]
        return {**asdict(self), "steps": steps}


def ladder(
    op: str,
    changes: Sizes | None = None,
    rungs: tuple[str, ...] = ("loops", "im2col", "numba"),
    dtype: str = "float32",
    threads: int = 1,
    seconds: float = 0.3,
    torch: bool = True,
) -> Ladder:
    """Time an op on the rungs, and in PyTorch if it is installed; each pass for about that many seconds."""
    sizes = sizes_of(op, changes or {})
    steps: list[Step] = []
    notes: list[str] = []
    peak = None
    with _threads(threads, "numba" in rungs):
        for rung in rungs:
            if backend.implementation(op, rung).rung != rung:
                notes.append(f"{rung}: has no {op} of its own, and would run im2col's")
                continue
            steps.append(_climb(op, rung, sizes, dtype, seconds))
            if steps[-1].scale != 1:
                small = ", ".join(f"{k} {v}" for k, v in steps[-1].sizes.items() if v != sizes[k])
                notes.append(f"≈ {rung}: timed at {small}, and multiplied by {steps[-1].scale:,.0f}")
        if "numba" in rungs and any(step.multiply_adds for step in steps):
            from scratchnet.study._peak import peak_flops

            peak = peak_flops(dtype)
            notes.append(f"peak: {peak / 1e9:.0f} GFLOP/s, measured with the micro-kernel on numbers in cache")
        if torch:
            try:
                steps.append(_torch_step(op, sizes, dtype, threads, seconds))
            except ImportError:
                notes.append("torch: not installed (pip install 'scratchnet[torch]')")
    if not steps:
        raise RuntimeError(f"ladder: nothing to time: {'; '.join(notes)}")
    return Ladder(op, OPS[op].where, sizes, dtype, threads, peak, steps, [*notes, *_verdict(steps)])


def _verdict(steps: list[Step]) -> list[str]:
    ours = [step for step in steps if step.rung != "torch"]
    if not ours or steps[-1].rung != "torch":
        return []
    best = min(ours, key=lambda step: step.seconds)
    fast, slow = sorted((best, steps[-1]), key=lambda step: step.seconds)
    return [f"{fast.rung} is {slow.seconds / fast.seconds:.2f} times as fast as {slow.rung}, forward and backward"]


class _threads:
    """BLAS and the numba rung on that many threads for the length of a `with` block."""

    def __init__(self, threads: int, numba: bool) -> None:
        self.threads, self.numba = threads, numba

    def __enter__(self) -> None:
        from threadpoolctl import threadpool_limits

        if self.numba:
            from scratchnet.kernels.cpu import _compile

            self.before = _compile.get_num_threads()
            _compile.set_num_threads(self.threads)
            if _compile.get_num_threads() != self.threads:
                reached = _compile.get_num_threads()
                _compile.set_num_threads(self.before)
                raise ValueError(f"threads: expected at most {reached} here, got {self.threads}")
        self.limits = threadpool_limits(self.threads)

    def __exit__(self, *error: object) -> None:
        self.limits.restore_original_limits()
        if self.numba:
            from scratchnet.kernels.cpu import _compile

            _compile.set_num_threads(self.before)


def _climb(op: str, rung: str, sizes: Sizes, dtype: str, seconds: float) -> Step:
    small, scale = reduced(op, sizes, LOOP_ITERATIONS) if rung == "loops" else (sizes, 1.0)
    case = make_case(op, small, dtype)
    run = getattr(functional, op)
    run_backward = getattr(functional, f"{op}_backward")
    with backend.use(rung):
        forward = _median(lambda: run(*case.arrays, **case.options), seconds)
        result, cache = run(*case.arrays, **case.options)
        y = result[0] if isinstance(result, tuple) else result
        dy = numpy.ones_like(y)
        backward = _median(lambda: run_backward(dy, cache), seconds)
    kept, scratch = cache_bytes(cache, case.arrays) if scale == 1 else (None, None)  # a smaller call keeps less
    multiply_adds = make_case(op, sizes, dtype).multiply_adds if scale != 1 else case.multiply_adds
    return Step(rung, forward * scale, backward * scale, kept, scratch, scale, small, multiply_adds)


def _torch_step(op: str, sizes: Sizes, dtype: str, threads: int, seconds: float) -> Step:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        case: Case = make_case(op, sizes, dtype)
        tensors = [torch.from_numpy(array.copy()) for array in case.arrays]
        sources = [t.requires_grad_() for t, wanted in zip(tensors, case.differentiable, strict=True) if wanted]
        run = getattr(torch.nn.functional, op, None) or getattr(torch, op)

        def forward() -> Any:
            return run(*tensors, **case.options)

        forward_seconds = _median(forward, seconds)
        y = forward()
        dy = torch.ones_like(y)
        backward_seconds = _median(lambda: torch.autograd.grad(y, sources, dy, retain_graph=True), seconds)
    finally:
        torch.set_num_threads(before)
    return Step("torch", forward_seconds, backward_seconds, None, None, 1.0, sizes, case.multiply_adds)


def _median(call: Callable[[], Any], seconds: float) -> float:
    """The median time of a call after a first one, which compiles or fills caches."""
    times: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call()
        end = time.perf_counter() + seconds
        while len(times) < CALLS or time.perf_counter() < end:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
            if sum(times) > max(10 * seconds, 1.0):  # nested loops: what there is has to do
                break
    return statistics.median(times)


def cache_bytes(cache: Saved | PaddedSaved | Any, inputs: tuple[Array, ...]) -> tuple[int, int]:
    """Bytes of the arrays that a cache refers to, each counted once: all of them, and those that are no input's."""
    arrays = {id(array): array for array in _arrays(cache)}.values()
    scratch = [array for array in arrays if not any(numpy.may_share_memory(array, x) for x in inputs)]
    return sum(array.nbytes for array in arrays), sum(array.nbytes for array in scratch)


def _arrays(value: Any) -> Iterator[Array]:
    if isinstance(value, numpy.ndarray):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _arrays(item)


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.0f}" if seconds >= 1 else f"{1e3 * seconds:.3g}"


def _bytes(count: int) -> str:
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"
