"""The IDX format of MNIST (http://yann.lecun.com/exdb/mnist/), plain or gzip-compressed.

    0 0 type ndim | ndim sizes, each a big-endian uint32 | the values in row-major order

``type`` is 8 for unsigned bytes, the only one that these datasets use. A file is checked as a whole: it has
to hold exactly as many bytes as its header announces.
"""

import gzip
import math
import zlib
from typing import TYPE_CHECKING

import numpy as np

from scratchnet.datasets.base import DatasetError, read_file

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

GZIP_MAGIC = b"\x1f\x8b"
UINT8_MAGIC = b"\x00\x00\x08"


def read_idx(path: "Traversable", ndim: int) -> np.ndarray:
    """The array in an IDX file of unsigned bytes.

    Args:
        path: a ``pathlib.Path`` or a resource of a package. Its content, not its name, tells whether it
            is compressed.
        ndim: the number of dimensions that the file has to have: 3 for images, 1 for labels.

    Returns:
        uint8, of the shape that the header says; read-only.

    Raises:
        DatasetNotFoundError: there is no such file.
        DatasetError: the file cannot be read or decompressed, is no IDX file of unsigned bytes, has another
            number of dimensions, or holds fewer or more bytes than its header says.
    """
    data = _decompressed(read_file(path, "an IDX file"), path)
    header = 4 + 4 * ndim  # bytes
    if len(data) < 4:
        raise DatasetError(f"{path}: truncated: expected an IDX header of {header} bytes, got {len(data)} bytes")
    if data[:3] != UINT8_MAGIC:
        raise DatasetError(
            f"{path}: wrong magic number: expected an IDX file of unsigned bytes, "
            f"which starts with 00 00 08 {ndim:02x}, got {data[:4].hex(' ')}"
        )
    if data[3] != ndim:
        raise DatasetError(f"{path}: wrong number of dimensions: expected {ndim}, got {data[3]}")
    if len(data) < header:
        raise DatasetError(f"{path}: truncated: expected an IDX header of {header} bytes, got {len(data)} bytes")

    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", count=ndim, offset=4))
    expected = header + math.prod(shape)
    if len(data) != expected:
        problem = "truncated" if len(data) < expected else "too long"
        sizes = "×".join(map(str, shape))
        raise DatasetError(
            f"{path}: {problem}: expected {expected} bytes (a header of {header} and {sizes} values), got {len(data)}"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _decompressed(data: bytes, path: "Traversable") -> bytes:
    if not data.startswith(GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except EOFError:
        raise DatasetError(
            f"{path}: truncated: expected a whole gzip file, got the first {len(data)} bytes of one"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(f"{path}: damaged: expected a valid gzip file, got: {error}") from error
