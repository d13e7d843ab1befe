import gzip
import re

import numpy as np
import pytest

from scratchnet.datasets import DatasetError, DatasetNotFoundError
from scratchnet.datasets.idx import read_idx

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
PLAIN = bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5]) + IMAGES.tobytes()  # 16 + 60
ZIPPED = gzip.compress(PLAIN, mtime=0)


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


@pytest.mark.parametrize("name", ["images", "images.gz"])
@pytest.mark.parametrize("data", [PLAIN, ZIPPED, gzip.compress(PLAIN[:9]) + gzip.compress(PLAIN[9:])])
def test_reads_plain_and_gzip_whatever_the_name(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    array = read_idx(path, ndim=3)
    assert array.dtype == np.uint8
    assert array.shape == (3, 4, 5)
    assert not array.flags.writeable
    np.testing.assert_array_equal(array, IMAGES)


@pytest.mark.parametrize("labels", [[], [7, 9, 1]])
def test_reads_labels(tmp_path, labels):
    path = tmp_path / "labels"
    path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, len(labels), *labels]))
    assert read_idx(path, ndim=1).tolist() == labels


def test_sizes_are_big_endian_and_of_four_bytes(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(bytes([0, 0, 8, 1, 0, 1, 1, 2]) + bytes(65536 + 256 + 2))
    assert read_idx(path, ndim=1).shape == (65794,)


CORRUPTIONS = {
    "empty": (b"", "truncated: expected an IDX header of 16 bytes, got 0 bytes"),
    "magic only": (PLAIN[:4], "truncated: expected an IDX header of 16 bytes, got 4 bytes"),
    "within the header": (PLAIN[:15], "truncated: expected an IDX header of 16 bytes, got 15 bytes"),
    "header only": (PLAIN[:16], "truncated: expected 76 bytes (a header of 16 and 3×4×5 values), got 16"),
    "last byte missing": (
        PLAIN[:-1],
        "truncated: expected 76 bytes (a header of 16 and 3×4×5 values), got 75",
    ),
    "one byte more": (PLAIN + b"\0", "too long: expected 76 bytes (a header of 16 and 3×4×5 values), got 77"),
    "a size that is huge": (
        PLAIN[:4] + b"\xff" * 12 + PLAIN[16:],
        "truncated: expected 79228162458924105385300197391 bytes",
    ),
    "a web page": (b"<!DOCTYPE html>", "wrong magic number: expected an IDX file of unsigned bytes"),
    "floats": (PLAIN[:2] + b"\x0d" + PLAIN[3:], "which starts with 00 00 08 03, got 00 00 0d 03"),
    "labels for images": (
        bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]),
        "wrong number of dimensions: expected 3, got 1",
    ),
    "gzip, cut in its header": (ZIPPED[:5], "truncated: expected a whole gzip file, got the first 5 bytes"),
    "gzip, cut": (ZIPPED[:-20], "truncated: expected a whole gzip file"),
    "gzip, checksum cut": (ZIPPED[:-1], "truncated: expected a whole gzip file"),
    "gzip, wrong data": (flipped(ZIPPED, 20), "damaged: expected a valid gzip file, got: "),
    "gzip, wrong checksum": (flipped(ZIPPED, len(ZIPPED) - 8), "got: CRC check failed"),
    "gzip, junk behind it": (
        ZIPPED + b"junk",
        "damaged: expected a valid gzip file, got: Not a gzipped file",
    ),
    "gzip, short inside": (gzip.compress(PLAIN[:-1]), "truncated: expected 76 bytes"),
    "gzip in gzip": (gzip.compress(ZIPPED), "wrong magic number"),
}


@pytest.mark.parametrize(("data", "cause"), CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_a_corrupt_file_is_named_with_its_fault(tmp_path, data, cause):
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=f"^{re.escape(str(path))}: .*{re.escape(cause)}"):
        read_idx(path, ndim=3)


@pytest.mark.parametrize("data", [PLAIN, ZIPPED], ids=["plain", "gzip"])
def test_every_truncation_is_noticed(tmp_path, data):
    path = tmp_path / "images"
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(DatasetError, match=r"truncated|damaged"):
            read_idx(path, ndim=3)


def test_no_flipped_bit_in_a_gzip_file_changes_the_values(tmp_path):
    path = tmp_path / "images.gz"
    rejected = 0
    for bit in range(8 * len(ZIPPED)):
        data = bytearray(ZIPPED)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            array = read_idx(path, ndim=3)
        except DatasetError:
            rejected += 1
        else:  # the time, the operating system and the like in gzip's header
            np.testing.assert_array_equal(array, IMAGES)
    assert rejected >= 8 * (len(ZIPPED) - 10)


def test_a_missing_file(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=f"^{re.escape(str(tmp_path / 'images'))}: .*no such file"):
        read_idx(tmp_path / "images", ndim=3)


def test_a_folder_in_place_of_the_file(tmp_path):
    with pytest.raises(DatasetError, match=f"^{re.escape(str(tmp_path))}: expected a readable file, got: "):
        read_idx(tmp_path, ndim=3)
