"""Arrays as kernels want them: contiguous, and results from memory that is used again."""

import functools
import math
import sys
import threading
from collections import defaultdict
from typing import Any

import numpy

from scratchnet.ops.shape import Array

_LINE = 64  # bytes: a cache line, and the widest vector. Vectors that straddle two lines cost twice
_PAGE = 4096  # bytes. A smaller array comes from numpy, which has its own store of small pieces
_MOST = 64  # blocks of one size that are kept for further use

_memory: defaultdict[int, list[tuple[numpy.ndarray, int]]] = defaultdict(list)  # by size in bytes
_NONE = {4: numpy.empty(0, numpy.float32), 8: numpy.empty(0, numpy.float64)}
_lock = threading.Lock()


def ready(x: Array) -> Array:
    """x itself if it is C-contiguous, aligned and writeable, else a copy: compiled code knows one layout only.

    (Numba would compile another kernel for read-only arrays. Nothing is written into inputs.)
    """
    return x if x.flags.carray else numpy.array(x, order="C")


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """An uninitialised array; a large one starts at a cache line.

    Its memory may have belonged to an earlier result, but only to one that nobody refers to any more: the reference
    count of a block of memory tells, since every array and every view of it holds a reference. Fresh memory would have
    to be mapped by the operating system page by page, which takes longer than many a kernel.
    """
    size = math.prod(shape) * numpy.dtype(dtype).itemsize
    if size <= _PAGE:
        return numpy.empty(shape, dtype)
    with _lock:
        memory, start = _free_memory(-(-size // _PAGE) * _PAGE)
        return numpy.ndarray(shape, dtype, memory, start)


def none(like: Array) -> Array:
    """What kernels take for an array that is not there: an empty one."""
    return _NONE[like.dtype.itemsize]


def optional(x: Array | None, like: Array) -> Array:
    """`ready(x)`, or what stands for an array that is not there."""
    return none(like) if x is None else ready(x)


def sum_of_parts(x: Array) -> Array:
    """Of what each thread left in its row (threads, …): the sum of all."""
    return x[0] if len(x) == 1 else x.sum(axis=0)


@functools.lru_cache(1024)
def steps(count: int, stride: int) -> Array:
    """The table 0, stride, 2·stride, …: where the rows of a matrix start."""
    return numpy.arange(max(count, 1), dtype=numpy.int64) * stride


def _free_memory(size: int) -> tuple[numpy.ndarray, int]:
    """At least `size` bytes that nobody uses, and where in them a cache line starts."""
    idle = _memory[size]
    for memory, start in idle:
        if sys.getrefcount(memory) == 3:  # the list's entry, `memory`, and the argument of getrefcount
            return memory, start
    memory = numpy.empty(size + _LINE, numpy.uint8)
    start = -memory.ctypes.data % _LINE
    if len(idle) < _MOST:
        idle.append((memory, start))
    return memory, start
