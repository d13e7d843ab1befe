"""The state of an optimizer as a dict of arrays: torch's format, and reading it back, checks first."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchnet.ops.shape import Array, array_module
from scratchnet.optim import _check

if TYPE_CHECKING:
    from scratchnet.optim.optimizer import Optimizer

# What an option means in a state dict older than the option, as torch reads it.
_ABSENT = {
    "nesterov": False,
    "maximize": False,
    "amsgrad": False,
    "centered": False,
    "decoupled_weight_decay": False,
}


def is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or type(value).__module__.partition(".")[0] == "cupy"


def plain(value: Any) -> Any:
    """A torch tensor as a NumPy array (without importing torch); anything else as it is."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def array_like(value: Array, reference: Array) -> Array:
    """value in the reference's dtype and on its device: value itself where it is so already."""
    xp = array_module(reference)
    if xp is np and not isinstance(value, np.ndarray):
        value = value.get()  # from the GPU
    return xp.asarray(value, dtype=reference.dtype)


def pack(optimizer: "Optimizer") -> dict[str, Any]:
    """The optimizer's state with parameters replaced by their index over all groups, everything copied."""
    index: dict[int, int] = {}
    groups = []
    start = 0
    for group in optimizer.param_groups:
        # A parameter that is twice in its group has its last index, as in torch.
        index |= {id(param): i for i, param in enumerate(group["params"], start)}
        start += len(group["params"])
        packed = {key: copy.deepcopy(value) for key, value in group.items() if key != "params"}
        packed["params"] = [index[id(param)] for param in group["params"]]
        groups.append(packed)
    state = {index[id(param)]: copy.deepcopy(value) for param, value in optimizer.state.items()}
    return {"state": state, "param_groups": groups}


def unpack(optimizer: "Optimizer", state_dict: Any) -> tuple[dict[Any, dict[str, Any]], list[dict[str, Any]]]:
    """The state and the parameter groups in state_dict, copied and checked against the optimizer."""
    owner = type(optimizer).__name__
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
        raise ValueError(f"{owner}: expected a state dict with 'state' and 'param_groups', got {_kind(state_dict)}")
    saved_state, saved_groups = state_dict["state"], state_dict["param_groups"]
    if not isinstance(saved_state, Mapping) or not isinstance(saved_groups, list | tuple):
        raise ValueError(
            f"{owner}: expected 'state' to be a dict and 'param_groups' a list, "
            f"got {type(saved_state).__name__} and {type(saved_groups).__name__}"
        )
    if len(saved_groups) != len(optimizer.param_groups):
        raise ValueError(
            f"{owner}: loaded state dict has a different number of parameter groups: "
            f"expected {len(optimizer.param_groups)}, got {len(saved_groups)}"
        )
    groups = []
    params: dict[Any, Any] = {}
    for i, (group, saved) in enumerate(zip(optimizer.param_groups, saved_groups, strict=True)):
        groups.append(_unpack_group(optimizer, i, group, saved))
        params.update(zip(saved["params"], group["params"], strict=True))
    state = {}
    for key, entries in saved_state.items():
        if key not in params:
            raise ValueError(f"{owner}: 'state' has an entry {key!r}, which no parameter group lists")
        state[params[key]] = _unpack_entries(optimizer, f"{owner}: state of parameter {key}", params[key], entries)
    return state, groups


def _unpack_group(optimizer: "Optimizer", i: int, group: dict[str, Any], saved: Any) -> dict[str, Any]:
    owner = type(optimizer).__name__
    if not isinstance(saved, Mapping) or not isinstance(saved.get("params"), list | tuple):
        raise ValueError(f"{owner}: expected param_groups[{i}] to be a dict with a list 'params', got {_kind(saved)}")
    if len(saved["params"]) != len(group["params"]):
        raise ValueError(
            f"{owner}: loaded state dict contains a parameter group that doesn't match the size of "
            f"optimizer's group: param_groups[{i}] has {len(group['params'])} parameters, "
            f"got {len(saved['params'])}"
        )
    new = {key: _option(value) for key, value in saved.items() if key != "params"}
    for name in optimizer.defaults:
        if name in _check.IMPLEMENTATION_OPTIONS:
            new[name] = group[name]  # how a step was computed elsewhere is no part of the state
        elif name not in new and name in _ABSENT:
            new[name] = _ABSENT[name]
        elif name not in new:
            raise ValueError(f"{owner}: param_groups[{i}] of the state dict has no {name!r}")
    optimizer.check_options(new)
    if "param_names" in group:
        new.setdefault("param_names", group["param_names"])
    return new | {"params": group["params"]}


def _option(value: Any) -> Any:
    """A hyperparameter as Python has it: a 0-d array becomes a number, a list (from JSON) a tuple."""
    value = plain(value)
    if is_array(value) and value.ndim == 0:
        return value.item()
    return tuple(value) if isinstance(value, list) else copy.deepcopy(value)


def _unpack_entries(optimizer: "Optimizer", where: str, param: Any, entries: Any) -> dict[str, Any]:
    if not isinstance(entries, Mapping):
        raise ValueError(f"{where}: expected a dict, got {type(entries).__name__}")
    # torch has written None for a momentum buffer that does not exist yet.
    loaded = {name: plain(value) for name, value in entries.items() if value is not None}
    if optimizer.state_names is not None:
        for name in loaded:
            if name not in optimizer.state_names:
                raise ValueError(f"{where} has {name!r}, which this optimizer does not keep")
        if loaded:
            for name in optimizer.required_state:
                if name not in loaded:
                    raise ValueError(f"{where} has no {name!r}")
    for name, value in loaded.items():
        loaded[name] = _step_count(where, value) if name == "step" else _entry(where, name, value, param.data)
    return loaded


def _step_count(where: str, value: Any) -> np.ndarray:
    if is_array(value) and value.size == 1:
        value = value.item()
    if not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(f"{where}: expected 'step' to be a number ≥ 0, got {value!r}")
    return np.array(value, dtype=np.float32)


def _entry(where: str, name: str, value: Any, data: Array) -> Any:
    if not is_array(value):
        raise ValueError(f"{where}: expected {name!r} to be an array, got {type(value).__name__}")
    if value.shape != data.shape:
        raise ValueError(f"{where}: expected {name!r} of the parameter's shape {data.shape}, got {value.shape}")
    return array_like(value.copy(), data)


def _kind(value: Any) -> str:
    return f"keys {sorted(map(str, value))}" if isinstance(value, Mapping) else type(value).__name__
