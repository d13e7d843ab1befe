"""What a figure depends on besides the code: the machine, the versions, and whether the machine was idle."""

import datetime
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import scratchnet

PACKAGES = ("torch", "numpy", "numba", "llvmlite")
# They slow NumPy's BLAS down, or choose a rung, in every worker: what is compared is each library at its best.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_VERBOSE", "SCRATCHNET_RUNG", "NUMBA_CPU_NAME")
LOAD = 0.5  # processes that run on average, above which a measurement is refused
FOREIGN_CORES = 0.1  # cores that others may keep busy


def describe() -> dict[str, str]:
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": f"{cpu_name()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": ", ".join([f"scratchnet {scratchnet.__version__}", *(f"{p} {_version(p)}" for p in PACKAGES)]),
        "unset": ", ".join(name for name in UNSET if name in os.environ) or "nothing",
    }


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def worker_environment(**changes: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in UNSET} | changes


def busy_seconds() -> float | None:
    """Core-seconds that all processes of this machine have used since it started; None where nobody says."""
    try:
        user, nice, system, _, _, irq, softirq, steal = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        )
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def disturbance(seconds: float = 1.0) -> str | None:
    """What else is running, in words, or None if nothing is."""
    start, begin = busy_seconds(), time.perf_counter()
    time.sleep(seconds)
    end = busy_seconds()
    busy = 0.0 if start is None or end is None else (end - start) / (time.perf_counter() - begin)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return verdict(load, busy)


def verdict(load: float, busy: float) -> str | None:
    if load <= LOAD and busy <= FOREIGN_CORES:
        return None
    return (
        f"something else is running: load average {load:.2f} (at most {LOAD}), {busy:.2f} cores busy in the last "
        f"second (at most {FOREIGN_CORES}). Wait until the machine is idle (the average of a run of one's own takes a "
        "minute to fall), or pass --force for figures that are not to be trusted"
    )
