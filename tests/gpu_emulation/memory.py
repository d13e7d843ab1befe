"""The device's memory: blocks between guard bands, a pool with a limit, and what the host waited for."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

GUARD = 4096
ALIGNMENT = 512  # as cudaMalloc's
NAN_BYTE = 0xFF  # four of them, or eight, are a NaN


class EmulationError(Exception):
    """What a real GPU would have done in silence, or with an error of its own: the message says which."""


class SynchronizationError(EmulationError):
    """The host waited for the device within `no_sync()`."""


class OutOfMemoryError(MemoryError):
    """Stands for cupy.cuda.memory.OutOfMemoryError."""


@dataclass
class Counters:
    """What happened since `reset()`: waits of the host, kernel launches, copies from the host to the device."""

    synchronizations: int = 0
    launches: int = 0
    uploads: int = 0

    def reset(self) -> None:
        self.synchronizations = self.launches = self.uploads = 0


counters = Counters()
_forbidden = 0


@contextmanager
def no_sync() -> Iterator[None]:
    """Within it, whatever makes the host wait for the device raises SynchronizationError."""
    global _forbidden
    _forbidden += 1
    try:
        yield
    finally:
        _forbidden -= 1


def synchronize(what: str) -> None:
    counters.synchronizations += 1
    if _forbidden:
        raise SynchronizationError(f"{what} makes the host wait for the device")


class MemoryPool:
    def __init__(self) -> None:
        self._used = self._limit = 0

    def used_bytes(self) -> int:
        return self._used

    def total_bytes(self) -> int:
        return self._used

    def free_bytes(self) -> int:
        return 0

    def n_free_blocks(self) -> int:
        return 0

    def free_all_blocks(self, stream=None) -> None:
        pass

    def set_limit(self, size=None, fraction=None) -> None:
        if fraction is not None:
            raise NotImplementedError("set_limit: the emulated device has no size to take a fraction of")
        self._limit = size or 0

    def get_limit(self) -> int:
        return self._limit


pool = MemoryPool()
live: "weakref.WeakSet[Block]" = weakref.WeakSet()


class Block:
    """One allocation. Its bytes, and those around it, start as NaNs."""

    def __init__(self, nbytes: int) -> None:
        self.charged = -(-nbytes // ALIGNMENT) * ALIGNMENT
        if pool._limit and pool._used + self.charged > pool._limit:
            taken, limit = pool._used, pool._limit
            self.charged = 0
            raise OutOfMemoryError(
                f"Out of memory allocating {nbytes:,} bytes "
                f"(allocated so far: {taken:,} bytes, limit set to: {limit:,} bytes)."
            )
        self.bytes = np.full(nbytes + 2 * GUARD + ALIGNMENT, NAN_BYTE, np.uint8)
        self.start = GUARD + -(self.bytes.ctypes.data + GUARD) % ALIGNMENT
        self.stop = self.start + nbytes
        pool._used += self.charged
        live.add(self)

    def __del__(self) -> None:
        pool._used -= self.charged

    @property
    def extent(self) -> tuple[int, int]:
        """The addresses of its first byte and of the byte after its last."""
        base = self.bytes.ctypes.data
        return base + self.start, base + self.stop

    def check_guards(self, who: str) -> None:
        if (self.bytes[: self.start] != NAN_BYTE).any() or (self.bytes[self.stop :] != NAN_BYTE).any():
            raise EmulationError(
                f"{who}: out of bounds: it wrote before or behind an array of {self.stop - self.start} bytes"
            )
