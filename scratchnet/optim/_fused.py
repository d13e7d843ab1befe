"""A step of many Parameters in one compiled pass, where that is the same thing as the textbook's function on each.

It is on the numba and the cuda rung, for the optimizers of this package as they are: who replaces `update` or
`update_parameter` gets what he wrote. And it is for Parameters whose arrays a compiled loop can take, see `fits`.
"""

from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy
from numpy.lib.array_utils import byte_bounds

from scratchnet import backend
from scratchnet.ops.shape import Array

if TYPE_CHECKING:
    from scratchnet.optim.optimizer import Optimizer


def update(optimizer: "Optimizer", params: list[Any], group: dict[str, Any]) -> list[Any]:
    """Update those of the group's Parameters that the compiled pass takes. → the others, which are as they were."""
    kernels = _kernels(optimizer.update, params)
    kernel = getattr(kernels, optimizer.update.__name__, None) if kernels and optimizer.update else None
    if kernel is None:
        return params

    # A column for each argument of `update`. At its first step a Parameter has no state; the textbook's way makes it.
    states = [optimizer.state.get(param, {}) for param in params]
    columns = [[param.data for param in params], [param.grad for param in params]]
    for name in optimizer.moments(group):
        columns.append([state.get(name, "missing") for state in states] if name else [None] * len(params))
    chosen: list[Any] = []
    rows: list[tuple[Any, ...]] = []
    others: list[Any] = []
    for param, row in zip(params, zip(*columns, strict=True), strict=True):
        if kernels.fits(row):
            chosen.append(param)
            rows.append(row)
        else:
            others.append(param)
    if not _apart([row[0] for row in rows], [row[1] for row in rows]):
        return params

    # Parameters that have not always had a gradient are at other steps, and so in other batches.
    batches: dict[Any, tuple[dict[str, Any], list[tuple[Any, ...]]]] = {}
    for param, row in zip(chosen, rows, strict=True):
        own = optimizer.begin(param, group)
        batches.setdefault((row[0].dtype.char, *own.values()), (own, []))[1].append(row)
    options = optimizer.hyperparameters(group)
    for own, batch in batches.values():
        kernel(batch, **(options | own))
    return others


def _kernels(update: Callable[..., None] | None, params: list[Any]) -> Any:
    """The rung's file of compiled passes, each of which stands for the textbook's function of the same name."""
    if update is None or not update.__module__.startswith("scratchnet.optim."):
        return None
    rung = backend.rung_for(params[0].data) if params else None
    return import_module(f"{backend.RUNGS[rung].package}.optim") if rung in ("numba", "cuda") else None


def _apart(written: list[Array], read: list[Array]) -> bool:
    """Whether no two written arrays, nor a written and a read one, share memory, so that their order is all one.

    Threads update parameters at the same time. One that is listed twice, for instance, has to be updated in turn.
    """
    owners = {id(x) if x.base is None else id(x.base) for x in written}
    if not owners.isdisjoint([id(x) if x.base is None else id(x.base) for x in read]):
        return False
    if len(owners) == len(written):
        return True
    if not isinstance(written[0], numpy.ndarray):
        return False
    spans = sorted(byte_bounds(x) for x in written)  # views of one array, as where all parameters lie in one vector
    return all(before[1] <= after[0] for before, after in pairwise(spans))
