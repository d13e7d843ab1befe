"""torch's own files, read and written by torch."""

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy

WRAPPERS = ("state_dict", "model_state_dict", "model")  # where training scripts put the state_dict of the model
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel, of torch.compile


def encode(arrays: dict[str, numpy.ndarray]) -> bytes:
    torch = _import_torch()
    file = io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, file)
    return file.getvalue()


def decode(data: bytes) -> Iterator[tuple[str, numpy.ndarray, str]]:
    torch = _import_torch()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols, of how long sparse tensors take to check
            contents = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes of an unpickler
        raise ValueError(_why(data, error)) from None
    for name, tensor in _without_prefix(_state_dict(contents, torch)).items():
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise ValueError(f"expected dense tensors, got {name} as {tensor.type()}")
        dtype = str(tensor.dtype).removeprefix("torch.")
        tensor = tensor.detach().float() if dtype == "bfloat16" else tensor.detach()
        try:
            array = tensor.numpy()
        except TypeError:
            raise ValueError(f"expected dtypes that NumPy has, got {name} of {dtype}") from None
        yield name, array, dtype


def _import_torch() -> ModuleType:
    try:
        import torch
    except ImportError:
        raise RuntimeError(
            "torch's files take torch: pip install 'scratchnet[torch]'; or have them converted to .safetensors or .npz "
            "where torch is installed"
        ) from None
    return torch


def _why(data: bytes, error: Exception) -> str:
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused is not None:
        return (
            f"expected tensors only, got {refused[1]}, and to load an object can run code: save model.state_dict() in "
            "torch, not the model"
        )
    first = next(iter(str(error).splitlines()), "")
    reason = "" if "weights only" in first.lower() else f": {type(error).__name__} {first}".rstrip()
    return f"expected a whole file of torch.save, got {len(data):,} bytes that are none{reason}"


def _state_dict(contents: Any, torch: ModuleType) -> Mapping[str, Any]:
    if not isinstance(contents, Mapping):
        raise ValueError(f"expected a state_dict, got a {type(contents).__name__}")
    for key in WRAPPERS:
        if isinstance(contents.get(key), Mapping):
            return _state_dict(contents[key], torch)
    for name, value in contents.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ValueError(
                f"expected a state_dict, alone or under one of {', '.join(WRAPPERS)}; got {name!r}: "
                f"{type(value).__name__}, beside {len(contents) - 1} others"
            )
    return contents


def _without_prefix(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    for prefix in PREFIXES:
        if state_dict and all(name.startswith(prefix) for name in state_dict):
            return _without_prefix({name.removeprefix(prefix): value for name, value in state_dict.items()})
    return state_dict
