"""NVIDIA's driver, the GPUs, CuPy and NVRTC, which compiles its kernels."""

import ctypes
import functools
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any, NamedTuple

from scratchnet.diagnosis.finding import Finding, State

DRIVERS = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libcuda.so")
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
NAME_BYTES = 256


class Driver(NamedTuple):
    """What the driver's own library says. `cuda` is the newest CUDA it serves, such as (12, 4)."""

    cuda: tuple[int, int] | None
    gpus: tuple[str, ...]
    problem: str = ""


@functools.cache
def ask_driver() -> Driver:
    """Through ctypes, for it needs no CuPy."""
    library = _load(DRIVERS)
    if library is None:
        return Driver(None, ())
    code = library.cuInit(0)
    version = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    cuda = version.value // 1000, version.value % 1000 // 10
    if code:
        return Driver(cuda, (), "" if code == NO_DEVICE else f"cuInit: {_error(library, code)}")
    count = ctypes.c_int()
    library.cuDeviceGetCount(ctypes.byref(count))
    return Driver(cuda, tuple(_describe(library, i) for i in range(count.value)))


def _load(names: tuple[str, ...]) -> Any:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _error(library: Any, code: int) -> str:
    name = ctypes.c_char_p()
    library.cuGetErrorName(code, ctypes.byref(name))
    return f"{(name.value or b'unknown error').decode()} ({code})"


def _describe(library: Any, index: int) -> str:
    name, memory, device = ctypes.create_string_buffer(NAME_BYTES), ctypes.c_size_t(), ctypes.c_int()
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, NAME_BYTES, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return f"{name.value.decode()}, {memory.value / 2**30:.0f} GiB"


def driver() -> Iterator[Finding]:
    found = ask_driver()
    if found.cuda is None:
        yield Finding("CUDA driver", "not needed", "none; training on the CPU needs none")
        return
    version = ".".join(map(str, found.cuda))
    if found.problem:
        advice = "The driver and its kernel module may differ: restart the machine, or install the driver anew"
        yield Finding("CUDA driver", "not ok", f"for CUDA {version}, does not start: {found.problem}", advice)
    else:
        yield Finding("CUDA driver", "ok", f"for CUDA {version} and older")
    for i, gpu in enumerate(found.gpus):
        yield Finding(f"gpu:{i}", "ok", gpu)
    if not found.gpus and not found.problem:
        yield Finding(
            "GPU", "not needed", "none; if there is one: is CUDA_VISIBLE_DEVICES set, or the container without?"
        )


def cupy() -> Iterator[Finding]:
    """Installed once, for a CUDA that the driver serves."""
    installed = _installed_cupy()
    found = ask_driver()
    usable = bool(found.gpus)
    major = min(13, max(12, found.cuda[0])) if found.cuda else 12
    install = f"pip install 'scratchnet[cuda{major}]'"
    if not installed:
        advice = f"{install}, then --device gpu" if usable else ""
        yield Finding("CuPy", "not ok" if usable else "not needed", "not installed", advice)
        return
    text = ", ".join(f"{name} {version}" for name, version in installed.items())
    built = re.fullmatch(r"cupy-cuda(\d\d)x", next(iter(installed)))
    if len(installed) > 1:
        advice = f"They overwrite each other's files: pip uninstall {' '.join(installed)}, then {install}"
        yield Finding("CuPy", "not ok", f"installed {len(installed)} times: {text}", advice)
    elif built and found.cuda and int(built[1]) > found.cuda[0]:
        advice = f"pip uninstall {next(iter(installed))}, then {install}; or a newer driver"
        yield Finding("CuPy", "not ok", f"{text} needs a driver for CUDA {built[1]}", advice)
    else:
        yield _try_cupy(text, usable)


def why_not(problem: str) -> str:
    """A paragraph for someone who asked for a GPU: what is in the way, and the next step."""
    found, installed = ask_driver(), _installed_cupy()
    without = "Without an NVIDIA GPU: --device cpu"
    text = ", ".join(f"{name} {version}" for name, version in installed.items())
    if found.cuda is None:
        return (
            f"no NVIDIA driver was found on this machine ({problem}). With an NVIDIA GPU: install its driver, and see "
            f"whether `nvidia-smi` lists the GPU; in a container, start it with the GPU (docker: --gpus all). {without}"
        )
    version = ".".join(map(str, found.cuda))
    if found.problem:
        return f"the NVIDIA driver does not start: {found.problem}. Restart the machine, or install the driver anew"
    if not found.gpus:
        return f"there is a driver for CUDA {version}, but it finds no GPU. Is CUDA_VISIBLE_DEVICES set? {without}"
    if found.cuda[0] < 12:
        return f"the driver is for CUDA {version}, and CuPy 14 wants CUDA 12 or newer: install a newer NVIDIA driver"
    extra = f"cuda{min(13, found.cuda[0])}"
    install = f"pip install 'scratchnet[{extra}]'"
    if not installed:
        return f"CuPy is not installed. {install}, which suits the driver (CUDA {version})"
    if len(installed) > 1:
        return (
            f"CuPy is installed {len(installed)} times ({text}), and they overwrite each other's files: "
            f"pip uninstall {' '.join(installed)}, then {install}"
        )
    built = re.fullmatch(r"cupy-cuda(\d\d)x", next(iter(installed)))
    if built and int(built[1]) > found.cuda[0]:
        return (
            f"{text} needs a driver for CUDA {built[1]}, and this one is for CUDA {version}: install a newer NVIDIA "
            f"driver, or pip uninstall {next(iter(installed))}, then {install}"
        )
    return f"{problem}, with {text} and a driver for CUDA {version}. `python -m scratchnet.doctor` looks closer"


def _installed_cupy() -> dict[str, str]:
    """name → version of every distribution that brings the package cupy."""
    found = {}
    for distribution in metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower()
        if name == "cupy" or re.fullmatch(r"cupy-(cuda|rocm).*", name):
            found[name] = distribution.version
    return dict(sorted(found.items()))


def _try_cupy(text: str, usable: bool) -> Finding:
    """Import it, and compute on every GPU."""
    try:
        import cupy

        if not usable:
            return Finding("CuPy", "not needed", f"{text}; there is no GPU to use it on")
        for i in range(cupy.cuda.runtime.getDeviceCount()):
            with cupy.cuda.Device(i):
                if int(cupy.arange(10).sum()) != 45:
                    return Finding("CuPy", "not ok", f"{text}: adds up wrongly on gpu:{i}", "Please report it")
    except Exception as error:
        first = str(error).strip().splitlines()[:1]
        state: State = "not ok" if usable else "not needed"
        advice = "CuPy's own view: python -c 'import cupy; cupy.show_config()'"
        return Finding("CuPy", state, f"{text}: {type(error).__name__}: {' '.join(first)}", advice)
    return Finding("CuPy", "ok", f"{text}, computes")


def nvrtc() -> Iterator[Finding]:
    """CuPy compiles kernels with it when they are first used."""
    found = ask_driver()
    if not found.gpus or not _installed_cupy():
        yield Finding("NVRTC", "not needed", "it compiles kernels for a GPU")
        return
    try:
        import cupy

        kernel = cupy.RawKernel('extern "C" __global__ void one(float* x) { x[0] = 1; }', "one")
        x = cupy.zeros(1, "float32")
        kernel((1,), (1,), (x,))
        version = ".".join(map(str, cupy.cuda.nvrtc.getVersion()))
        good = float(x[0]) == 1
        yield Finding(
            "NVRTC", "ok" if good else "not ok", f"{version}, compiles" if good else f"{version}, wrong result"
        )
    except Exception as error:
        first = str(error).strip().splitlines()[:1]
        advice = "pip install 'cupy-cuda12x[ctk]', or cupy-cuda13x[ctk], or NVIDIA's CUDA toolkit"
        yield Finding("NVRTC", "not ok", f"{type(error).__name__}: {' '.join(first)}", advice)
