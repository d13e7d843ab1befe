"""Checkpoint files: what is read is what was written, or an error says why not; and writing never loses the old one."""

import errno
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from scratchnet.training import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from scratchnet.training import checkpoint as module
from scratchnet.training.checkpoint import previous

ROOT = Path(__file__).parents[2]
DTYPES = [
    "float32",
    "float64",
    "float16",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "bool",
]


def small(value=1.0) -> Checkpoint:
    return Checkpoint({"w": np.full(3, value, "float32")}, {"value": value}, {"w.m": np.arange(2.0)})


def equal(a: Checkpoint, b: Checkpoint) -> bool:
    def parts(c):
        return [
            [(name, value.dtype, value.shape, value.tobytes()) for name, value in sorted(part.items())]
            for part in (c.model, c.optimizer, c.ema)
        ]

    return parts(a) == parts(b) and a.metadata == b.metadata


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Round trips


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 3), (2, 1, 3, 2)])
def test_every_dtype_and_shape_comes_back(tmp_path, dtype, shape):
    value = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)
    value = np.asarray(value)
    written = Checkpoint({"value": value}, {"a": 1}, {"value.m": value}, {"value": value})
    read = load_checkpoint(save_checkpoint(written, tmp_path / "x.safetensors"))
    assert equal(read, written)
    assert read.path == tmp_path / "x.safetensors"


def test_special_values_come_back_bit_for_bit(tmp_path):
    bits = np.array(
        [0x7FC00001, 0x7F800000, 0xFF800000, 0x80000000, 1, 0xFFFFFFFF], "uint32"
    )  # NaNs, ±inf, −0, denormal
    value = bits.view("float32")
    counter = np.array(2**62 + 1)
    read = load_checkpoint(save_checkpoint(Checkpoint({"v": value, "n": counter}, {}), tmp_path / "x.safetensors"))
    assert read.model["v"].view("uint32").tolist() == bits.tolist()
    assert read.model["n"].dtype == np.int64
    assert read.model["n"] == 2**62 + 1


LAYOUTS = {
    "transposed": lambda a: a.T,
    "every other": lambda a: a[::2, 1::2],
    "reversed": lambda a: a[::-1],
    "broadcast": lambda a: np.broadcast_to(a[0], (5, 6)),
    "Fortran": np.asfortranarray,
    "other byte order": lambda a: a.astype(">f4"),
    "NumPy scalar": lambda a: a[1, 2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_in_memory_comes_back_with_the_right_values(tmp_path, layout):
    value = LAYOUTS[layout](np.arange(24, dtype="float32").reshape(4, 6))
    path = save_checkpoint(Checkpoint({"w": value}, {}), tmp_path / "x.safetensors")
    for read in (load_checkpoint(path).model["w"], safetensors.torch.load_file(path)["w"].numpy()):
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, value)


def test_safetensors_itself_needs_that_care(tmp_path):
    """If this fails, safetensors has learned to write transposed arrays: `Checkpoint.arrays` may be simplified."""
    value = np.arange(6, dtype="float32").reshape(2, 3).T
    read = safetensors.numpy.load(safetensors.numpy.save({"w": value}))["w"]
    assert not np.array_equal(read, value)


def test_metadata_comes_back_as_json_has_it(tmp_path):
    metadata = {"list": [1, 2.5, None, True], "inf": float("inf"), "big": 2**200, "π": "ünï", "tuple": (1, 2)}
    numbers = {"milestones": {12: 1, 3: 2}, "float32": np.float32(0.1), "int64": np.int64(3), "bool": np.bool(True)}
    read = load_checkpoint(save_checkpoint(Checkpoint({}, metadata | numbers), tmp_path / "x.safetensors")).metadata
    assert read.pop("tuple") == [1, 2]
    assert read.pop("milestones") == {"12": 1, "3": 2}
    assert read.pop("float32") == float(np.float32(0.1))
    assert read == {name: value for name, value in metadata.items() if name != "tuple"} | {"int64": 3, "bool": True}


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (Checkpoint({}, {"a": object()}), "expected metadata of JSON values, got object"),
        (Checkpoint({}, {"a": np.zeros(2)}), "expected metadata of JSON values, got ndarray"),
        (Checkpoint({"a": np.array(["text"])}, {}), "dtype"),
        (Checkpoint({"a": np.zeros(1, "longdouble")}, {}), "dtype"),
        (Checkpoint({"\ud800": np.zeros(1)}, {}), "surrogates"),
        (Checkpoint({"optimizer.w": np.zeros(1)}, {}), "a parameter cannot be called 'optimizer.w'"),
        (Checkpoint({"ema": np.zeros(1)}, {}), "a parameter cannot be called 'ema'"),
    ],
)
def test_what_a_file_cannot_hold_is_an_error_and_leaves_nothing(tmp_path, checkpoint, message):
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(checkpoint, tmp_path / "x.safetensors")
    assert files(tmp_path) == []


def test_other_programs_read_the_weights(tmp_path):
    path = save_checkpoint(Checkpoint({"fc.weight": np.ones((2, 3), "float32")}, {}), tmp_path / "x.safetensors")
    assert torch.equal(safetensors.torch.load_file(path)["fc.weight"], torch.ones(2, 3))


# Damaged and foreign files


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """(bytes of a checkpoint, whether other bytes are refused in its place); what is not must give what was written.

    The bytes come from memory, since there are thousands of them to try.
    """
    path = save_checkpoint(small(), tmp_path / "x.safetensors")
    data = path.read_bytes()

    def is_refused(other: bytes) -> bool:
        monkeypatch.setattr(Path, "read_bytes", lambda self: bytes(other))
        try:
            read = load_checkpoint(path)
        except CheckpointError as error:
            return str(path) in str(error)
        assert equal(read, small())
        return False

    assert not is_refused(data)
    return data, is_refused


def test_every_flipped_bit_of_a_file_is_noticed(refused):
    data, is_refused = refused
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            assert is_refused(damaged), f"bit {bit} of byte {position}, {data[position : position + 1]!r}"


def test_every_other_byte_is_noticed_or_means_the_same(refused):
    data, is_refused = refused
    values = (0, 10, 32, 34, 44, 48, 92, 125, 255)  # what JSON is made of, and extremes
    changes = [(i, value) for i in range(len(data)) for value in values if data[i] != value]
    tried = [data[:i] + bytes([value]) + data[i + 1 :] for i, value in changes]
    assert sum(map(is_refused, tried)) > 0.98 * len(tried)  # the rest is white space between tokens


def test_every_truncation_and_extension_is_noticed(refused):
    data, is_refused = refused
    for length in range(len(data)):
        assert is_refused(data[:length]), length
    for more in (b"\0", data, bytes(100)):
        assert is_refused(data + more)


def with_metadata(metadata: dict | None) -> bytes:
    header = json.dumps({"__metadata__": metadata}).encode()
    return struct.pack("<Q", len(header)) + header


FOREIGN = {
    "empty": (b"", "whole safetensors file, got 0 bytes"),
    "text": (b"epoch,loss\n1,0.5\n" * 9, "whole safetensors file"),
    "pickle": (b"\x80\x02}q\x00." + bytes(50), "whole safetensors file"),
    "plain": (safetensors.numpy.save({"w": np.ones(3, "float32")}), "got plain safetensors without its metadata"),
    "plain with metadata": (safetensors.numpy.save({"w": np.ones(3)}, {"format": "pt"}), "got plain safetensors"),
    "bfloat16": (safetensors.torch.save({"w": torch.ones(3, dtype=torch.bfloat16)}), "got arrays of BF16"),
    "null metadata": (with_metadata(None), "got plain safetensors"),
    "metadata that is no JSON": (with_metadata({"scratchnet": "{"}), r"changed after it was written \(metadata\)"),
    "metadata that is no dict": (with_metadata({"scratchnet": "[1]"}), r"changed after it was written \(metadata\)"),
    "deep metadata": (with_metadata({"scratchnet": "[" * 100_000}), r"changed after it was written \(metadata\)"),
    "another format": (with_metadata({"scratchnet": '{"format": 2}'}), "expected a checkpoint of format 1, got 2"),
    "no checksum": (with_metadata({"scratchnet": '{"format": 1}'}), "checksum differs"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_files_are_refused_with_the_reason(tmp_path, kind):
    data, message = FOREIGN[kind]
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)


def test_another_format_number_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FORMAT", 2)
    path = save_checkpoint(small(), tmp_path / "x.safetensors")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format 1, got 2; another version of scratchnet wrote it"):
        load_checkpoint(path)


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"none.safetensors: expected a checkpoint, got: No such file"):
        load_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match=r"expected a run folder with last.safetensors or best.safetensors"):
        load_checkpoint(tmp_path)
    (tmp_path / "last.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="Is a directory"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="File name too long"):
        load_checkpoint("a" * 5000)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
def test_files_and_folders_without_permission(tmp_path):
    path = save_checkpoint(small(), tmp_path / "x.safetensors")
    path.chmod(0)
    with pytest.raises(CheckpointError, match="Permission denied"):
        load_checkpoint(path)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CheckpointError, match="could not be written"):
            save_checkpoint(small(2.0), tmp_path / "y.safetensors")
    finally:
        tmp_path.chmod(0o700)


def test_permission_denied_is_told(tmp_path, monkeypatch):
    def deny(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = save_checkpoint(small(), tmp_path / "x.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", deny)
        with pytest.raises(CheckpointError, match="expected a checkpoint, got: Permission denied"):
            load_checkpoint(path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", deny)
        with pytest.raises(CheckpointError, match=r"could not be written \(Permission denied\)"):
            save_checkpoint(small(2.0), path)
    assert equal(load_checkpoint(path), small())


# Writing


def test_a_folder_gives_best_or_last_or_the_generation_before(tmp_path):
    last, best = tmp_path / "last.safetensors", tmp_path / "best.safetensors"
    save_checkpoint(small(1.0), last)
    assert equal(load_checkpoint(tmp_path), small(1.0))
    save_checkpoint(small(2.0), best)
    assert equal(load_checkpoint(tmp_path), small(2.0))
    assert equal(load_checkpoint(tmp_path, prefer="last"), small(1.0))
    save_checkpoint(small(3.0), last, keep_previous=True)
    last.unlink()
    assert load_checkpoint(tmp_path, prefer="last").path == previous(last)
    assert equal(load_checkpoint(last), small(1.0))


def test_two_generations_are_kept(tmp_path):
    path = tmp_path / "last.safetensors"
    for value in range(5):
        save_checkpoint(small(value), path, keep_previous=True)
        assert equal(load_checkpoint(path), small(value))
        assert value == 0 or equal(load_checkpoint(previous(path)), small(value - 1))
    assert files(tmp_path) == ["last.previous.safetensors", "last.safetensors"]
    path.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"the generation before it is .*last\.previous\.safetensors"):
        load_checkpoint(path)


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


class FullFile:
    """Takes some bytes of what is written, and then there is no room."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        full_disk()


def write_half(monkeypatch):
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode="r", **o: FullFile(real(self, mode, **o)))


FULL_DISKS = {
    "open": lambda patch: patch.setattr(Path, "open", full_disk),
    "write": write_half,
    "fsync": lambda patch: patch.setattr(os, "fsync", full_disk),
    "rename": lambda patch: patch.setattr(os, "replace", full_disk),
}


@pytest.mark.parametrize("keep_previous", [False, True])
@pytest.mark.parametrize("where", FULL_DISKS)
def test_a_full_disk_leaves_the_old_generations_bit_for_bit_and_no_other_file(
    tmp_path, monkeypatch, where, keep_previous
):
    path = tmp_path / "last.safetensors"
    for value in (1.0, 2.0):
        save_checkpoint(small(value), path, keep_previous=True)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    with monkeypatch.context() as patch:
        FULL_DISKS[where](patch)
        with pytest.raises(CheckpointError, match=r"No space left on device.*was there before is untouched"):
            save_checkpoint(small(3.0), path, keep_previous)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before
    save_checkpoint(small(3.0), path, keep_previous)
    assert equal(load_checkpoint(path), small(3.0))


def test_a_last_rename_that_fails_puts_the_file_back(tmp_path, monkeypatch):
    path = tmp_path / "last.safetensors"
    save_checkpoint(small(1.0), path)
    real, calls = os.replace, []

    def second_fails(*names):
        calls.append(names)
        if len(calls) == 2:
            full_disk()
        real(*names)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", second_fails)
        with pytest.raises(CheckpointError, match="the one that was there before is untouched"):
            save_checkpoint(small(2.0), path, keep_previous=True)
    assert files(tmp_path) == ["last.safetensors"]
    assert equal(load_checkpoint(path), small(1.0))


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    """Network file systems may refuse it; the file itself is on the disk."""
    real, folders = os.fsync, []

    def files_only(number):
        if os.path.isdir(f"/proc/self/fd/{number}"):
            folders.append(number)
            raise OSError(errno.EINVAL, "Invalid argument")
        real(number)

    monkeypatch.setattr(os, "fsync", files_only)
    path = save_checkpoint(small(), tmp_path / "x.safetensors")
    assert equal(load_checkpoint(path), small())
    assert len(folders) == (1 if os.path.isdir("/proc/self/fd") else 0)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_device_without_room(tmp_path, monkeypatch):
    """The kernel's own ENOSPC, at the moment in which the bytes leave the process."""
    path = save_checkpoint(small(), tmp_path / "x.safetensors")
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode="r", **o: real(Path("/dev/full"), mode, **o))
    with pytest.raises(CheckpointError, match="No space left on device"):
        save_checkpoint(small(2.0), path)
    monkeypatch.undo()
    assert equal(load_checkpoint(path), small())
    assert files(tmp_path) == ["x.safetensors"]


KILLED = """
import os, sys
from scratchnet.training.checkpoint import Checkpoint, save_checkpoint
import numpy
path, name, deadly = sys.argv[1], sys.argv[2], int(sys.argv[3])
real, calls = getattr(os, name), 0
def dies(*arguments):
    global calls
    calls += 1
    if calls == deadly:
        os._exit(9)  # as kill -9: no finally, no flush
    return real(*arguments)
setattr(os, name, dies)
save_checkpoint(Checkpoint({"w": numpy.full(3, 3.0, "float32")}, {"value": 3.0}), path, keep_previous=True)
"""


@pytest.mark.parametrize(
    ("call", "number", "expected"),
    [
        ("fsync", 1, 2.0),  # before the new file is known to be whole
        ("replace", 1, 2.0),  # before the old one is set aside
        ("replace", 2, 2.0),  # between the renames
        ("fsync", 2, 3.0),  # both done
    ],
)
def test_a_kill_at_any_moment_leaves_a_whole_generation(tmp_path, call, number, expected):
    path = tmp_path / "last.safetensors"
    for value in (1.0, 2.0):
        save_checkpoint(small(value), path, keep_previous=True)
    arguments = [str(path), call, str(number)]
    result = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, cwd=ROOT)
    assert result.returncode == 9
    for read in (load_checkpoint(path), load_checkpoint(tmp_path)):
        assert read.metadata["value"] == expected
        assert read.model["w"].tolist() == [expected] * 3
    save_checkpoint(small(4.0), path, keep_previous=True)
    assert load_checkpoint(path).metadata["value"] == 4.0
