"""Launchers of norm.cu; formulas and derivation are in scratchnet/ops/norm.py."""

import math
from typing import NamedTuple

from scratchnet.kernels.gpu._launch import THREADS, each, empty, launch, ready
from scratchnet.ops.shape import Array


class BatchNormCache(NamedTuple):
    x: Array  # (N, C, …)
    mean: Array  # (C,)
    inv_std: Array  # (C,)
    weight: Array | None
    bias: Array | None
    training: bool
    relu: bool


Result = tuple[tuple[Array, Array | None, Array | None], BatchNormCache]


def batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
    relu: bool = False,
) -> Result:
    """Normalise each channel of x (N, C, …) → (y, the new running_mean, the new running_var).

    The other arrays have shape (C,) or are None. With training the batch's statistics normalise, and the running
    ones move if they are given; without, the running ones normalise and stay. With relu y = max(…, 0).
    """
    x = ready(x)
    n, c, pixels = _sizes(x)
    optional = weight, bias, running_mean, running_var
    weight, bias, old_mean, old_var = (None if a is None else ready(a) for a in optional)
    inv_std = empty((c,), x.dtype)
    if training:
        mean = empty((c,), x.dtype)
        moves = old_mean is not None and old_var is not None and n * pixels > 0  # an empty batch moves nothing
        if moves:
            running_mean, running_var = empty((c,), x.dtype), empty((c,), x.dtype)
        moved = (running_mean, running_var) if moves else (None, None)
        launch(
            "norm", "statistics", x.dtype, c, THREADS, x, mean, inv_std, moves, old_mean, old_var, float(momentum),
            float(eps), *moved, n, c, pixels,
        )  # fmt: skip
    else:
        assert old_mean is not None
        mean = old_mean
        each("norm", "inverse_std", inv_std, old_var, float(eps), inv_std)
    y = empty(x.shape, x.dtype)
    each("norm", "batch_norm", x, x, mean, inv_std, weight, bias, relu, y, c, pixels)
    return (y, running_mean, running_var), BatchNormCache(x, mean, inv_std, weight, bias, training, relu)


def batch_norm_backward(dy: Array, cache: BatchNormCache) -> tuple[Array, Array | None, Array | None]:
    """dy (N, C, …) → dx (N, C, …), dweight (C,) or None, dbias (C,) or None."""
    x, mean, inv_std, weight, bias, training, relu = cache
    n, c, pixels = _sizes(x)
    dy = ready(dy)
    if relu:
        dz = empty(dy.shape, dy.dtype)
        each("norm", "relu_gate", dy, dy, x, mean, inv_std, weight, bias, dz, c, pixels)
        dy = dz
    dx, dweight, dbias = empty(x.shape, x.dtype), empty((c,), x.dtype), empty((c,), x.dtype)
    launch("norm", "backward_sums", x.dtype, c, THREADS, dy, x, mean, inv_std, dweight, dbias, n, c, pixels)
    count = float(max(n * pixels, 1))
    each(
        "norm", "batch_norm_backward", x, dy, x, mean, inv_std, weight, dweight, dbias, training, count, dx, c, pixels
    )  # fmt: skip
    return dx, None if weight is None else dweight, None if bias is None else dbias


def _sizes(x: Array) -> tuple[int, int, int]:
    """Examples, channels, pixels of a channel of an example."""
    return x.shape[0], x.shape[1], math.prod(x.shape[2:])
