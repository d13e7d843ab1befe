"""A state_dict in a file: safetensors, torch's .pt, NumPy's .npz. Nothing that a file holds is ever run."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy

from scratchnet.interchange import asarray
from scratchnet.weights import _npz, _safetensors, _torch

# Each has encode(arrays) → bytes and decode(bytes) → (name, array, the dtype's name in the file) of every array.
FORMATS: dict[str, ModuleType] = {"safetensors": _safetensors, "torch": _torch, "npz": _npz}
SUFFIXES = {".safetensors": "safetensors", ".pt": "torch", ".pth": "torch", ".npz": "npz"}


class StateDict(dict[str, numpy.ndarray]):
    """Arrays by name, and `path`, the file that they come from, which load_state_dict names in its errors."""

    def __init__(self, arrays: Mapping[str, numpy.ndarray], path: Path) -> None:
        super().__init__(arrays)
        self.path = path


def load(path: str | os.PathLike[str]) -> StateDict:
    """The arrays of a file by name, for `model.load_state_dict`.

    Args:
        path: a file, whose suffix says what it is, or the folder of a run, which stands for its best checkpoint.

            .safetensors: of any library. Of a checkpoint of scratchnet it gives the model's arrays (the averaged ones
            if there are such), checked against the checksum.

            .pt, .pth: a state_dict saved by torch, read with `weights_only=True` onto the CPU, which needs torch. It
            may lie under "state_dict", "model_state_dict" or "model" of a larger checkpoint; the prefixes "module." and
            "_orig_mod." that DataParallel and torch.compile put before every name are taken off.

            .npz: of numpy.savez; pickled objects are refused.

    Returns:
        arrays under the names of the file. float16 and bfloat16 become float32, with a warning that says so; every
        other dtype stays.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix; or the file is cut short, is not of this format, or holds anything but arrays.
        RuntimeError: a .pt file without torch; a checkpoint of scratchnet that was changed after it was written.
    """
    from scratchnet.training.checkpoint import load_checkpoint

    path = Path(path)
    if path.is_dir():
        checkpoint = load_checkpoint(path)
        return StateDict(checkpoint.weights, checkpoint.path or path)
    decode = FORMATS[_format(path)].decode
    try:
        data = path.read_bytes()
    except OSError as error:
        raise type(error)(f"{path}: {os.strerror(error.errno or 0)}") from None
    if path.suffix == ".safetensors" and _safetensors.is_checkpoint(data):
        return StateDict(load_checkpoint(path).weights, path)
    arrays, widened = {}, set()
    try:
        for name, array, dtype in decode(data):
            if array.dtype.kind not in "fiub":
                raise ValueError(f"expected numbers, got {name} of {dtype}")
            if dtype in ("float16", "bfloat16"):
                array = array.astype("float32")
                widened.add(dtype)
            arrays[name] = array
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except RuntimeError as error:
        raise RuntimeError(f"{path}: {error}") from None
    if widened:
        warnings.warn(f"{path}: {' and '.join(sorted(widened))} became float32", stacklevel=2)
    return StateDict(arrays, path)


def save(state_dict: Mapping[str, Any], path: str | os.PathLike[str], format: str | None = None) -> None:
    """Write a state_dict so that `path` is always a whole file: the old one or the new one.

    Args:
        state_dict: arrays (of NumPy or CuPy, or what `scratchnet.asarray` takes) by name.
        path: where to; its suffix chooses the format: .safetensors, .pt or .pth, .npz.
        format: "safetensors", "torch" or "npz", whatever the suffix.

    What is written: dtypes and names as they are. The torch file is what `torch.save(model.state_dict())` writes: torch
    reads it with `torch.load(path, weights_only=True)`.

    Raises:
        ValueError: another suffix.
        TypeError: not a mapping of names to arrays of numbers.
        RuntimeError: torch's format without torch.
        OSError: the disk is full, there is no such folder, …; what was there before is untouched.
    """
    path = Path(path)
    encode = FORMATS[_format(path, format)].encode
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"save: expected a mapping of names to arrays, got {type(state_dict).__name__}")
    arrays = {name: _plain(name, value) for name, value in state_dict.items()}
    try:
        data = encode(arrays)
    except RuntimeError as error:
        raise RuntimeError(f"{path}: {error}") from None
    write(path, data)


def write(path: Path, data: bytes) -> None:
    """Write a whole file or, with an OSError that names it, nothing."""
    from scratchnet.training.checkpoint import write_atomically

    try:
        write_atomically(path, data)
    except OSError as error:
        raise type(error)(f"{path}: could not be written ({os.strerror(error.errno or 0)})") from None


def _format(path: Path, format: str | None = None) -> str:
    if format is None:
        format = SUFFIXES.get(path.suffix)
        if format is None:
            raise ValueError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
    elif format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    return format


def _plain(name: Any, value: Any) -> numpy.ndarray:
    """The array as every format wants it: on the CPU, C-contiguous (safetensors writes others wrongly), writable (torch
    warns of others), of this machine's byte order."""
    if not isinstance(name, str):
        raise TypeError(f"save: expected names as strings, got {name!r}")
    try:
        array = asarray(value)
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"save: {name}: {error}") from None
    if not isinstance(array, numpy.ndarray):
        array = array.get()
    if array.dtype.kind not in "fiub":
        raise TypeError(f"save: expected {name} as an array of numbers, got {array.dtype}")
    return numpy.require(array, array.dtype.newbyteorder("="), ["C", "W"])
