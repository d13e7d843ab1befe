import contextlib
import copyreg
import os
import pickle
import re
import struct

import numpy as np
import pytest
from dataset_files import python2_batch, python2_pickle

from scratchnet.datasets import DatasetError, DatasetNotFoundError
from scratchnet.datasets.batch_pickle import read_batch

DATA = np.arange(24, dtype=np.uint8).reshape(4, 6)


def read(tmp_path, data: bytes):
    path = tmp_path / "batch"
    path.write_bytes(data)
    return read_batch(path)


def test_python_2_batch(tmp_path):
    data = python2_batch(DATA, [3, 1, 4, 1])
    theirs = pickle.loads(data, encoding="latin1")  # the writer in these tests writes what pickle understands
    ours = read(tmp_path, data)
    np.testing.assert_array_equal(ours["data"], DATA)
    assert ours["data"].dtype == np.uint8
    assert ours["labels"] == theirs["labels"] == [3, 1, 4, 1]
    assert set(ours) == set(theirs) == {"batch_label", "labels", "data", "filenames"}
    assert [name.decode() for name in ours["filenames"]] == theirs["filenames"]
    np.testing.assert_array_equal(theirs["data"], DATA)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("keys", [str, str.encode])
def test_python_3_batch(tmp_path, protocol, keys):
    batch = {keys("data"): DATA, keys("labels"): [0, 300, -70_000, 2**40], keys("more"): (None, True, False, ())}
    ours = read(tmp_path, pickle.dumps(batch, protocol))
    np.testing.assert_array_equal(ours["data"], DATA)
    assert ours["labels"] == [0, 300, -70_000, 2**40]
    assert ours["more"] == (None, True, False, ())


def test_old_and_new_name_of_numpys_function(tmp_path):
    new = pickle.dumps({"data": DATA}, 2)
    old = new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert (b"numpy._core.multiarray" in new) != (b"numpy._core.multiarray" in old)
    np.testing.assert_array_equal(read(tmp_path, old)["data"], DATA)
    np.testing.assert_array_equal(read(tmp_path, new)["data"], DATA)


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "<i4", ">i8", "<u8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("how", ["Python 2", "Python 3"])
def test_integers_of_any_size_and_order(tmp_path, dtype, order, how):
    array = np.asarray(np.arange(24).reshape(2, 3, 4) * 5, dtype=dtype, order=order)
    data = python2_pickle({"data": array}) if how == "Python 2" else pickle.dumps({"data": array}, 2)
    ours = read(tmp_path, data)["data"]
    np.testing.assert_array_equal(ours, array)
    assert ours.dtype == array.dtype


def test_one_object_in_two_places(tmp_path):
    names = ["a", "b"]
    ours = read(tmp_path, pickle.dumps({"x": names, "y": names, "data": DATA, "again": DATA}, 2))
    assert ours["x"] is ours["y"]
    np.testing.assert_array_equal(ours["again"], DATA)


class Call:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def attacks(marker):
    """name → (bytes that make ``pickle.loads`` create the file ``marker``, the global or instruction to be named)."""
    shell = f"touch '{marker}'"
    code = f"open({str(marker)!r}, 'w').close()"
    system = Call(os.system, shell)
    reconstruct = np.zeros(1).__reduce__()[0]
    whole = f"c{os.system.__module__}\nsystem\n".encode() + text(shell) + b"\x85R"
    return {
        "os.system": (pickle.dumps(system, 2), "posix.system"),
        "os.system, protocol 4": (pickle.dumps(system, 4), "posix.system"),
        "os.system as os.system": (b"\x80\x02cos\nsystem\n" + text(shell) + b"\x85R.", "os.system"),
        "eval": (pickle.dumps(Call(eval, code), 2), "__builtin__.eval"),
        "eval, protocol 4": (pickle.dumps(Call(eval, code), 4), "builtins.eval"),
        "exec": (pickle.dumps(Call(exec, code), 4), "builtins.exec"),
        "in a list in a dict": (pickle.dumps({"data": DATA, "labels": [1, [2, system]]}, 2), "posix.system"),
        "as a key": (b"\x80\x02}" + whole + b"K\x01s.", "posix.system"),
        "as an argument of numpy's function": (
            pickle.dumps(Call(reconstruct, np.ndarray, (0,), system), 2),
            "posix.system",
        ),
        "in a call in a call": (pickle.dumps(Call(print, Call(len, Call(str, system))), 2), "__builtin__.print"),
        "in an array of objects": (pickle.dumps({"data": np.array([system], dtype=object)}, 2), "posix.system"),
        "in the state of an array": (pickle.dumps((DATA, system), 4), "posix.system"),
        "through getattr": (pickle.dumps(Call(getattr, Call(eval, code), "x"), 4), "builtins.getattr"),
        "by a dotted name": (
            b"\x80\x04" + text("shutil") + text("os.system") + b"\x93" + text(shell) + b"\x85R.",
            "shutil.os.system",
        ),
        "by a dotted name below an admitted module": (
            b"\x80\x04" + text("numpy") + text("lib._npyio_impl.os.system") + b"\x93" + text(shell) + b"\x85R.",
            "numpy.lib._npyio_impl.os.system",
        ),
        "INST": (b"\x80\x02(" + text(shell) + b"iposix\nsystem\n.", "INST 'posix system'"),
        "OBJ": (b"\x80\x02(cposix\nsystem\n" + text(shell) + b"o.", "posix.system"),
        "copyreg": (
            b"\x80\x02ccopyreg\n__newobj__\n" + whole + b"\x85R.",
            "copyreg.__newobj__",
        ),
        "copy_reg": (b"\x80\x02ccopy_reg\n_reconstructor\n(" + whole + b"tR.", "copy_reg._reconstructor"),
        "NEWOBJ": (b"\x80\x02cnumpy\nndarray\n" + whole + b"\x85\x81.", "posix.system"),
        "after a memo": (b"\x80\x02cnumpy\ndtype\nq\x000" + whole + b".", "POP"),
        "an extension": (b"\x80\x02\x82\xf0" + text(shell) + b"\x85R.", "EXT1 240"),
        "an extension of four bytes": (b"\x80\x02\x84\xf0\0\0\0" + text(shell) + b"\x85R.", "EXT4 240"),
    }


@contextlib.contextmanager
def extension():
    """A registered extension code: once pickle has used it, it no longer asks find_class."""
    copyreg.add_extension("posix", "system", 240)
    try:
        yield
    finally:
        copyreg.remove_extension("posix", "system", 240)


@pytest.mark.parametrize("name", attacks(""))
def test_nothing_of_an_attack_runs(tmp_path, name):
    marker = tmp_path / "ran"
    data, named = attacks(marker)[name]
    with extension():
        with contextlib.suppress(Exception):
            pickle.loads(data)
        assert marker.exists(), "this attack would not have worked on pickle, so it shows nothing"
        marker.unlink()
        message = f"^{re.escape(str(tmp_path / 'batch'))}: refused: .*{re.escape(named)}"
        with pytest.raises(DatasetError, match=message):
            read(tmp_path, data)
    assert not marker.exists()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n"
NDARRAY = b"cnumpy\nndarray\n"
OTHERS = {
    "an array of objects": (pickle.dumps({"data": np.array(["a", None], dtype=object)}, 2), "dtype 'O8'"),
    "an array of floats": (pickle.dumps({"data": np.zeros(3)}, 2), "dtype '<f8'"),
    "an array of strings": (pickle.dumps({"data": np.array(["ab"])}, 2), "dtype '<U2'"),
    "a record array": (pickle.dumps({"data": np.zeros(3, "i4,f4")}, 2), "a state for Dtype"),
    "bytes as an array of objects": (
        python2_pickle({"data": DATA}).replace(b"U\x02u1", b"U\x02O8"),
        "dtype '|O8'",
    ),
    "a global that is only named": (pickle.dumps({"data": DATA, "labels": np.load}, 2), "numpy.load"),
    "a numpy scalar": (pickle.dumps({"data": np.float64(1)}, 2), "numpy._core.multiarray.scalar"),
    "an array class of its own": (
        pickle.dumps(np.ma.masked_array([1, 2]), 2),
        "numpy.ma._mareconstruct' or 'numpy.ma.core._mareconstruct",
    ),
    "a huge array": (b"\x80\x02" + NDARRAY + b"\x8a\x06\0\0\0\0\0\x10\x85\x85R.", "a call of numpy.ndarray"),
    "another codec": (
        b"\x80\x02c_codecs\nencode\n" + text("a") + text("rot13") + b"\x86R.",
        "a call of _codecs.encode",
    ),
    "a call of what is no function": (b"\x80\x02" + text("a") + b")R.", "a call of str"),
    "an array of an array's class": (
        b"\x80\x02" + ARRAY + text("a") + b")" + text("b") + b"\x87R.",
        "a call of numpy.core",
    ),
    "a state for a class": (b"\x80\x02" + NDARRAY + b"}b.", "a state for Global"),
    "a state for a list": (b"\x80\x02]}b.", "a state for list"),
    "a persistent object": (b"\x80\x02Pxyz\n.", "PERSID 'xyz'"),
    "a set": (pickle.dumps({1, 2}, 4), "EMPTY_SET"),
    "a float": (pickle.dumps(1.5, 2), "BINFLOAT 1.5"),
    "a tuple as a key": (pickle.dumps({(1, 2): 3}, 2), "keys are not text"),
    "text of protocol 0": (pickle.dumps({"a": "b"}, 0), "the instruction"),
}


@pytest.mark.parametrize(("data", "named"), OTHERS.values(), ids=OTHERS.keys())
def test_what_arrays_do_not_need_is_refused_and_named(tmp_path, data, named):
    pattern = "|".join(re.escape(part) for part in named.split("' or '"))
    with pytest.raises(DatasetError, match=f"refused: expected a pickle of arrays and nothing else, got .*({pattern})"):
        read(tmp_path, data)


def replaced(old: bytes, new: bytes) -> bytes:
    data = python2_pickle({"data": DATA})
    assert data.count(old) == 1
    return data.replace(old, new)


DAMAGED = {
    "empty": b"",
    "truncated": python2_pickle({"data": DATA})[:-10],
    "truncated after an instruction": python2_pickle({"data": DATA})[:-1],
    "no pickle": b"\x1f\x8b\x08 is how gzip begins",
    "a shape that does not fit": replaced(b"K\x04K\x06", b"K\x04K\x07"),
    "a negative shape": replaced(b"K\x04K\x06", b"J\xff\xff\xff\xffJ\xe8\xff\xff\xff"),
    "a huge shape": replaced(b"K\x04K\x06", b"\x8a\x08\0\0\0\0\0\0\0\x40K\x06"),
    "a shape of text": replaced(b"K\x04K\x06", text("4") + text("6")),
    "an empty stack": b"\x80\x02R.",
    "no mark": b"\x80\x02t.",
    "below the mark": b"\x80\x02K\x01(\x85.",
    "an item for no list": b"\x80\x02K\x01K\x02a.",
    "an item for no dict": b"\x80\x02]K\x01K\x02s.",
    "a key without a value": b"\x80\x02}(K\x01u.",
    "an unknown memo": b"\x80\x02h\x05.",
    "a name that is no text": b"\x80\x04K\x01K\x02\x93.",
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_pickles(tmp_path, data):
    with pytest.raises(DatasetError, match=f"^{re.escape(str(tmp_path / 'batch'))}: damaged: expected a whole pickle"):
        read(tmp_path, data)


@pytest.mark.parametrize("value", [[1, 2], "text", None, DATA])
def test_a_pickle_of_something_else(tmp_path, value):
    with pytest.raises(DatasetError, match=r"expected a pickled dict, got (list|str|NoneType|Array)"):
        read(tmp_path, pickle.dumps(value, 2))


def test_a_huge_memo_index_takes_no_memory(tmp_path):
    data = b"\x80\x02}(" + text("a") + b"r\xff\xff\xff\xff" + b"j\xff\xff\xff\xff" + b"u."
    assert read(tmp_path, data) == {"a": "a"}


def test_nesting_is_not_followed(tmp_path):
    """Tuples of tuples, each twice in the next: hashing or printing them would take 2^60 steps."""
    nested = b")" + b"q\x00h\x00\x86" * 60
    assert set(read(tmp_path, b"\x80\x02}" + text("a") + nested + b"s.")) == {"a"}
    with pytest.raises(DatasetError, match="keys are not text"):
        read(tmp_path, b"\x80\x02}" + nested + b"K\x01s.")
    deep = b"]" * 100_000 + b"a" * 99_999
    with pytest.raises(DatasetError, match="expected a pickled dict, got list"):
        read(tmp_path, b"\x80\x02" + deep + b".")


def test_any_byte_may_be_wrong(tmp_path):
    """Whatever a damaged file makes the interpreter do, it ends in a dict or a DatasetError."""
    rng = np.random.default_rng(0)
    originals = [python2_batch(DATA, [3, 1, 4, 1]), pickle.dumps({"data": DATA, "labels": [1, 2, 3, 4]}, 4)]
    ends = {"read": 0, "refused": 0}
    for i in range(600):
        data = bytearray(originals[i % 2])
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        try:
            assert isinstance(read(tmp_path, bytes(data)), dict)
            ends["read"] += 1
        except DatasetError:
            ends["refused"] += 1
    assert min(ends.values()) > 30


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="expected a pickled batch, got no such file"):
        read_batch(tmp_path / "nothing")
    with pytest.raises(DatasetError, match="expected a readable file, got: Is a directory"):
        read_batch(tmp_path)
