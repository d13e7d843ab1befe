"""cupy.RawModule on the emulated GPU: the arguments are held to what the kernel declares.

CuPy copies the bytes of each argument and checks nothing. Here a launch is refused, with a TypeError or a ValueError,
if CuPy would have passed something else than what the caller meant.
"""

import ctypes
import functools
import itertools
from pathlib import Path

import numpy as np

from gpu_emulation import build
from gpu_emulation.memory import EmulationError, counters, live

MAX_THREADS, MAX_SHARED = 1024, 48 << 10
IGNORED_OPTIONS = ("--std=", "-std=", "-lineinfo", "--generate-line-info", "--fmad=", "-Werror", "--warning-as-error")


class KernelError(EmulationError):
    """A kernel did what it must not: the message says what, where, and in which thread."""


class CompileException(Exception):
    """Stands for cupy.cuda.compiler.CompileException."""


class _Parameter(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_char),
        ("pointer", ctypes.c_bool),
        ("constant", ctypes.c_bool),
        ("size", ctypes.c_uint),
    ]

    @property
    def dtype(self) -> np.dtype:
        kind = self.kind.decode()
        return np.dtype("?" if kind == "b" else f"V{self.size}" if kind == "V" else f"{kind}{self.size}")


class _Kernel(ctypes.Structure):
    _fields_ = [
        ("kernel", ctypes.c_void_p),
        ("invoke", ctypes.c_void_p),
        ("count", ctypes.c_int),
        ("parameters", _Parameter * 64),
    ]


class _Extent(ctypes.Structure):
    _fields_ = [
        ("begin", ctypes.c_void_p),
        ("end", ctypes.c_void_p),
        ("grain", ctypes.c_uint),
        ("shared", ctypes.c_uint),
    ]


class RawModule:
    """`mode` and `backwards` are the emulator's: which build, and whether blocks and threads run last to first."""

    mode, backwards = "fast", False

    def __init__(
        self,
        *,
        code=None,
        path=None,
        options=(),
        backend="nvrtc",
        translate_cucomplex=False,
        enable_cooperative_groups=False,
        name_expressions=None,
        jitify=False,
    ):
        if not isinstance(options, tuple):
            raise TypeError("options must be a tuple")
        if code is None or path or name_expressions or enable_cooperative_groups or jitify or translate_cucomplex:
            raise NotImplementedError("RawModule: the emulated GPU takes code= and options= only")
        folders, self._defines = _read_options(options)
        try:
            self._source = build.expand(
                code, "kernel.cu" if len(folders) != 1 else _file_name(code, folders[0]), folders, set()
            )
        except build.CompileError as error:
            raise CompileException(str(error)) from None
        self._names = build.kernels(self._source)

    @functools.cached_property
    def _library(self) -> "_Library":
        try:
            return _Library(build.library(self._source, self._defines, self.mode))
        except build.CompileError as error:
            raise CompileException(str(error)) from None

    def compile(self, log_stream=None) -> None:
        _ = self._library

    def get_function(self, name: str) -> "Function":
        if name not in self._names:
            raise KernelError(f"CUDA_ERROR_NOT_FOUND: no kernel {name}; there are {', '.join(self._names)}")
        return Function(self._library, name, self._names[name], self.mode == "checked", self.backwards)


class _Library:
    """A loaded module and where its static shared arrays lie."""

    def __init__(self, path: Path) -> None:
        self.path, self.dll = path, ctypes.CDLL(str(path))
        self.dll.emu_message.restype = ctypes.c_char_p
        self.dll.emu_message_pc.restype = ctypes.c_void_p
        self.dll.emu_base.restype = ctypes.c_void_p
        self.base = self.dll.emu_base()
        self.shared = [(self.base + offset, size) for offset, size in build.shared_arrays(path)]


class Function:
    """What RawModule.get_function gives."""

    def __init__(self, library: _Library, name: str, names: list[str], check: bool, backwards: bool) -> None:
        self._library, self.name, self._check, self._backwards = library, name, check, backwards
        self._kernel = _Kernel.in_dll(library.dll, f"emu_kernel_{name}")
        self._parameters = list(zip(names, self._kernel.parameters[: self._kernel.count], strict=True))

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None) -> None:
        grid, block = _geometry(self.name, grid, block, shared_mem)
        values, arrays = self._arguments(args)
        self._refuse_overlaps(arrays)
        counters.launches += 1
        table = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        static = [_Extent(begin, begin + size, 1, 1) for begin, size in self._library.shared]
        rest = _device_extents([array for _, _, array in arrays]) if self._check else []
        extents = (_Extent * (1 + len(static) + len(rest)))(_Extent(), *static, *rest)
        sizes = ctypes.c_uint * 3
        failed = self._library.dll.emu_launch(
            ctypes.byref(self._kernel), table, sizes(*grid), sizes(*block), ctypes.c_size_t(shared_mem),
            extents, len(extents), int(self._check), int(self._backwards),
        )  # fmt: skip
        if failed:
            self._raise()
        for _, constant, array in arrays:
            if not constant:
                array._block.check_guards(self.name)

    def _raise(self) -> None:
        dll, library = self._library.dll, self._library
        pc = dll.emu_message_pc()
        place = f"{build.line_of(library.path, pc - 1 - library.base)}: " if pc else ""
        raise KernelError(f"{self.name}: {place}{dll.emu_message().decode()}")

    def _arguments(self, args) -> tuple[list[np.ndarray], list]:
        """Each argument's bytes, in host arrays; and (name, const, device array) of the pointers."""
        if not isinstance(args, tuple):
            raise TypeError(f"{self.name}: args must be a tuple")
        if len(args) != len(self._parameters):
            names = ", ".join(name for name, _ in self._parameters)
            raise TypeError(f"{self.name}: takes {len(self._parameters)} arguments ({names}), got {len(args)}")
        values, arrays = [], []
        for value, (name, parameter) in zip(args, self._parameters, strict=True):
            if not parameter.pointer:
                values.append(_scalar(f"{self.name}({name})", value, parameter))
                continue
            if value is None:
                values.append(np.zeros(1, np.uint64))
                continue
            _check_array(f"{self.name}({name})", value, parameter)
            values.append(np.array(value._memory.ctypes.data, np.uint64))
            arrays.append((name, parameter.constant, value))
        return values, arrays

    def _refuse_overlaps(self, arrays) -> None:
        for (name, constant, a), (other, other_constant, b) in itertools.combinations(arrays, 2):
            (first, last), (begin, end) = _extent(a), _extent(b)
            if not (constant and other_constant) and first < end and begin < last:
                output = other if constant else name
                raise ValueError(f"{self.name}({output}): the output shares memory with {name if constant else other}")


def _file_name(code: str, folder: Path) -> str:
    """The file of the kernel folder that holds this source: for the messages."""
    return next((path.name for path in folder.glob("*.cu") if path.read_text() == code), "kernel.cu")


def _read_options(options: tuple[str, ...]) -> tuple[list[Path], list[str]]:
    folders, defines = [], []
    for option in options:
        if option.startswith("-I"):
            folders.append(Path(option[2:]))
        elif option.startswith("-D"):
            defines.append(option)
        elif not option.startswith(IGNORED_OPTIONS):
            raise NotImplementedError(f"RawModule: the emulated GPU does not know the option {option}")
    return folders, defines


def _geometry(kernel: str, grid, block, shared_mem: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    for name, sizes in (("grid", grid), ("block", block)):
        if not isinstance(sizes, tuple) or not 1 <= len(sizes) <= 3:
            raise TypeError(f"{kernel}: {name} must be a tuple of 1 to 3 integers, got {sizes!r}")
        if not all(isinstance(size, int | np.integer) for size in sizes):
            raise TypeError(f"{kernel}: {name} must hold integers, got {sizes!r}")
        if min(sizes) < 1:
            raise ValueError(f"{kernel}: {name} {sizes} is empty; CuPy would run one block all the same")
    grid, block = (grid + (1, 1))[:3], (block + (1, 1))[:3]
    threads = block[0] * block[1] * block[2]
    if threads > MAX_THREADS or block[2] > 64 or max(grid[1:]) > 65535 or grid[0] >= 2**31 or shared_mem > MAX_SHARED:
        raise KernelError(
            f"{kernel}: CUDA_ERROR_INVALID_VALUE: grid {grid}, block {block} of {threads} threads, "
            f"{shared_mem} bytes of shared memory"
        )
    return grid, block


def _scalar(where: str, value, parameter: _Parameter) -> np.ndarray:
    wanted = parameter.dtype
    passed = {int: np.int64, float: np.float64, bool: np.bool_}.get(type(value), type(value))  # as CuPy passes it
    if wanted.kind == "V":
        one = isinstance(value, np.ndarray) and value.size == 1 and value.dtype.names
        if not one or value.dtype.itemsize != wanted.itemsize:
            raise TypeError(
                f"{where}: expected a structured NumPy array of one element and {wanted.itemsize} bytes, "
                f"got {type(value).__name__}"
            )
    elif not (isinstance(passed, type) and issubclass(passed, np.generic)) or np.dtype(passed) != wanted:
        raise TypeError(
            f"{where}: expected numpy.{wanted.name}, got {type(value).__name__}: CuPy passes its bytes unconverted"
        )
    return np.array(value, None if wanted.kind == "V" else wanted)


def _check_array(where: str, value, parameter: _Parameter) -> None:
    if not hasattr(value, "_memory"):
        raise TypeError(f"{where}: expected an array on the device, got {type(value).__name__}")
    if parameter.kind != b"V" and value.dtype != parameter.dtype:
        raise TypeError(f"{where}: expected an array of {parameter.dtype}, got one of {value.dtype}")
    if not value.flags.c_contiguous:
        raise ValueError(
            f"{where}: the array is a strided view; the kernel would read its memory as if it were contiguous"
        )


def _extent(array) -> tuple[int, int]:
    address = array._memory.ctypes.data
    return address, address + array.nbytes


def _device_extents(arrays) -> list[_Extent]:
    """What a kernel may touch: its arguments, and the arrays whose addresses lie in an argument of type uint64."""
    found: dict[tuple[int, int], int] = {}
    for array in arrays:
        found[_extent(array)] = min(array.dtype.itemsize, 4)
    tables = [array._memory.ravel() for array in arrays if array.dtype == np.uint64]
    addresses = np.concatenate(tables) if tables else np.empty(0, np.uint64)
    for block in list(live) if len(addresses) else ():
        begin, end = block.extent
        if ((addresses >= begin) & (addresses < end)).any():
            found.setdefault((begin, end), 1)
    return [_Extent(begin, end, grain, 0) for (begin, end), grain in _merged(found)]


def _merged(extents: dict[tuple[int, int], int]) -> list[tuple[tuple[int, int], int]]:
    """Extents that overlap (two inputs may) become one."""
    merged: list[tuple[tuple[int, int], int]] = []
    for (begin, end), grain in sorted(extents.items()):
        if merged and begin < merged[-1][0][1]:
            (first, last), other = merged.pop()
            begin, end, grain = first, max(end, last), min(grain, other)
        merged.append(((begin, end), grain))
    return merged
