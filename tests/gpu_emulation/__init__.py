"""A GPU for machines without one.

`install()` puts a strict stand-in for CuPy into sys.modules: NumPy computes its array functions, and its RawModule
compiles the very `.cu` sources with g++, threads as fibers. The stand-in is stricter than CuPy (see arrays.py and
launch.py); in mode "checked" every memory access of a kernel is checked as well (see checker.cpp).

    with gpu_emulation.install("checked"):
        device = scratchnet.device("gpu")
        ...
        with gpu_emulation.no_sync():
            ...  # a wait of the host for the device is an error here

Not emulated: cooperative groups, textures, tensor cores, uploads to `__constant__` memory, variables of `__device__`
memory, order between blocks by atomics and fences. Not detected: an access outside one array that falls into another
argument of the same launch; a race between two launches on two streams. Arithmetic differs from a GPU's in the
last bits.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np

from gpu_emulation import arrays, build, device
from gpu_emulation.launch import CompileException, KernelError, RawModule
from gpu_emulation.memory import EmulationError, OutOfMemoryError, SynchronizationError, counters, no_sync, pool

__all__ = [
    "CompileException", "EmulationError", "KernelError", "OutOfMemoryError", "SynchronizationError", "counters",
    "install", "missing", "no_sync", "stand_in",
]  # fmt: skip

missing = build.missing
DTYPES = [
    "bool_",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
CUDA = ("Device", "Stream", "Event", "MemoryPool", "PinnedMemoryPointer", "alloc_pinned_memory", "get_current_stream",
        "get_elapsed_time", "is_available", "memory", "runtime")  # fmt: skip
CONSTANTS = {"pi": np.pi, "e": np.e, "inf": np.inf, "nan": np.nan, "newaxis": None}


def stand_in(mode: str = "fast", backwards: bool = False) -> dict[str, ModuleType]:
    """The modules that stand for cupy and cupyx, by name.

    Args:
        mode: "fast", or "checked", which instruments every access of every kernel (some 30 times slower).
        backwards: run blocks and threads from the last to the first. The order may show in nothing.
    """
    if mode not in build.MODES:
        raise ValueError(f"mode: expected one of {', '.join(build.MODES)}, got {mode!r}")
    cupy = ModuleType("cupy")
    public = {name: value for name, value in vars(arrays).items() if not name.startswith("_") and _ours(value)}
    vars(cupy).update(public, **CONSTANTS, **{name: getattr(np, name) for name in DTYPES}, __version__="14.0.0")
    for name in ("as_strided", "sliding_window_view", "erf", "Block", "synchronize"):
        delattr(cupy, name)
    cupy.dtype, cupy.finfo, cupy.iinfo, cupy.result_type = np.dtype, np.finfo, np.iinfo, np.result_type
    module_type = type("RawModule", (RawModule,), {"mode": mode, "backwards": backwards})

    def RawKernel(code, name, options=(), backend="nvrtc"):
        return module_type(code=code, options=options).get_function(name)

    cupy.RawModule, cupy.RawKernel = module_type, RawKernel
    cupy.get_default_memory_pool = lambda: pool
    cupy.get_default_pinned_memory_pool = lambda: SimpleNamespace(free_all_blocks=lambda: None, n_free_blocks=lambda: 0)
    tricks = SimpleNamespace(as_strided=arrays.as_strided, sliding_window_view=arrays.sliding_window_view)
    cupy.lib = SimpleNamespace(stride_tricks=tricks)
    cuda = ModuleType("cupy.cuda")
    for name in CUDA:
        setattr(cuda, name, getattr(device, name))
    cuda.compiler = SimpleNamespace(CompileException=CompileException)
    cuda.nvrtc = SimpleNamespace(getVersion=lambda: (13, 0))
    cupy.cuda = cuda
    cupyx, scipy, special = ModuleType("cupyx"), ModuleType("cupyx.scipy"), ModuleType("cupyx.scipy.special")
    cupyx.scipy, scipy.special, special.erf = scipy, special, arrays.erf
    cupyx.empty_pinned = lambda shape, dtype=float, order="C": np.empty(shape, dtype, order)
    return {"cupy": cupy, "cupy.cuda": cuda, "cupyx": cupyx, "cupyx.scipy": scipy, "cupyx.scipy.special": special}


@contextmanager
def install(mode: str = "fast", backwards: bool = False) -> Iterator[ModuleType]:
    """Within it `import cupy` gives the stand-in; scratchnet keeps nothing of it afterwards."""
    modules = stand_in(mode, backwards)
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in ("cupy", "cupyx")}
    sys.modules.update(modules)
    counters.reset()
    pool.set_limit(0)
    _forget()
    try:
        yield modules["cupy"]
    finally:
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)
        pool.set_limit(0)
        _forget()


def _ours(value: object) -> bool:
    """A class or a function of this package."""
    home = getattr(value, "__module__", None) or ""
    return callable(value) and (home.startswith("gpu_emulation") or home == "cupy")


def _forget() -> None:
    """Compiled kernels and what the table of ops knows of them."""
    for name in [name for name in sys.modules if name.startswith("scratchnet.kernels.gpu")]:
        del sys.modules[name]
    backend = sys.modules.get("scratchnet.backend")
    if backend is not None:
        for op, rung in [key for key in backend._table if key[1] not in ("loops", "numba")]:
            del backend._table[op, rung]
