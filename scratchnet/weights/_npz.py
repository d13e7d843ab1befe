"""NumPy's .npz: a zip of one .npy file for each array, read with allow_pickle=False."""

import io
from collections.abc import Iterator

import numpy


def encode(arrays: dict[str, numpy.ndarray]) -> bytes:
    """What numpy.savez writes; that takes names as keyword arguments, and so cannot write an array called "file"."""
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                numpy.lib.format.write_array(member, array, allow_pickle=False)
    return file.getvalue()


def decode(data: bytes) -> Iterator[tuple[str, numpy.ndarray, str]]:
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.namelist():
                with archive.open(entry) as member:
                    array = numpy.lib.format.read_array(member, allow_pickle=False)
                    if member.read(1):  # reading to the end also checks the checksum
                        raise ValueError("bytes behind the array")
                yield entry.removesuffix(".npy"), array, array.dtype.name
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, KeyError, ValueError) as error:
        pickled = "expected arrays of numbers, got pickled objects, which can run code when they are loaded"
        damaged = f"expected a whole .npz file, got {len(data):,} bytes that are none: {error}"
        raise ValueError(pickled if "allow_pickle" in str(error) else damaged) from None
