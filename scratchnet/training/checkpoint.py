"""Checkpoints: safetensors files that are whole or not there, and say so when they are not what was written.

A file holds the model's arrays under the names of its state_dict, so that any safetensors reader gets weights that
load; `optimizer.<parameter>.<key>` for what the optimizer remembers, `ema.<name>` for averaged weights; and one JSON
string of metadata. Metadata and arrays are covered by a SHA-256, for safetensors itself loads a flipped byte without a
word. Nothing is ever unpickled.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from scratchnet.ops.shape import Array

FORMAT = 1
PARTS = ("optimizer", "ema")  # prefixes of arrays that are not the model's

Arrays = dict[str, numpy.ndarray]


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, read, or used; the message names the file and what to do."""


@dataclass
class Checkpoint:
    """What a checkpoint holds. `model`, `optimizer` and `ema` are arrays by name; `metadata` is JSON."""

    model: Arrays
    metadata: dict[str, Any]
    optimizer: Arrays = field(default_factory=dict)
    ema: Arrays = field(default_factory=dict)
    path: Path | None = None

    @property
    def weights(self) -> Arrays:
        """The state_dict to use the model with: the averaged one where there is one."""
        return self.ema or self.model

    def arrays(self) -> Arrays:
        """All arrays under their names in the file, C-contiguous: safetensors writes others wrongly."""
        named = dict(self.model)
        for part in PARTS:
            named |= {f"{part}.{name}": value for name, value in getattr(self, part).items()}
        return {name: numpy.require(_host(value), requirements="C") for name, value in named.items()}


def save_checkpoint(checkpoint: Checkpoint, path: str | os.PathLike[str], keep_previous: bool = False) -> Path:
    """Write a checkpoint so that `path` is always a whole file: the old one or the new one.

    The bytes go to a temporary file beside it, reach the disk, and take the name by a rename. With keep_previous the
    old file is first renamed to `previous(path)`, where `load_checkpoint` looks if it finds nothing at `path`.

    Raises:
        CheckpointError: the disk is full, the folder is not writable, …; what was there before is untouched.
    """
    from safetensors.numpy import save

    path = Path(path)
    arrays = checkpoint.arrays()
    for name in checkpoint.model:
        if name.partition(".")[0] in PARTS:
            raise CheckpointError(f"{path}: a parameter cannot be called {name!r}: {PARTS} name parts of checkpoints")
    metadata = {"format": FORMAT, **checkpoint.metadata}
    metadata["sha256"] = _digest(arrays, metadata)
    try:
        data = save(arrays, {"scratchnet": json.dumps(metadata)})
        write_atomically(path, data, previous(path) if keep_previous else None)
    except OSError as error:
        raise CheckpointError(
            f"{path}: the checkpoint could not be written ({os.strerror(error.errno or 0)}); "
            "the one that was there before is untouched"
        ) from error
    return path


def previous(path: str | os.PathLike[str]) -> Path:
    """Where the generation before lies: runs/x/last.safetensors → runs/x/last.previous.safetensors"""
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def write_atomically(path: Path, data: bytes, old: Path | None = None) -> None:
    """Put data into the file `path`: a kill or power cut at any moment leaves the old file or the new one, whole.

    The old file is replaced, or first renamed to `old`. Raises OSError with both as they were.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if old is not None and path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # the rename itself has to reach the disk
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load_checkpoint(path: str | os.PathLike[str], prefer: str = "best") -> Checkpoint:
    """Read a checkpoint: a .safetensors file, or a run folder, in which `prefer`.safetensors is taken if it is there.

    Raises:
        CheckpointError: no such file, cut short, a byte that differs, or not one of ours.
    """
    path = _find(Path(path), prefer)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: expected a checkpoint, got: {os.strerror(error.errno or 0)}") from None
    header, arrays = _parse(path, data)
    text = header.get("__metadata__", {}).get("scratchnet")
    if text is None:
        raise CheckpointError(
            f"{path}: expected a checkpoint of scratchnet, got plain safetensors without its metadata; weights alone "
            "load with model.load_state_dict(scratchnet.weights.load(path))"
        )
    metadata = _metadata(path, text)
    digest = metadata.pop("sha256", None)
    if digest != _digest(arrays, metadata):
        raise CheckpointError(f"{path}: the file was changed after it was written (checksum differs){_instead(path)}")
    if metadata.pop("format", None) != FORMAT:
        raise CheckpointError(
            f"{path}: expected a checkpoint of format {FORMAT}; another version of scratchnet wrote it"
        )
    parts: dict[str, Arrays] = {"model": {}, **{part: {} for part in PARTS}}
    for name, value in arrays.items():
        part, _, rest = name.partition(".")
        parts[part if part in PARTS else "model"][rest if part in PARTS else name] = value
    return Checkpoint(parts["model"], metadata, parts["optimizer"], parts["ema"], path)


def _find(path: Path, prefer: str) -> Path:
    if path.is_dir():
        names = dict.fromkeys([prefer, "last", "best"])
        candidates = [path / f"{name}.safetensors" for name in names]
        found = next((file for file in candidates if file.exists() or previous(file).exists()), None)
        if found is None:
            raise CheckpointError(f"{path}: expected a run folder with last.safetensors or best.safetensors in it")
        path = found
    if not path.exists() and previous(path).exists():
        return previous(path)
    return path


def _parse(path: Path, data: bytes) -> tuple[dict[str, Any], Arrays]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
        (length,) = struct.unpack("<Q", data[:8])
        return json.loads(data[8 : 8 + length]), arrays
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: expected a whole safetensors file, got {len(data):,} bytes that are none, or one cut short "
            f"({error}){_instead(path)}"
        ) from None


def _metadata(path: Path, text: str) -> dict[str, Any]:
    try:
        metadata = json.loads(text)
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path}: the file was changed after it was written (metadata){_instead(path)}")
    return metadata


def _instead(path: Path) -> str:
    older = previous(path)
    return f"; the generation before it is {older}" if older.exists() else ""


def _digest(arrays: Mapping[str, numpy.ndarray], metadata: Mapping[str, Any]) -> str:
    """SHA-256 over the metadata and every array's name, dtype, shape and bytes."""
    digest = hashlib.sha256()
    for part in _described(arrays, metadata):
        digest.update(part)
    return digest.hexdigest()


def _described(arrays: Mapping[str, numpy.ndarray], metadata: Mapping[str, Any]) -> Iterator[bytes]:
    yield json.dumps({key: value for key, value in metadata.items() if key != "sha256"}, sort_keys=True).encode()
    for name in sorted(arrays):
        value = arrays[name]
        yield f"\n{name} {value.dtype.str} {value.shape}\n".encode()
        yield numpy.ascontiguousarray(value).tobytes()


def _host(value: Array) -> numpy.ndarray:
    return numpy.asarray(value) if isinstance(value, numpy.ndarray | numpy.generic) else value.get()
