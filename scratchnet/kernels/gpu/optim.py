"""Launchers of optim.cu: the updates of scratchnet/optim for many parameters in one launch.

`rows` are tuples (param, grad, state …) as in scratchnet/kernels/cpu/optim.py. The kernel gets a table of their
addresses. It is uploaded anew in each step, since gradients are new arrays each time; nothing waits for that.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from scratchnet.kernels.gpu._launch import THREADS, blocks, launch
from scratchnet.ops.shape import Array

Rows = Sequence[tuple[Any, ...]]
_MOST_BLOCKS = 256  # for one parameter; their threads take several elements of a larger one
_MOST_ROWS = 65535  # of a grid in its second dimension


def fits(row: Sequence[Any]) -> bool:
    """Whether a kernel may follow the addresses of these arrays: a parameter, its gradient and its state (or None)."""
    import cupy

    shape, dtype = row[0].shape, row[0].dtype
    for x in row:
        if x is not None and (
            type(x) is not cupy.ndarray or not x.flags.c_contiguous or x.shape != shape or x.dtype != dtype
        ):
            return False
    return dtype.char in "fd"


def sgd_update(
    rows: Rows,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """scratchnet.optim.sgd.sgd_update for rows of (param, grad, momentum_buffer or None)."""
    numbers = float(lr), float(momentum), 1.0 - dampening, float(weight_decay)
    _update("sgd", rows, maximize, *numbers, bool(nesterov))


def adam_update(
    rows: Rows,
    *,
    step: float,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
    decoupled_weight_decay: bool,
) -> None:
    """scratchnet.optim.adam.adam_update for rows of (param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq or None)."""
    keep, decay = (1.0 - lr * weight_decay, 0.0) if decoupled_weight_decay else (1.0, float(weight_decay))
    rate, root2 = lr / (1 - beta1**step), (1 - beta2**step) ** 0.5
    _update("adam", rows, maximize, float(rate), 1.0 - beta1, float(beta2), 1.0 - beta2, root2, float(eps), keep, decay)


def rmsprop_update(
    rows: Rows,
    *,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    maximize: bool,
) -> None:
    """scratchnet.optim.rmsprop.rmsprop_update for rows of (param, grad, square_avg, grad_avg or None,
    momentum_buffer or None)."""
    numbers = float(lr), float(alpha), 1.0 - alpha, float(eps), float(weight_decay), float(momentum)
    _update("rmsprop", rows, maximize, *numbers)


def adagrad_update(
    rows: Rows,
    *,
    step: float,
    lr: float,
    lr_decay: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> None:
    """scratchnet.optim.adagrad.adagrad_update for rows of (param, grad, square_sum)."""
    decayed_lr = lr / (1 + (step - 1) * lr_decay)
    _update("adagrad", rows, maximize, float(decayed_lr), float(eps), float(weight_decay))


def _update(kernel: str, rows: Rows, maximize: bool, *numbers: float | bool) -> None:
    import cupy

    for start in range(0, len(rows), _MOST_ROWS):
        part = rows[start : start + _MOST_ROWS]
        table = numpy.array([[row[0].size, *map(_address, row)] for row in part], numpy.uint64)
        width = min(blocks(max(row[0].size for row in part)), _MOST_BLOCKS)
        sign = -1.0 if maximize else 1.0
        launch("optim", kernel, rows[0][0].dtype, (width, len(part)), THREADS, cupy.asarray(table), sign, *numbers)


def _address(x: Array | None) -> int:
    return 0 if x is None else x.data.ptr
