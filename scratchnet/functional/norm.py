"""Batch normalisation; the mathematics is in scratchnet/ops/norm.py."""

from typing import Any

from scratchnet.functional import _check as check
from scratchnet.functional._call import Saved, backward, forward
from scratchnet.ops.shape import Array


def batch_norm(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[tuple[Array, Array | None, Array | None], Saved]:
    """Normalise each channel of x (N, C, …) → ((y, new running_mean, new running_var), cache).

    torch writes the running statistics in place; here the new ones are returned. With training the batch's
    statistics normalise; without, the running ones do and are returned unchanged.
    """
    op = "batch_norm"
    check.check_float(op, "the input", x)
    training = check.boolean(op, "training", training)
    if x.ndim < 2 and x.shape != (0,):  # torch takes one sample of no channels without its batch axis
        raise ValueError(f"{op}: expected an input of shape (N, C, …), got {x.shape}")
    shape = x.shape[1:2] if x.ndim > 1 else x.shape
    arrays = {"weight": weight, "bias": bias, "running_mean": running_mean, "running_var": running_var}
    for name, value in arrays.items():
        if value is not None:
            check.check_parameter(op, name, value, x, shape)
    if (running_mean is None) != (running_var is None):
        raise ValueError(f"{op}: expected both running_mean and running_var, or neither")
    if not training and running_mean is None:
        raise ValueError(f"{op}: expected running_mean and running_var in evaluation, got None")
    if training and x.size and x.size // x.shape[1] == 1:
        raise ValueError(f"{op}: expected more than 1 value per channel when training, got an input of shape {x.shape}")
    eps = check.number(op, "eps", eps)
    if not (eps > 0 or (eps == 0 and not training)):
        raise ValueError(f"{op}: expected eps > 0 (or 0 in evaluation), got {eps}")
    momentum = check.number(op, "momentum", momentum)
    return forward(op, x, weight, bias, running_mean, running_var, training, momentum, eps, unbatched=x.ndim == 1)


def batch_norm_backward(dy: Array, cache: Saved) -> tuple[Array, Any, Any]:
    """dy of y's shape → dx, dweight, dbias (None where there is no such parameter)."""
    return backward("batch_norm", dy, cache)
