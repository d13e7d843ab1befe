"""cupy.ndarray and cupy's functions on NumPy: NumPy computes; what CuPy refuses, or does in silence, is refused.

Refused: a host array beside a device array, an implicit copy to the host, an index out of range, an assignment
through duplicate indices. Whatever gives the host a value of the device is a synchronisation, and counted.
"""

import builtins
import operator
from types import SimpleNamespace

import numpy as np

from gpu_emulation import device as _cuda
from gpu_emulation.memory import Block, counters, synchronize

SCALARS = (bool, int, float, complex, np.generic)
UFUNCS = (  # noqa: SIM905
    "add subtract multiply divide true_divide floor_divide remainder mod power negative positive absolute "
    "fabs exp exp2 expm1 log log2 log10 log1p sqrt square cbrt reciprocal sin cos tan tanh sinh cosh arctan "
    "sign maximum minimum fmax fmin equal not_equal less less_equal greater greater_equal logical_and "
    "logical_or logical_xor logical_not isnan isinf isfinite signbit floor ceil trunc rint bitwise_and "
    "bitwise_or bitwise_xor left_shift right_shift invert"
).split()
REDUCTIONS = [
    "sum",
    "prod",
    "mean",
    "var",
    "std",
    "max",
    "min",
    "amax",
    "amin",
    "argmax",
    "argmin",
    "any",
    "all",
    "cumsum",
    "cumprod",
]


class ndarray:
    __slots__ = ("_block", "_memory", "base")
    __hash__ = None
    __array_priority__ = 100

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is not None or strides is not None or order != "C":
            raise NotImplementedError("ndarray: the emulated GPU takes shape and dtype only")
        kind = np.dtype(dtype)
        if kind.kind not in "biufc":
            raise ValueError(f"Unsupported dtype {kind}")
        shape = (shape,) if isinstance(shape, int | np.integer) else tuple(map(operator.index, shape))
        self.base = None
        self._block = Block(int(np.prod(shape, dtype=np.int64)) * kind.itemsize)
        self._memory = self._block.bytes[self._block.start : self._block.stop].view(kind).reshape(shape)

    shape = property(lambda self: self._memory.shape)
    dtype = property(lambda self: self._memory.dtype)
    size = property(lambda self: self._memory.size)
    ndim = property(lambda self: self._memory.ndim)
    nbytes = property(lambda self: self._memory.nbytes)
    itemsize = property(lambda self: self._memory.itemsize)
    strides = property(lambda self: self._memory.strides)
    flags = property(lambda self: self._memory.flags)
    T = property(lambda self: _view(self, self._memory.T))

    # To the host. The implicit way is refused; the explicit ones wait.
    @property
    def data(self):
        return SimpleNamespace(ptr=self._memory.ctypes.data)

    @property
    def device(self):
        return _cuda.Device(0)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def get(self, stream=None, order="C", out=None, blocking=True):
        synchronize(".get()")
        if out is None:
            return self._memory.copy(order)
        out[...] = self._memory
        return out

    def item(self):
        synchronize(".item()")
        return self._memory.item()

    def tolist(self):
        synchronize(".tolist()")
        return self._memory.tolist()

    def __float__(self):
        synchronize("float()")
        return float(self._memory)

    def __int__(self):
        synchronize("int()")
        return int(self._memory)

    def __bool__(self):
        synchronize("bool()")
        return bool(self._memory)

    def __index__(self):
        synchronize("an index")
        return operator.index(self._memory)

    def __repr__(self):
        synchronize("repr()")
        return repr(self._memory)

    def __len__(self):
        return len(self._memory)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    # From the host.
    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype or arr.shape != self.shape:
            raise ValueError(f"set: expected {self.dtype} {self.shape}, got {arr.dtype} {arr.shape}")
        counters.uploads += 1
        self._memory[...] = arr

    def fill(self, value):
        self._memory.fill(_operand(value))

    def __getitem__(self, key):
        return _result(self, self._memory[_index(key)])

    def __setitem__(self, key, value):
        index = _index(key)
        _refuse_duplicates(self, index)
        self._memory[index] = _operand(value)

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if method != "__call__" or ufunc.__name__ not in UFUNCS:
            return NotImplemented
        return globals()[ufunc.__name__](*inputs, **options)

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"numpy.{function.__name__} got a device array: call the function of the array's own module")

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        wanted = np.dtype(dtype)
        if not copy and wanted == self.dtype:
            return self
        if self.dtype.kind == "f" and wanted.kind in "iu":
            limits = np.iinfo(wanted)
            if not ((self._memory >= limits.min) & (self._memory <= limits.max)).all():
                raise ValueError(f"astype: a float outside the range of {wanted}; CuPy's result is not NumPy's")
        return _fresh(self._memory.astype(wanted))

    def copy(self, order="C"):
        return _fresh(self._memory.copy(order))

    def view(self, dtype=None):
        return _view(self, self._memory.view(dtype) if dtype is not None else self._memory[...])

    def reshape(self, *shape, order="C"):
        return _result(self, self._memory.reshape(*shape, order=order))

    def transpose(self, *axes):
        return _view(self, self._memory.transpose(*axes))

    def swapaxes(self, axis1, axis2):
        return _view(self, self._memory.swapaxes(axis1, axis2))

    def ravel(self, order="C"):
        return _result(self, self._memory.ravel(order))

    def flatten(self, order="C"):
        return _fresh(self._memory.flatten(order))

    def squeeze(self, axis=None):
        return _view(self, self._memory.squeeze(axis))

    def take(self, indices, axis=None, out=None):
        return take(self, indices, axis, out)

    def clip(self, min=None, max=None, out=None):
        return clip(self, min, max, out)

    def dot(self, b, out=None):
        return matmul(self, b, out)


def _view(owner, memory):
    array = object.__new__(ndarray)
    array._memory, array._block = memory, owner._block
    array.base = owner if owner.base is None else owner.base
    return array


def _fresh(values):
    """In memory of its own, C-contiguous; a NumPy scalar becomes a 0-d array, as in CuPy."""
    values = np.asarray(values)
    array = ndarray(values.shape, values.dtype)
    array._memory[...] = values
    return array


def _result(owner, values):
    if isinstance(values, np.ndarray) and np.may_share_memory(values, owner._block.bytes):
        return _view(owner, values)
    return _fresh(values)


def _device(value):
    if not isinstance(value, ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return value._memory


def _operand(value):
    """Python's scalars are weak and NumPy's are not: NumPy 2 and CuPy 14 promote alike."""
    return value if isinstance(value, SCALARS) else _device(value)


def _index(key):
    if isinstance(key, tuple):
        return tuple(map(_index, key))
    if isinstance(key, np.ndarray | list):
        raise TypeError(f"an index of type {type(key).__name__}: copy it to the device first")
    if isinstance(key, ndarray):
        if key.dtype.kind == "b":
            synchronize("a boolean mask")  # how many elements it takes must come to the host
        return key._memory
    return key


def _refuse_duplicates(array, index):
    keys = index if isinstance(index, tuple) else (index,)
    if not builtins.any(isinstance(key, np.ndarray) and key.dtype.kind in "iu" for key in keys):
        return
    times = np.zeros(array.shape, np.int32)
    np.add.at(times, index, 1)
    if times.max(initial=0) > 1:
        raise ValueError("assignment through duplicate indices: which of the values CuPy keeps is undefined")


def _store(out, values):
    if out is None:
        return _fresh(values)
    memory = _device(out)
    if memory.shape != np.shape(values):
        raise ValueError(f"out: expected an array of shape {np.shape(values)}, got {memory.shape}")
    np.copyto(memory, values, casting="same_kind")
    return out


def _ufunc(name):
    function = getattr(np, name)

    def call(*inputs, out=None, dtype=None):
        out = out[0] if isinstance(out, tuple) else out
        return _store(out, function(*map(_operand, inputs), dtype=dtype))

    return call


def _reduction(name):
    function = getattr(np, name)

    def call(a, axis=None, dtype=None, out=None, keepdims=False):
        return _store(out, function(_device(a), axis=axis, dtype=dtype, keepdims=keepdims))

    def call_cumulative(a, axis=None, dtype=None, out=None):
        return _store(out, function(_device(a), axis=axis, dtype=dtype))

    def call_ddof(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
        return _store(out, function(_device(a), axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims))

    def call_plain(a, axis=None, out=None, keepdims=False):
        return _store(out, function(_device(a), axis=axis, keepdims=keepdims))

    if name in ("var", "std"):
        return call_ddof
    if name.startswith("cum"):
        return call_cumulative
    return call_plain if name in ("max", "min", "amax", "amin", "any", "all") else call


def _argument(name):
    function = getattr(np, name)

    def call(a, axis=None, dtype=None, out=None, keepdims=False):
        return _store(out, function(_device(a), axis=axis, keepdims=keepdims))

    return call


def _named(name, function):
    function.__name__ = function.__qualname__ = name
    globals()[name] = function
    return function


for _name in UFUNCS:
    _named(_name, _ufunc(_name))
for _name in REDUCTIONS:
    _named(_name, (_argument if _name.startswith("arg") else _reduction)(_name))
    if not _name.startswith("am"):
        setattr(ndarray, _name, globals()[_name])
abs = globals()["absolute"]

_BINARY = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide"}
_BINARY |= {"mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}
_BINARY |= {"lshift": "left_shift", "rshift": "right_shift"}
_COMPARE = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}


def _operators(short, function):
    setattr(ndarray, f"__{short}__", lambda a, b: function(a, b))
    if short in _BINARY:
        setattr(ndarray, f"__r{short}__", lambda a, b: function(b, a))
        setattr(ndarray, f"__i{short}__", lambda a, b: function(a, b, out=a))


for _short, _name in (_BINARY | _COMPARE).items():
    _operators(_short, globals()[_name])
ndarray.__neg__ = lambda a: globals()["negative"](a)
ndarray.__abs__ = lambda a: abs(a)
ndarray.__invert__ = lambda a: globals()["invert"](a)
ndarray.__matmul__ = lambda a, b: matmul(a, b)


def empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype)


def full(shape, fill_value, dtype=None, order="C"):
    array = ndarray(shape, np.asarray(_operand(fill_value)).dtype if dtype is None else dtype)
    array.fill(fill_value)
    return array


def zeros(shape, dtype=float, order="C"):
    return full(shape, 0, dtype)


def ones(shape, dtype=float):
    return full(shape, 1, dtype)


def empty_like(prototype, dtype=None):
    return ndarray(_device(prototype).shape, dtype or prototype.dtype)


def zeros_like(a, dtype=None):
    return full(_device(a).shape, 0, dtype or a.dtype)


def ones_like(a, dtype=None):
    return full(_device(a).shape, 1, dtype or a.dtype)


def full_like(a, fill_value, dtype=None):
    return full(_device(a).shape, fill_value, dtype or a.dtype)


def arange(start, stop=None, step=1, dtype=None):
    return _fresh(np.arange(start, stop, step, dtype) if stop is not None else np.arange(0, start, step, dtype))


def asarray(a, dtype=None, order=None):
    if isinstance(a, ndarray):
        return a if dtype is None else a.astype(dtype, copy=False)
    counters.uploads += 1
    return _fresh(np.asarray(a, dtype))


def array(obj, dtype=None, copy=True, order="K"):
    if isinstance(obj, ndarray):
        return obj.astype(dtype or obj.dtype, copy=copy)
    return asarray(obj, dtype)


def ascontiguousarray(a, dtype=None):
    a = asarray(a, dtype)
    return a if a.flags.c_contiguous else _fresh(a._memory)


def asnumpy(a, stream=None, order="C", out=None):
    return a.get(stream, order, out) if isinstance(a, ndarray) else np.asarray(a)


def copyto(dst, src, casting="same_kind"):
    np.copyto(_device(dst), _operand(src), casting=casting)


def where(condition, x=None, y=None):
    if x is None:
        synchronize("where(condition)")
        return tuple(map(_fresh, np.where(_device(condition))))
    return _fresh(np.where(_device(condition), _operand(x), _operand(y)))


def clip(a, a_min=None, a_max=None, out=None):
    return _store(out, np.clip(_device(a), *(None if x is None else _operand(x) for x in (a_min, a_max))))


def matmul(x1, x2, out=None):
    return _store(out, _device(x1) @ _device(x2))


def einsum(subscripts, *operands):
    return _fresh(np.einsum(subscripts, *map(_device, operands)))


def tensordot(a, b, axes=2):
    return _fresh(np.tensordot(_device(a), _device(b), axes))


def concatenate(tup, axis=0, out=None):
    return _store(out, np.concatenate([_device(a) for a in tup], axis))


def stack(tup, axis=0, out=None):
    return _store(out, np.stack([_device(a) for a in tup], axis))


def take(a, indices, axis=None, out=None):
    values = indices if isinstance(indices, int | np.integer) else _device(indices)
    return _store(out, np.take(_device(a), values, axis))


def take_along_axis(a, indices, axis):
    return _fresh(np.take_along_axis(_device(a), _device(indices), axis))


def pad(array, pad_width, mode="constant", constant_values=0):
    return _fresh(np.pad(_device(array), pad_width, mode, constant_values=constant_values))


def reshape(a, newshape, order="C"):
    return a.reshape(newshape, order=order)


def transpose(a, axes=None):
    return _view(a, _device(a).transpose(axes))


def moveaxis(a, source, destination):
    return _view(a, np.moveaxis(_device(a), source, destination))


def swapaxes(a, axis1, axis2):
    return a.swapaxes(axis1, axis2)


def expand_dims(a, axis):
    return _view(a, np.expand_dims(_device(a), axis))


def squeeze(a, axis=None):
    return a.squeeze(axis)


def ravel(a, order="C"):
    return a.ravel(order)


def broadcast_to(array, shape):
    return _view(array, np.broadcast_to(_device(array), shape))


def flip(a, axis=None):
    return _view(a, np.flip(_device(a), axis))


def as_strided(x, shape=None, strides=None):
    low, high = np.lib.array_utils.byte_bounds(np.lib.stride_tricks.as_strided(_device(x), shape, strides))
    begin, end = x._block.extent
    if low < begin or high > end:
        raise ValueError("as_strided: the view reaches beyond the array")
    return _view(x, np.lib.stride_tricks.as_strided(x._memory, shape, strides))


def sliding_window_view(x, window_shape, axis=None, *, subok=False, writeable=False):
    return _view(x, np.lib.stride_tricks.sliding_window_view(_device(x), window_shape, axis))


def may_share_memory(a, b, max_work=None):
    return np.may_share_memory(_device(a), _device(b))


def shares_memory(a, b, max_work=None):
    return np.shares_memory(_device(a), _device(b))


def get_array_module(*args):
    import sys

    return sys.modules["cupy"] if builtins.any(isinstance(a, ndarray) for a in args) else np


def erf(x):
    """cupyx.scipy.special.erf."""
    from math import erf

    values = _device(x)
    return _fresh(np.fromiter(map(erf, values.ravel()), values.dtype, values.size).reshape(values.shape))


ndarray.__module__ = "cupy"  # what a user sees, and what code may ask an array for
