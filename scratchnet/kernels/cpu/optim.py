"""The updates of scratchnet/optim in one pass: each number of parameter, gradient and state is read and written once.

The textbook's `adam_update` makes eight passes over memory for one step, which for a million parameters takes longer
than the arithmetic of the layer. A function here has the same name and options, but takes many parameters at once,
`rows` of (param, grad, state …): a network has many small ones, and every call of a kernel costs a microsecond.

A kernel cannot take a list of arrays, so it gets a table of where they are. Before anything follows such an address,
`fits` has looked at every array of a row: NumPy's own, C-contiguous, aligned, writeable, all of one shape and dtype.
`rows` holds on to the arrays as long as the kernel runs.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numba.extending
import numpy
from llvmlite import ir
from numba import types
from numba.core import cgutils

from scratchnet.kernels.cpu._compile import inner, kernel
from scratchnet.ops.shape import Array

intrinsic: Any = numba.extending.intrinsic  # whose type hints count the typing context as an argument
Rows = Sequence[tuple[Any, ...]]

# In memory, a NumPy array begins with what every Python object begins with, followed by the address of its data
# (PyArrayObject_fields.data, part of NumPy's binary interface). Asking NumPy takes a microsecond for each array.
_DATA = object.__basicsize__
_WORK = 8  # elementary operations for one number: mostly waiting for memory


def fits(row: Sequence[Any]) -> bool:
    """Whether a kernel may follow the addresses of these arrays: a parameter, its gradient and its state (or None)."""
    shape, dtype = row[0].shape, row[0].dtype
    for x in row:
        # numpy.ndarray itself: a subclass may mean something else by what it holds.
        if x is not None and (
            type(x) is not numpy.ndarray or not x.flags.carray or x.shape != shape or x.dtype != dtype
        ):
            return False
    return dtype.char in "fd" and dtype.isnative


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
    table, ends, number, work = _table(rows)
    _sgd(
        work, table, ends, number(-1 if maximize else 1), number(lr), number(momentum), number(1 - dampening),
        number(weight_decay), nesterov,
    )  # fmt: skip


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
    table, ends, number, work = _table(rows)
    keep, decay = (1 - lr * weight_decay, 0.0) if decoupled_weight_decay else (1.0, weight_decay)
    bias_correction1 = 1 - beta1**step
    bias_correction2 = 1 - beta2**step
    _adam(
        work, table, ends, number(-1 if maximize else 1), number(lr / bias_correction1), number(1 - beta1),
        number(beta2), number(1 - beta2), number(bias_correction2**0.5), number(eps), number(keep), number(decay),
    )  # fmt: skip


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
    table, ends, number, work = _table(rows)
    _rmsprop(
        work, table, ends, number(-1 if maximize else 1), number(lr), number(alpha), number(1 - alpha), number(eps),
        number(weight_decay), number(momentum),
    )  # fmt: skip


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
    table, ends, number, work = _table(rows)
    decayed_lr = lr / (1 + (step - 1) * lr_decay)
    _adagrad(work, table, ends, number(-1 if maximize else 1), number(decayed_lr), number(eps), number(weight_decay))


def _table(rows: Rows) -> tuple[Array, Array, Callable[[float], Any], int]:
    """A line for each row, of where its arrays are as Python objects (0: None), and how many numbers it and the rows
    before it have. Also what makes a number of the arrays' type, and the work."""
    addresses = [0 if x is None else id(x) for row in rows for x in row]
    table = numpy.array(addresses, numpy.int64).reshape(len(rows), -1)
    ends = list(itertools.accumulate([row[0].size for row in rows]))
    return table, numpy.array(ends, numpy.int64), rows[0][0].dtype.type, _WORK * ends[-1]


@inner
def _share(ends, line, t, threads):
    """The first and the last (exclusive) number of a line's arrays that are thread t's."""
    total, begin = ends[-1], ends[line - 1] if line else 0
    return max(t * total // threads, begin) - begin, min((t + 1) * total // threads, ends[line]) - begin


@intrinsic
def _pointer(typing_context, address, like):
    """A pointer to the numbers, of like's type, of the NumPy array at an address; null for address 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, zero = context.get_value_type(like).as_pointer(), ir.Constant(args[0].type, 0)
        found = cgutils.alloca_once_value(builder, ir.Constant(pointer, None))
        with builder.if_then(builder.icmp_signed("!=", args[0], zero)):
            field = builder.inttoptr(builder.add(args[0], ir.Constant(args[0].type, _DATA)), pointer.as_pointer())
            builder.store(builder.load(field), found)
        return builder.load(found)

    return types.CPointer(like)(types.int64, like), generate


@kernel
def _sgd(t, threads, table, ends, sign, lr, momentum, undamped, weight_decay, nesterov):
    for line in range(table.shape[0]):
        start, end = _share(ends, line, t, threads)
        param, grad = _pointer(table[line, 0], lr), _pointer(table[line, 1], lr)
        buffer = _pointer(table[line, 2], lr)
        remembers = table[line, 2] != 0
        for i in range(start, end):
            g = sign * grad[i]
            if weight_decay != 0:
                g += weight_decay * param[i]
            if remembers:
                b = momentum * buffer[i] + undamped * g
                buffer[i] = b
                g = g + momentum * b if nesterov else b
            param[i] -= lr * g


@kernel
def _adam(t, threads, table, ends, sign, lr, rate1, beta2, rate2, root2, eps, keep, weight_decay):
    for line in range(table.shape[0]):
        start, end = _share(ends, line, t, threads)
        param, grad = _pointer(table[line, 0], lr), _pointer(table[line, 1], lr)
        exp_avg, exp_avg_sq = _pointer(table[line, 2], lr), _pointer(table[line, 3], lr)
        largest = _pointer(table[line, 4], lr)
        amsgrad = table[line, 4] != 0
        for i in range(start, end):
            g = sign * grad[i]
            p = keep * param[i]
            if weight_decay != 0:
                g += weight_decay * p
            m = exp_avg[i] + rate1 * (g - exp_avg[i])
            v = beta2 * exp_avg_sq[i] + rate2 * g * g
            exp_avg[i] = m
            exp_avg_sq[i] = v
            if amsgrad:
                if largest[i] > v or largest[i] != largest[i]:  # a maximum keeps NaN
                    v = largest[i]
                largest[i] = v
            param[i] = p - lr * m / (math.sqrt(v) / root2 + eps)


@inner
def _rmsprop_share(table, line, start, end, sign, lr, alpha, rate, eps, weight_decay, momentum, centered):
    """With `centered` a constant, LLVM makes vector instructions of all four variants."""
    param, grad = _pointer(table[line, 0], lr), _pointer(table[line, 1], lr)
    square_avg = _pointer(table[line, 2], lr)
    grad_avg, buffer = _pointer(table[line, 3], lr), _pointer(table[line, 4], lr)
    remembers = table[line, 4] != 0
    for i in range(start, end):
        g = sign * grad[i]
        if weight_decay != 0:
            g += weight_decay * param[i]
        v = alpha * square_avg[i] + rate * g * g
        square_avg[i] = v
        if centered:
            mean = grad_avg[i] + rate * (g - grad_avg[i])
            grad_avg[i] = mean
            v -= mean * mean
        step = g / (math.sqrt(v) + eps)
        if remembers:
            step += momentum * buffer[i]
            buffer[i] = step
        param[i] -= lr * step


@kernel
def _rmsprop(t, threads, table, ends, sign, lr, alpha, rate, eps, weight_decay, momentum):
    for line in range(table.shape[0]):
        start, end = _share(ends, line, t, threads)
        if table[line, 3] != 0:
            _rmsprop_share(table, line, start, end, sign, lr, alpha, rate, eps, weight_decay, momentum, True)
        else:
            _rmsprop_share(table, line, start, end, sign, lr, alpha, rate, eps, weight_decay, momentum, False)


@kernel
def _adagrad(t, threads, table, ends, sign, lr, eps, weight_decay):
    for line in range(table.shape[0]):
        start, end = _share(ends, line, t, threads)
        param, grad = _pointer(table[line, 0], lr), _pointer(table[line, 1], lr)
        square_sum = _pointer(table[line, 2], lr)
        for i in range(start, end):
            g = sign * grad[i]
            if weight_decay != 0:
                g += weight_decay * param[i]
            s = square_sum[i] + g * g
            square_sum[i] = s
            param[i] -= lr * g / (math.sqrt(s) + eps)
