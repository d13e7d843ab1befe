"""cupy.cuda on the emulated GPU: one device, streams that run at once, events, pinned memory."""

import time
from types import SimpleNamespace

from gpu_emulation.memory import MemoryPool, OutOfMemoryError, pool, synchronize

MEMORY = 16 << 30  # bytes of the device


class CUDARuntimeError(RuntimeError):
    """Stands for cupy.cuda.runtime.CUDARuntimeError."""


class Device:
    compute_capability = "75"

    def __init__(self, device=0):
        self.id = int(device)

    def use(self):
        if self.id:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        return self

    def __enter__(self):
        return self.use()

    def __exit__(self, *error):
        pass

    def synchronize(self):
        synchronize("Device.synchronize()")

    @property
    def mem_info(self) -> tuple[int, int]:
        total = pool.get_limit() or MEMORY
        return total - pool.used_bytes(), total


class Stream:
    null: "Stream"

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        pass

    def use(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def synchronize(self):
        synchronize("Stream.synchronize()")

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        pass

    done = True


Stream.null = Stream()


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self._time = None

    def record(self, stream=None):
        self._time = time.perf_counter()

    def synchronize(self):
        synchronize("Event.synchronize()")

    done = True


def get_elapsed_time(start_event, end_event):
    return 1000 * (end_event._time - start_event._time)


def get_current_stream(device_id=-1):
    return Stream.null


def is_available():
    return True


class PinnedMemoryPointer(bytearray):
    """Host memory with the buffer protocol: numpy.frombuffer(alloc_pinned_memory(n), dtype, count)."""


def alloc_pinned_memory(size):
    return PinnedMemoryPointer(size)


def getDeviceCount():
    return 1


def deviceSynchronize():
    synchronize("deviceSynchronize()")


def memGetInfo():
    return Device().mem_info


def getDeviceProperties(device):
    return {
        "name": b"emulated GPU",
        "major": 7,
        "minor": 5,
        "multiProcessorCount": 1,
        "totalGlobalMem": Device().mem_info[1],
    }


def runtimeGetVersion():
    return 13000


def driverGetVersion():
    return 13000


def getDevice():
    return 0


runtime = SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError, getDeviceCount=getDeviceCount, deviceSynchronize=deviceSynchronize,
    memGetInfo=memGetInfo, getDeviceProperties=getDeviceProperties, runtimeGetVersion=runtimeGetVersion,
    driverGetVersion=driverGetVersion, getDevice=getDevice,
)  # fmt: skip
memory = SimpleNamespace(OutOfMemoryError=OutOfMemoryError, MemoryPool=MemoryPool)
