"""How a Python function becomes a kernel: compiled by Numba, cached on disk, run on one or several threads.

A kernel does one of several equal parts of the work, part t of `threads`::

    @kernel
    def relu(t, threads, x, y):
        for i in range(t * x.size // threads, (t + 1) * x.size // threads):
            y[i] = max(x[i], 0)

    relu(x.size, x, y)          # all parts; the first argument is the work, in elementary operations

The parts depend on the number of threads alone, so that one number of threads always gives the same bits. A small job
runs on the calling thread: waking another costs some microseconds.

Compiled code is kept in a directory that is named after everything it depends on, the text of this package and the
version of Numba, so that no stale code is ever run. Numba itself adds the CPU.
"""

import functools
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# How long an idle OpenMP thread spins before it sleeps (libgomp reads it when it is loaded): long enough for the next
# kernel of the same training step, short enough that a busy neighbour does not stall us. Some 40 µs.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numba
from numba import config

from scratchnet import threads
from scratchnet.kernels.cpu._launch import launcher

GRAIN = 250_000  # elementary operations that are worth a second thread: some 20 µs of arithmetic

# What LLVM may change about floating-point arithmetic: fuse a·b + c, reorder sums, multiply by a reciprocal, forget
# the sign of zero. It must not assume that NaN and infinity do not occur.
FASTMATH = {"contract", "reassoc", "arcp", "nsz"}
OPTIONS: dict[str, Any] = {"fastmath": FASTMATH, "error_model": "numpy", "boundscheck": False, "nogil": True}

_one_at_a_time = threading.Lock()  # Numba's workqueue layer aborts the process if two threads enter it
_threads = min(threads.get_num_threads(), numba.config.NUMBA_NUM_THREADS)  # what the user said before the import


def set_num_threads(threads: int) -> None:
    """How many threads the kernels use from here on."""
    global _threads
    _threads = min(threads, numba.config.NUMBA_NUM_THREADS)


def get_num_threads() -> int:
    return _threads


def parts(work: int) -> int:
    """Into how many parts so much work, counted in elementary operations, is divided."""
    return min(_threads, work // GRAIN + 1)


class Kernel:
    """A function (t, threads, *arrays and numbers) that does part t of the work, for t = 0 … threads − 1."""

    def __init__(self, function: Callable[..., None]) -> None:
        functools.update_wrapper(self, function)
        self.serial = _compile(function, "serial")
        self.parallel: Any = None

    def __call__(self, work: int, *args: Any) -> None:
        """Do all of the work, which counts elementary operations."""
        self.on(parts(work), *args)

    def on(self, threads: int, *args: Any) -> None:
        """Do all of that many parts."""
        if threads == 1:
            self.serial(0, 1, *args)
            return
        with _one_at_a_time:
            if self.parallel is None:
                self.parallel = launcher(self.serial, _compile)
            numba.set_num_threads(threads)
            self.parallel(threads, *args)


kernel = Kernel


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that only kernels call: its text becomes part of theirs before they are compiled.

    Else it would exist twice, compiled on its own and again within the kernel, and which of the two runs would hang on
    whether the kernel came from the cache: they may add in different orders. It would also take longer to compile.
    """
    return numba.njit(**OPTIONS, inline="always")(function)


def _compile(function: Callable[..., None], kind: str) -> Any:
    """Compile for the types of the first call; `kind` separates what Numba's own cache key does not."""
    compiled = numba.njit(**OPTIONS)(function)
    directory = cache_directory()
    if directory is not None:
        with _numba_cache(directory / kind):
            compiled.enable_caching()
    return compiled


def compile_c_function(signature: Any, function: Callable[..., None]) -> Any:
    """Compile a function that C code, or any compiled code that knows its `address`, can call."""
    directory = cache_directory()
    options = {name: value for name, value in OPTIONS.items() if name != "nogil"}
    if directory is None:
        return numba.cfunc(signature, **options)(function)
    with _numba_cache(directory / "shared"):
        return numba.cfunc(signature, cache=True, **options)(function)


@contextmanager
def _numba_cache(directory: Path) -> Iterator[None]:
    before, config.CACHE_DIR = config.CACHE_DIR, str(directory)
    try:
        yield
    finally:
        config.CACHE_DIR = before


@functools.cache
def cache_directory() -> Path | None:
    """Where compiled kernels are kept, or None, said once on stderr, where nothing can be written.

    NUMBA_CACHE_DIR if it is set, else scratchnet/ in XDG_CACHE_HOME (~/.cache).
    """
    base = config.CACHE_DIR or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "scratchnet")
    directory = Path(base).expanduser() / f"kernels-{_version()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f"probe-{os.getpid()}-{threading.get_ident()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        print(
            f"scratchnet: compiled kernels cannot be kept in {directory} ({error.strerror}), so they are compiled "
            "anew in every process; NUMBA_CACHE_DIR names another place",
            file=sys.stderr,
        )
        return None
    return directory


def _version() -> str:
    """A name for all that compiled code depends on."""
    text = hashlib.sha256(f"{numba.__version__} {sys.version_info[:2]}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        text.update(file.read_bytes())
    return text.hexdigest()[:16]
