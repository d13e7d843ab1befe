"""Compiling the .cu files and launching their kernels.

CuPy copies the bytes of every argument to the kernel and checks none of them: a Python float passed for a `float`
arrives as the lower half of a float64, a strided view as the array that it looks into. So all launches go through this
file, which gives every number the exact type that the kernel declares.
"""

import functools
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy

from scratchnet.ops.shape import Array

FOLDER = Path(__file__).parent
THREADS = 256  # of a block, unless a kernel says otherwise: a multiple of the warp's 32, several blocks to a processor
REAL = {"float32": "float", "float64": "double"}
# CuPy keeps compiled kernels on disk under their source and options, and does not look into what a source includes: the
# checksum is there so that no kernel outlives a change of common.cuh.
COMMON = zlib.crc32((FOLDER / "common.cuh").read_bytes())
OPTIONS = ("--std=c++17", f"-I{FOLDER}", f"-DCOMMON={COMMON}u")
INT_MAX = 2**31 - 1

# file → the options, beside REAL, of each variant that is launched; a file that is not listed has one, without any
FEW_CHANNELS, MANY_CHANNELS = ("-DROWS=1",), ("-DROWS=4",)
VARIANTS: dict[str, list[tuple[str, ...]]] = {"conv.cu": [FEW_CHANNELS, MANY_CHANNELS]}


class KernelCompileError(RuntimeError):
    """NVRTC, CUDA's compiler, refused a kernel; the message has its log."""


@functools.cache
def _module(cupy: ModuleType, file: str, real: str, options: tuple[str, ...]) -> Any:
    module = cupy.RawModule(code=(FOLDER / file).read_text("utf-8"), options=(*OPTIONS, f"-DREAL={real}", *options))
    try:
        module.compile()
    except cupy.cuda.compiler.CompileException as error:
        raise KernelCompileError(
            f"{file} does not compile for this GPU ({real}{''.join(' ' + o for o in options)}): {error}\n"
            "Next step: `python -m scratchnet.doctor` shows the versions of CuPy, NVRTC and the driver; they must "
            "belong to one major version of CUDA. Until then: --rung im2col"
        ) from error
    return module


@functools.cache
def _function(cupy: ModuleType, file: str, kernel: str, real: str, options: tuple[str, ...]) -> Any:
    return _module(cupy, file, real, options).get_function(kernel)


def launch(
    file: str,
    kernel: str,
    dtype: Any,
    grid: int | tuple[int, ...],
    block: int | tuple[int, ...],
    *args: Any,
    options: tuple[str, ...] = (),
    shared: int = 0,
) -> None:
    """Start a kernel of file.cu; it runs while Python goes on.

    Args:
        dtype: float32 or float64: what REAL stands for.
        grid, block: numbers of blocks, and of threads in each. An empty grid launches nothing.
        args: contiguous arrays, None for a null pointer, int for `int`, float for REAL, bool for `bool`, numpy
            scalars for any other number (`numpy.int64(n)` for Index), a structured numpy array of one element for a
            struct.
        options: of the compiler, beside REAL: one of the file's VARIANTS.
        shared: bytes of dynamic shared memory.
    """
    import cupy

    grid = grid if isinstance(grid, tuple) else (grid,)
    block = block if isinstance(block, tuple) else (block,)
    if 0 in grid:
        return
    dtype = numpy.dtype(dtype)
    exact = tuple(_exact(value, dtype) for value in args)
    _function(cupy, f"{file}.cu", kernel, REAL[dtype.name], options)(grid, block, exact, shared_mem=shared)


def each(file: str, kernel: str, like: Array, *args: Any) -> None:
    """Start a kernel with one thread for each element of `like`; its last parameter is their number, an Index."""
    launch(file, kernel, like.dtype, blocks(like.size), THREADS, *args, numpy.int64(like.size))


def blocks(size: int, threads: int = THREADS) -> int:
    """How many blocks of so many threads it takes to have one thread for each of `size` elements."""
    return -(-size // threads)


def ready(x: Array) -> Array:
    """x itself if it is C-contiguous, else a copy: kernels know one layout only."""
    import cupy

    return cupy.ascontiguousarray(x)


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """An uninitialised array on the device, from CuPy's pool."""
    import cupy

    return cupy.empty(shape, dtype)


def _exact(value: Any, dtype: numpy.dtype) -> Any:
    if isinstance(value, bool):
        return numpy.bool_(value)
    if isinstance(value, int):
        if not -INT_MAX <= value <= INT_MAX:
            raise ValueError(f"a kernel's int cannot hold {value}: the array is too large for one call")
        return numpy.int32(value)
    if isinstance(value, float):
        with numpy.errstate(over="ignore"):
            return dtype.type(value)
    return value
