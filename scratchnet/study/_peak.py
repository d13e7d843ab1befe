"""How fast this CPU multiplies and adds: the micro-kernel of kernels/cpu/vector.py where nothing holds it up."""

import time
from typing import Any

import numpy

from scratchnet.kernels.cpu._arrays import empty, steps
from scratchnet.kernels.cpu._compile import GRAIN, get_num_threads, kernel
from scratchnet.kernels.cpu.vector import ROWS, VECTORS, at, contract, lanes

_STEPS = 4096


@kernel
def _multiply_add(t, threads, repeats, a, a_row, stay, b, c, c_row):
    """Every step of the reduction reads the same numbers again (`stay` is a table of zeros), so all are in cache."""
    for _ in range(repeats):
        contract(
            a_row.size, b.size, stay.size, at(a, 0), at(a_row, 0), at(stay, 0), at(b, 0), at(stay, 0),
            at(c, t * a_row.size * b.size), at(c_row, 0), False,
        )  # fmt: skip


def peak_flops(dtype: Any = "float32", seconds: float = 0.2) -> float:
    """Multiplications and additions a second, with the threads that the numba rung uses; the best of many tries."""
    dtype = numpy.dtype(dtype)
    width, threads = VECTORS * lanes(dtype), get_num_threads()
    a, b, c = empty((ROWS,), dtype), empty((width,), dtype), empty((threads * ROWS * width,), dtype)
    a.fill(0.5)
    b.fill(0.5)
    arguments = a, steps(ROWS, 1), numpy.zeros(_STEPS, numpy.int64), b, c, steps(ROWS, width)
    repeats = 8
    flops = 2 * threads * repeats * _STEPS * ROWS * width
    _multiply_add(threads * GRAIN, 1, *arguments)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        _multiply_add(threads * GRAIN, repeats, *arguments)
        best = min(best, time.perf_counter() - start)
    return flops / best
