"""The processor and its threads, BLAS, and the settings that slow them down."""

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from scratchnet.diagnosis.finding import Finding
from scratchnet.threads import get_num_threads

CPUINFO = Path("/proc/cpuinfo")
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # "max 100000" or "150000 100000": microseconds of each so many


def system() -> Iterator[Finding]:
    import scratchnet

    versions = f"scratchnet {scratchnet.__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield Finding("system", "ok", versions)


def processor() -> Iterator[Finding]:
    cores, usable = os.cpu_count() or 1, _usable()
    share = "" if usable == cores else f", {usable} of them for this process"
    yield Finding("processor", "ok", f"{_model()}, {cores} core{'s' * (cores > 1)}{share}")


def threads() -> Iterator[Finding]:
    number, quota = get_num_threads(), _quota()
    text = f"{number} for the kernels and BLAS"
    if quota is not None and quota < number:
        advice = f"More threads than that wait for each other: --threads {max(1, int(quota))}"
        yield Finding("threads", "not ok", f"{text}, but this container may use {quota:g} cores", advice)
    else:
        yield Finding("threads", "ok", text)


def blas() -> Iterator[Finding]:
    """NumPy's matrix products: the im2col rung and some small things use them, the compiled kernels do not."""
    import numpy.linalg  # noqa: F401 - so that the library is there to be found
    from threadpoolctl import threadpool_info

    libraries = [each for each in threadpool_info() if each.get("user_api") == "blas"]
    if not libraries:
        yield Finding("BLAS", "ok", "none that threadpoolctl knows, such as Accelerate on a Mac")
    for library in libraries:
        name = " ".join(str(part) for part in (library["internal_api"], library.get("version")) if part)
        kernels = library.get("architecture")
        text = f"{name}, {library['num_threads']} thread{'s' * (library['num_threads'] != 1)}"
        yield Finding("BLAS", "ok", text + (f", kernels for {kernels}" if kernels else ""))


SLOW = {
    "NUMBA_CPU_NAME": "the kernels are compiled for that processor, not for this one",
    "NUMBA_OPT": "the kernels are optimised to that level only",
    "OPENBLAS_CORETYPE": "OpenBLAS takes its kernels for that processor, not for this one",
    "MKL_DEBUG_CPU_TYPE": "MKL takes its kernels for that processor, not for this one",
    "MKL_CBWR": "MKL takes slower kernels",
}
THREADS = {
    "NUMBA_NUM_THREADS": "the kernels",
    "OMP_NUM_THREADS": "BLAS",
    "OPENBLAS_NUM_THREADS": "BLAS",
    "MKL_NUM_THREADS": "BLAS",
}


def settings() -> Iterator[Finding]:
    """Environment variables that slow training down, or break it."""
    found = [*_rung(), *_compiler(), *_slow(), *_limits()]
    yield from found or [Finding("settings", "ok", "no environment variable slows it down")]


def _rung() -> Iterator[Finding]:
    from scratchnet.backend import FASTEST, RUNGS

    rung = os.environ.get("SCRATCHNET_RUNG")
    if rung and "cpu" not in (RUNGS[rung].devices if rung in RUNGS else ()):
        text = f"={rung}: expected one of {', '.join(RUNGS)}"
        yield Finding("SCRATCHNET_RUNG", "not ok", text, "unset SCRATCHNET_RUNG", essential=True)
    elif rung and rung != FASTEST["cpu"]:
        text = f"={rung}: the CPU's fastest rung is {FASTEST['cpu']}"
        yield Finding("SCRATCHNET_RUNG", "not ok", text, "unset SCRATCHNET_RUNG")


def _compiler() -> Iterator[Finding]:
    value = os.environ.get("NUMBA_DISABLE_JIT", "")
    if value not in ("", "0"):
        text = f"={value}: the kernels, which have to be compiled, cannot run"
        yield Finding("NUMBA_DISABLE_JIT", "not ok", text, "unset NUMBA_DISABLE_JIT", essential=True)


def _slow() -> Iterator[Finding]:
    for name, effect in SLOW.items():
        value = os.environ.get(name)
        if value and (name, value) != ("NUMBA_OPT", "3"):
            yield Finding(name, "not ok", f"={value}: {effect}", f"unset {name}")


def _limits() -> Iterator[Finding]:
    for name, who in THREADS.items():
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value) < _usable():
            yield Finding(name, "ok", f"={value}: {who} may use no more threads than that")


def run_folder() -> Iterator[Finding]:
    """Where scratchnet.train writes runs/, unless --out says otherwise."""
    folder = Path("runs") if Path("runs").is_dir() else Path()
    free = f"{shutil.disk_usage(folder).free / 1e9:,.1f} GB free"
    if os.access(folder, os.W_OK | os.X_OK):
        yield Finding("run folder", "ok", f"runs/ can be written here, {free}")
    else:
        yield Finding("run folder", "not ok", f"{folder.resolve()} cannot be written", "Name another folder: --out DIR")


def _usable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota() -> float | None:
    """How many cores a container may use, or None if there is no such limit."""
    try:
        allowed, period = QUOTA.read_text().split()
        return None if allowed == "max" else int(allowed) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _model() -> str:
    try:
        lines = CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(names, "") or platform.processor() or platform.machine() or "unknown"
