"""Pickled batches of arrays, read without running the pickle.

A pickle is a program for a small stack machine, and its instructions GLOBAL and REDUCE import and call anything
whatsoever: ``pickle.load`` on a stranger's file runs the stranger's code. The interpreter below knows plain values,
containers and the few globals by which NumPy describes an array. It takes a note of each of them and calls none,
so there is nothing in it that a pickle could run; every other global or instruction ends the reading.

Read are protocols 2 to 4, as written by NumPy under Python 2 (whose strings come as bytes) and Python 3.
"""

import math
import pickletools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchnet.datasets.base import DatasetError, read_file

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
GLOBALS = {*RECONSTRUCT, "numpy.ndarray", "numpy.dtype", "_codecs.encode"}


class _Refused(Exception):
    """The pickle asks for something that no batch of arrays needs."""


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass
class _Dtype:
    code: str  # e.g. "u1"
    byteorder: str = "|"


@dataclass
class _Array:
    value: np.ndarray | None = None


def read_batch(path: "Traversable") -> dict[str, Any]:
    """The dict in a pickled batch: its arrays as NumPy arrays, its keys as text, other strings as they are.

    Raises:
        DatasetNotFoundError: there is no such file.
        DatasetError: it is damaged, is no pickle of a dict, holds arrays of anything but integers, or asks for a
            global or an instruction that arrays do not need; the message names the file and the global.
    """
    data = read_file(path, "a pickled batch")
    try:
        batch = _interpret(data)
    except _Refused as error:
        raise DatasetError(f"{path}: refused: expected a pickle of arrays and nothing else, got {error}") from None
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: damaged: expected a whole pickle, got: {error}") from None
    if not isinstance(batch, dict):
        raise DatasetError(f"{path}: expected a pickled dict, got {type(batch).__name__.strip('_')}")
    return {_text(key): item.value if isinstance(item, _Array) else item for key, item in batch.items()}


def _interpret(data: bytes) -> Any:
    """What the pickle's program leaves on its stack."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    argument: Any

    def pop(n: int) -> list[Any]:
        start = len(stack) - n
        if start < (marks[-1] if marks else 0):
            raise ValueError("an instruction that takes more than there is on the stack")
        items = stack[start:]
        del stack[start:]
        return items

    for instruction, argument, _ in pickletools.genops(data):
        match instruction.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return pop(1)[0]
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(instruction.name == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8":
                stack.append(argument)
            case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8":
                stack.append(argument)
            case "BINSTRING" | "SHORT_BINSTRING":  # a str of Python 2, which pickletools decodes as latin1
                stack.append(argument.encode("latin1"))
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(pop(int(instruction.name[-1]))))
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(pop(len(stack) - marks[-1])))
                marks.pop()
            case "APPEND":
                _extend(stack[-2], pop(1))
            case "APPENDS":
                items = pop(len(stack) - marks.pop())
                _extend(stack[-1], items)
            case "SETITEM":
                _update(stack[-3], pop(2))
            case "SETITEMS":
                items = pop(len(stack) - marks.pop())
                _update(stack[-1], items)
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":  # pickletools joins module and name by a space
                stack.append(_global(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                stack.append(_global(".".join(pop(2))))
            case "REDUCE":
                stack.append(_reduce(*pop(2)))
            case "BUILD":
                _build(stack[-2], pop(1)[0])
            case name:
                raise _Refused(f"the instruction {name}" + ("" if argument is None else f" {argument!r:.80}"))
    raise ValueError("no STOP")


def _global(name: str) -> _Global:
    if name not in GLOBALS:
        raise _Refused(f"the global {name!r:.200}")
    return _Global(name)


def _reduce(function: Any, arguments: Any) -> Any:
    """What a call stands for. It is recognised, never made."""
    name = function.name if isinstance(function, _Global) else type(function).__name__
    match name, arguments:
        case _, (_Global("numpy.ndarray"), _, _) if name in RECONSTRUCT:
            return _Array()
        case "numpy.dtype", (str() | bytes() as code, *_):
            return _Dtype(_text(code))
        case "_codecs.encode", (str() as text, "latin1"):  # bytes, as Python 3 writes them in protocol 2
            return text.encode("latin1")
    raise _Refused(f"a call of {name} that describes no array")


def _build(target: Any, state: Any) -> None:
    """Complete a dtype by its byte order, or an array by its shape, dtype and values."""
    match target, state:
        case _Dtype(), (_, str() | bytes() as byteorder, None, None, None, *_):
            target.byteorder = _text(byteorder)
        case _Array(), (_, tuple() as shape, _Dtype() as dtype, bool() | int() as fortran, bytes() as values):
            target.value = _array(shape, dtype, "F" if fortran else "C", values)
        case _Array(), (_, _, _Dtype() as dtype, *_):
            raise _Refused(f"an array of dtype {dtype.code!r:.40} whose values are no bytes")
        case _:
            raise _Refused(f"a state for {type(target).__name__.strip('_')} that describes no array")


def _array(shape: tuple, dtype: _Dtype, order: Any, values: bytes) -> np.ndarray:
    if not re.fullmatch("[iu][1248]", dtype.code) or dtype.byteorder not in tuple("|<>="):
        raise _Refused(f"an array of dtype {dtype.byteorder + dtype.code!r:.40}")
    kind = np.dtype(dtype.byteorder + dtype.code)
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError("an array whose shape is no tuple of sizes")
    expected = math.prod(shape) * kind.itemsize
    if len(values) != expected:
        raise ValueError(f"an array of shape {shape} in {len(values)} bytes, which takes {expected}")
    return np.frombuffer(values, kind).reshape(shape, order=order)


def _extend(target: Any, items: list) -> None:
    if type(target) is not list:
        raise ValueError(f"items for a list, and a {type(target).__name__.strip('_')} in its place")
    target.extend(items)


def _update(target: Any, items: list) -> None:
    keys, values = items[::2], items[1::2]
    if type(target) is not dict or len(keys) != len(values):
        raise ValueError(f"items for a dict, and a {type(target).__name__.strip('_')} in its place")
    if not all(type(key) in (str, bytes) for key in keys):
        raise _Refused("a dict whose keys are not text")
    target.update(zip(keys, values, strict=True))


def _text(value: str | bytes) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else value
