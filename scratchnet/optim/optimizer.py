"""The base class of optimizers: parameter groups, state, and the loop over parameters that is a step."""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from scratchnet.ops.shape import Array, array_module
from scratchnet.optim import _check, _fused, _state


class Optimizer:
    """Base class for all optimizers.

    Args:
        params: an iterable of Parameters, of ``(name, Parameter)`` pairs (``model.named_parameters()``), or
            of dicts. A dict is a parameter group: its ``"params"`` are such an iterable, or one Parameter,
            and its other keys are the options of that group. The order must be the same from run to run.
        defaults: the options of a group that does not name its own.

    Attributes:
        param_groups: a list of dicts with ``"params"`` (a list) and every option. Change an option here and
            the next step uses it.
        state: what the optimizer remembers, a dict of arrays for each Parameter. An array has the Parameter's
            shape, dtype and device; ``step`` counts in a 0-d float32 array on the host, as in torch.

    A step changes ``param.data`` in place: the array stays the same object, so that everything that refers to
    it sees the new values. Gradients are read, never written. A Parameter whose ``grad`` is None is skipped,
    state and all. Parameters are told by ``data`` and ``grad``; any object with these two will do.

    To write an optimizer, override ``update_parameter`` (or ``step``). Those of this package instead give an
    ``update``, the algorithm as a function of arrays, and say in ``moments``, ``hyperparameters`` and ``begin`` what
    it takes. On the numba rung one compiled pass over all Parameters takes its place; the results agree to rounding.

    Raises:
        TypeError: params is one Parameter, or not iterable, or holds something that is not a Parameter.
        ValueError: params is empty, a Parameter is in two groups, an option is out of range.
        NotImplementedError: ``foreach``, ``fused``, ``capturable`` or ``differentiable`` is true.
    """

    # The algorithm: changes the array param and its state in place, reads grad.
    update: Callable[..., None] | None = None
    # The options that must be numbers ≥ 0.
    non_negative_options: ClassVar[tuple[str, ...]] = ()
    # The names in a Parameter's state (None: any), and those without which no state is complete.
    state_names: ClassVar[tuple[str, ...] | None] = None
    required_state: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._opt_called = False  # schedulers warn where they are stepped before the optimizer
        self.check_options(defaults)

        entries = self._list_of("params", params)
        if not entries:
            raise ValueError(f"{self._name}: optimizer got an empty parameter list")
        groups = entries if isinstance(entries[0], dict) else [{"params": entries}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of Parameters, e.g. when frozen layers become trainable.

        Args:
            param_group: ``{"params": Parameters, option: value, ...}``. The dict itself is left as it is.

        A Parameter that is listed twice in the group is a UserWarning, as in torch.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"{self._name}: param_group must be a dict, got {type(param_group).__name__}")
        if "params" not in param_group:
            raise ValueError(f"{self._name}: parameter group has no 'params', got keys {sorted(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError(
                f"{self._name}: expected params in an ordered collection such as a list, got a set, "
                "whose order changes between runs"
            )
        params = [params] if _is_parameter(params) else self._list_of("params of a group", params)
        names = [entry[0] for entry in params if isinstance(entry, tuple)]
        params = [entry[-1] if isinstance(entry, tuple) and entry else entry for entry in params]
        if names and len(names) != len(params):
            raise ValueError(
                f"{self._name}: expected all params with names or none, got {len(names)} names for {len(params)} params"
            )
        for param in params:
            if not _is_parameter(param):
                raise TypeError(
                    f"{self._name}: expected Parameters (with .data, an array, and .grad), "
                    f"but one of the params is {type(param).__name__}"
                )

        group = self.defaults | param_group | {"params": params}
        if names:
            group["param_names"] = names
        self.check_options(group)
        self._check_disjoint(group)
        self.param_groups.append(group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every Parameter that has a gradient.

        Args:
            closure: computes the loss and the gradients anew; it is called first, once.

        Returns:
            The loss that closure returned, or None.

        Raises:
            RuntimeError: a gradient has not the shape and dtype of its Parameter. Nothing is changed then.
        """
        loss = None if closure is None else closure()
        self._check_gradients()
        self._opt_called = True
        with np.errstate(all="ignore"):  # infinities and NaN are values like others, as in torch
            for group in self.param_groups:
                params = [param for param in group["params"] if param.grad is not None]
                if getattr(self.update_parameter, "__func__", None) is Optimizer.update_parameter:
                    params = _fused.update(self, params, group)
                for param in params:
                    self.update_parameter(param, group)
        return loss

    def update_parameter(self, param: Any, group: dict[str, Any]) -> None:
        """Apply one step to one Parameter, whose gradient is there, with its group's options."""
        if self.update is None:
            raise NotImplementedError(f"{self._name}: update_parameter is not written")
        own = self.begin(param, group)
        moments = [self._moment(param, name) if name else None for name in self.moments(group)]
        self.update(param.data, param.grad, *moments, **self.hyperparameters(group), **own)

    def moments(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        """The names of the state's arrays that `update` takes after the gradient; None for one that is not used."""
        return ()

    def hyperparameters(self, group: dict[str, Any]) -> dict[str, Any]:
        """What `update` takes of the group's options: Python floats, which do not promote float32, and bools."""
        return {}

    def begin(self, param: Any, group: dict[str, Any]) -> dict[str, Any]:
        """Count a step of the Parameter. → what `update` takes that is the Parameter's own, such as the count."""
        return {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients: set them to None, or with set_to_none=False to new arrays of zeros."""
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                elif param.grad is not None:
                    param.grad = array_module(param.grad).zeros_like(param.grad)

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state in torch's format::

            {"state": {0: {"momentum_buffer": array, ...}, ...},
             "param_groups": [{"lr": 0.1, ..., "params": [0, 1, ...]}, ...]}

        Parameters are numbered over all groups. The arrays are copies: later steps do not change them. (torch
        hands out its own tensors.)
        """
        return _state.pack(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned here or in torch; torch's tensors are converted.

        Arrays are copied, to each Parameter's dtype and device. Parameters are matched by their order. All is
        checked before anything is changed. An option that is missing because the state is older than it takes
        the value that torch gives it; `foreach`, `fused`, `capturable` and `differentiable` are not taken
        over.

        Raises:
            ValueError, TypeError: what was loaded does not fit this optimizer.
        """
        state, groups = _state.unpack(self, state_dict)
        self.state = defaultdict(dict, state)
        self.param_groups = groups

    def check_options(self, options: dict[str, Any]) -> None:
        """Raise where an option of a group is of the wrong type, out of range or not built."""
        for name in self.non_negative_options:
            _check.non_negative(self._name, name, options[name])
        _check.implementation(self._name, options)

    def __repr__(self) -> str:
        text = f"{self._name} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join(f"    {key}: {group[key]}\n" for key in sorted(group) if key != "params")
        return text + ")"

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _moment(self, param: Any, name: str) -> Array:
        """The array `name` of the Parameter's state: zeros at first, then the last step's."""
        state = self.state[param]
        if name not in state:
            state[name] = array_module(param.data).zeros_like(param.data)
        elif not (type(state[name]) is type(param.data) is np.ndarray and state[name].dtype == param.data.dtype):
            state[name] = _state.array_like(state[name], param.data)  # after model.double() or .to(device)
        return state[name]

    def _count_step(self, param: Any) -> float:
        """Which step of the Parameter this is, 1 for the first."""
        state = self.state[param]
        if "step" not in state:
            state["step"] = np.zeros((), np.float32)
        state["step"].fill(state["step"].item() + 1)
        return state["step"].item()

    def _list_of(self, what: str, params: Any) -> list[Any]:
        if _is_parameter(params) or not isinstance(params, Iterable):
            raise TypeError(
                f"{self._name}: expected {what} to be an iterable of Parameters or dicts, got {type(params).__name__}"
            )
        return list(params)

    def _check_disjoint(self, new: dict[str, Any]) -> None:
        """No Parameter in two groups, a warning for one that is twice in the new group; all named or none."""
        ids = {id(param) for param in new["params"]}
        for group in self.param_groups:
            if ("param_names" in new) != ("param_names" in group):
                raise ValueError(f"{self._name}: expected all parameter groups with names or none")
            if any(id(param) in ids for param in group["params"]):
                raise ValueError(f"{self._name}: some parameters appear in more than one parameter group")
        if len(ids) != len(new["params"]):
            warnings.warn(
                f"{self._name}: optimizer contains a parameter group with duplicate parameters; "
                "each is updated as often as it is listed",
                stacklevel=5,  # where the optimizer is made
            )

    def _check_gradients(self) -> None:
        for i, group in enumerate(self.param_groups):
            for j, param in enumerate(group["params"]):
                grad, data = param.grad, param.data
                if grad is not None and (grad.shape != data.shape or grad.dtype != data.dtype):
                    raise RuntimeError(
                        f"{self._name}: expected the gradient of parameter {j} of group {i} as {data.dtype} "
                        f"of shape {data.shape}, got {grad.dtype} of shape {grad.shape}"
                    )


def _is_parameter(value: Any) -> bool:
    return hasattr(value, "grad") and _state.is_array(getattr(value, "data", None))
