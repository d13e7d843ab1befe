"""Which implementation of an op runs, and where: rungs, devices, overrides.

The same pair of functions exists on a ladder of rungs, all behind one contract:

    loops     nested Python loops: the definition, executable     scratchnet.kernels.loops
    im2col    the textbook: array expressions, NumPy or CuPy      scratchnet.ops
    numba     compiled for the CPU: fast                          scratchnet.kernels.cpu
    cuda      CUDA C kernels for the GPU: fast                    scratchnet.kernels.gpu

`implementation(op, rung)` looks a function up in the table (op, rung) → module, and imports the rung's module when
it is first used. A rung that lacks an op, forward or backward, leaves the pair to im2col.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

import numpy

from scratchnet.ops.shape import Array, array_module


class Rung(NamedTuple):
    package: str
    devices: tuple[str, ...]


RUNGS = {
    "loops": Rung("scratchnet.kernels.loops", ("cpu",)),
    "im2col": Rung("scratchnet.ops", ("cpu", "gpu")),
    "numba": Rung("scratchnet.kernels.cpu", ("cpu",)),
    "cuda": Rung("scratchnet.kernels.gpu", ("gpu",)),
}
CPU_RUNGS = [name for name, rung in RUNGS.items() if "cpu" in rung.devices]
FASTEST = {"cpu": "numba", "gpu": "cuda"}

# op → the file that holds it, on every rung
FILES = {
    "conv2d": "conv",
    "conv_transpose2d": "conv_transpose",
    "pad2d": "pad",
    "max_pool2d": "pool",
    "avg_pool2d": "pool",
    "adaptive_avg_pool2d": "pool",
    "batch_norm": "norm",
    "linear": "linear",
    "relu": "activation",
    "leaky_relu": "activation",
    "sigmoid": "activation",
    "tanh": "activation",
    "gelu": "activation",
    "softmax": "activation",
    "log_softmax": "activation",
    "dropout": "dropout",
    "flatten": "flatten",
    "cross_entropy": "loss",
    "nll_loss": "loss",
    "mse_loss": "loss",
}

_chosen: ContextVar[str | None] = ContextVar("rung", default=None)
_overrides: ContextVar[dict[str, Callable]] = ContextVar("overrides", default={})  # noqa: B039 - never mutated


class Pair(NamedTuple):
    """An op on one rung."""

    rung: str
    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[[Any, Any], Any]


_table: dict[tuple[str, str], Pair] = {}


def _known_rung(rung: str) -> str:
    if rung not in RUNGS:
        raise ValueError(f"rung: expected one of {', '.join(RUNGS)}, got {rung!r}")
    return rung


class use:
    """Choose the rung: `scratchnet.use("loops")` from here on, or `with scratchnet.use("loops"):` for a block.

    The choice holds in the current context (a ContextVar): another thread or task keeps its own.
    """

    def __init__(self, rung: str) -> None:
        self._token: Token[str | None] = _chosen.set(_known_rung(rung))

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        _chosen.reset(self._token)


def rung_for(x: Array) -> str:
    """The rung that takes the array x: what `use` chose, else SCRATCHNET_RUNG, else the fastest of x's device."""
    return rung_on("cpu" if array_module(x) is numpy else "gpu")


def rung_on(device: str) -> str:
    """The rung for arrays on the "cpu" or the "gpu"; a chosen rung that cannot take them is an error."""
    rung = _chosen.get() or os.environ.get("SCRATCHNET_RUNG") or FASTEST[device]
    if device not in RUNGS[_known_rung(rung)].devices:
        raise ValueError(f"rung {rung!r} works on {RUNGS[rung].devices[0]} arrays, got one on the {device}")
    return rung


def implementation(op: str, rung: str) -> Pair:
    """The op's pair of functions on a rung, or on im2col where the rung lacks it; overrides take their place."""
    pair = _table.get((op, rung)) or _import_pair(op, rung)
    overrides = _overrides.get()
    if not overrides:
        return pair
    forward = overrides.get(op, pair.forward)
    return Pair(pair.rung, forward, overrides.get(f"{op}_backward", pair.backward))


def _import_pair(op: str, rung: str) -> Pair:
    name = f"{RUNGS[rung].package}.{FILES[op]}"
    module = import_module(name) if find_spec(name) else None
    forward, backward = getattr(module, op, None), getattr(module, f"{op}_backward", None)
    pair = Pair(rung, forward, backward) if forward and backward else implementation(op, "im2col")
    _table[op, rung] = pair
    return pair


@contextmanager
def override(name: str, function: Callable) -> Iterator[None]:
    """Replace one function, such as "max_pool2d_backward", on every rung within a `with` block.

    What an exercise or a planted bug needs: the replacement gets the arguments of the function that it replaces,
    and the cache of whatever rung ran forward.
    """
    if name.removesuffix("_backward") not in FILES:
        raise ValueError(f"override: no function is called {name!r}; the ops are {', '.join(FILES)}")
    token = _overrides.set({**_overrides.get(), name: function})
    try:
        yield
    finally:
        _overrides.reset(token)


def overridden() -> bool:
    """Whether any function is replaced at the moment."""
    return bool(_overrides.get())


class DeviceError(RuntimeError):
    """The device that was asked for cannot be used; the message says why."""


class Device(NamedTuple):
    """Where arrays live: "cpu", or "gpu" with an index."""

    kind: str
    number: int
    xp: ModuleType

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"gpu:{self.number}"

    def asarray(self, x: Array) -> Array:
        """x on this device, copied only if it is elsewhere."""
        if self.kind == "cpu":
            return x if array_module(x) is numpy else x.get()
        with self.xp.cuda.Device(self.number):
            return self.xp.asarray(x)

    def free_memory(self) -> int:
        """Bytes that can still be allocated on this GPU: what is free, what CuPy keeps for reuse, up to its limit."""
        with self.xp.cuda.Device(self.number) as gpu:
            pool = self.xp.get_default_memory_pool()
            free = gpu.mem_info[0] + pool.free_bytes()
            return min(free, pool.get_limit() - pool.used_bytes()) if pool.get_limit() else free


def device(name: str) -> Device:
    """ "cpu", "gpu" (the first), "gpu:N", or "auto": a GPU if one can be used, else the CPU.

    Raises ValueError for any other name, and DeviceError, with the reason, for a GPU that cannot be used: nothing
    falls back silently.
    """
    kind, _, index = str(name).partition(":")
    if name == "cpu":
        return Device("cpu", 0, numpy)
    if name == "auto":
        try:
            cupy, _ = _cuda(only_with_driver=True)
        except (ImportError, RuntimeError):
            return Device("cpu", 0, numpy)
        return Device("gpu", 0, cupy)
    if kind != "gpu" or (":" in name and not index.isdecimal()):
        raise ValueError(f"device: expected auto, cpu, gpu or gpu:N, got {name!r}")
    return _gpu(int(index or 0))


def _cuda(only_with_driver: bool = False) -> tuple[ModuleType, int]:
    """CuPy, and the number of GPUs; ImportError, or CUDA's RuntimeError, if there is none.

    CuPy loads half a dozen of CUDA's libraries, some 170 MB, also on a machine without a GPU. With only_with_driver it
    is imported only if a driver sees one.
    """
    if only_with_driver and "cupy" not in sys.modules:
        from scratchnet.diagnosis.gpu import ask_driver

        if not ask_driver().gpus:
            raise ImportError("no CUDA driver, or no GPU")
    cupy = import_module("cupy")
    return cupy, cupy.cuda.runtime.getDeviceCount()


def _gpu(index: int) -> Device:
    try:
        cupy, count = _cuda()
    except (ImportError, RuntimeError) as error:
        from scratchnet.diagnosis.gpu import why_not  # which says more than CuPy's own errors

        raise DeviceError(f"device gpu: {why_not(f'{type(error).__name__}: {error}')}") from None
    if index >= count:
        numbers = "gpu, which is gpu:0" if count == 1 else f"gpu:0 to gpu:{count - 1}"
        raise DeviceError(f"device gpu:{index}: this machine has {count} GPU{'s' * (count > 1)}; use {numbers}")
    return Device("gpu", index, cupy)
