"""Checkpoints: safetensors files that are whole or not there, and say so when they are not what was written.

A file holds the model's arrays under the names of its state_dict, so that any safetensors reader gets weights that
load; `optimizer.<parameter>.<key>` for what the optimizer remembers, `ema.<name>` for averaged weights; and one JSON
string of metadata. Metadata and arrays are covered by a SHA-256, for safetensors itself loads a flipped byte without a
word. Nothing is ever unpickled.
"""

import contextlib
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
        """All arrays under their names in the file, as safetensors takes them: it writes wrongly what is not
        C-contiguous or has another byte order."""
        named = dict(self.model)
        for part in PARTS:
            named |= {f"{part}.{name}": value for name, value in getattr(self, part).items()}
        return {name: _as_written(_host(value)) for name, value in named.items()}


def save_checkpoint(checkpoint: Checkpoint, path: str | os.PathLike[str], keep_previous: bool = False) -> Path:
    """Write a checkpoint so that `path` is always a whole file: the old one or the new one.

    The bytes go to a temporary file beside it, reach the disk, and take the name by a rename. With keep_previous the
    old file is first renamed to `previous(path)`, where `load_checkpoint` looks if it finds nothing at `path`.

    Raises:
        CheckpointError: the disk is full, the folder is not writable, …; what was there before is untouched. Or there
            is something that a checkpoint cannot hold: an array of no number, metadata that is no JSON.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save

    path = Path(path)
    arrays = checkpoint.arrays()
    for name in checkpoint.model:
        if name.partition(".")[0] in PARTS:
            raise CheckpointError(f"{path}: a parameter cannot be called {name!r}: {PARTS} name parts of checkpoints")
    try:
        # There and back, since the checksum is of what will be read, and JSON turns {1: 2} into {"1": 2}.
        metadata = json.loads(json.dumps({"format": FORMAT, **checkpoint.metadata}, default=_scalar))
        metadata["sha256"] = _digest(arrays, metadata)
        data = save(arrays, {"scratchnet": json.dumps(metadata)})
    except (TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not what a checkpoint can hold: {error}") from error
    try:
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

    The old file is replaced, or first renamed to `old`. Raises OSError with the old file as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if old is not None and path.exists():
            os.replace(path, old)
        try:
            os.replace(temporary, path)
        except OSError:
            if old is not None and not path.exists():
                os.replace(old, path)
            raise
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Let renames in it reach the disk, where folders can be synced."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):  # the files are whole under their names: nothing is undone
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def load_checkpoint(path: str | os.PathLike[str], prefer: str = "best") -> Checkpoint:
    """Read a checkpoint: a .safetensors file, or a run folder, in which `prefer`.safetensors is taken if it is there.

    Raises:
        CheckpointError: no such file, cut short, a byte that differs, or not one of ours.
    """
    path = Path(path)
    try:
        path = _find(path, prefer)
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: expected a checkpoint, got: {os.strerror(error.errno or 0)}") from None
    header, arrays = _parse(path, data)
    text = (header.get("__metadata__") or {}).get("scratchnet")
    if text is None:
        raise CheckpointError(
            f"{path}: expected a checkpoint of scratchnet, got plain safetensors without its metadata; weights alone "
            "load with model.load_state_dict(scratchnet.weights.load(path))"
        )
    metadata = _metadata(path, text)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: expected a checkpoint of format {FORMAT}, got {metadata.get('format')!r:.20}; "
            "another version of scratchnet wrote it"
        )
    if metadata.get("sha256") != _digest(arrays, metadata):
        raise CheckpointError(f"{path}: the file was changed after it was written (checksum differs){_instead(path)}")
    del metadata["sha256"], metadata["format"]
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
    except KeyError as error:
        raise CheckpointError(f"{path}: expected a checkpoint of scratchnet, got arrays of {error.args[0]}") from None
    except (SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: expected a whole safetensors file, got {len(data):,} bytes that are none, or one cut short "
            f"({error}){_instead(path)}"
        ) from None


def _metadata(path: Path, text: str) -> dict[str, Any]:
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
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


def _as_written(value: numpy.ndarray) -> numpy.ndarray:
    return numpy.asarray(value, dtype=value.dtype.newbyteorder("="), order="C")


def _scalar(value: Any) -> Any:
    """A NumPy number as JSON knows it."""
    if isinstance(value, numpy.generic):
        return value.item()
    raise TypeError(f"expected metadata of JSON values, got {type(value).__name__}")


def _host(value: Array) -> numpy.ndarray:
    return numpy.asarray(value) if isinstance(value, numpy.ndarray | numpy.generic) else value.get()
