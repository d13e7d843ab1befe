"""safetensors: a JSON header of names, dtypes and shapes, then the bytes. https://github.com/huggingface/safetensors"""

import json
import struct
from collections.abc import Iterator

import numpy

_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
}


def encode(arrays: dict[str, numpy.ndarray]) -> bytes:
    """Names and layouts are torch's, which Hugging Face's libraries want to be told: "format": "pt"."""
    from safetensors.numpy import save

    return save(arrays, {"format": "pt"})


def decode(data: bytes) -> Iterator[tuple[str, numpy.ndarray, str]]:
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(data)
    except SafetensorError as error:
        raise ValueError(f"expected a whole safetensors file, got {len(data):,} bytes that are none: {error}") from None
    for name, entry in entries:
        if entry["dtype"] == "BF16":  # the upper half of a float32
            bits = numpy.frombuffer(entry["data"], "<u2").astype("uint32") << 16
            yield name, bits.view("float32").reshape(entry["shape"]), "bfloat16"
        elif entry["dtype"] in _DTYPES:
            dtype = numpy.dtype(_DTYPES[entry["dtype"]])
            array = numpy.frombuffer(entry["data"], dtype.newbyteorder("<")).astype(dtype, copy=False)
            yield name, array.reshape(entry["shape"]), dtype.name
        else:
            raise ValueError(f"expected dtypes that NumPy has, got {name} of {entry['dtype']}")


def is_checkpoint(data: bytes) -> bool:
    """Whether a file is a checkpoint of scratchnet, which holds more than a model's weights."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        return "scratchnet" in json.loads(data[8 : 8 + length])["__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError, OverflowError):
        return False
