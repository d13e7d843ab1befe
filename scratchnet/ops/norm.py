"""Batch normalisation.

Formula
-------
For each channel on its own, over the n = N·H·W numbers that the batch has of it (N for a 2-D input)::

    μ = 1/n · Σ x        σ² = 1/n · Σ (x − μ)²        x̂ = (x − μ) / √(σ² + ε)        y = γ·x̂ + β

γ is `weight`, β is `bias`. The network then normalises by what the batch at hand looks like; to have something
to normalise by when it is used later, it keeps running averages::

    running_mean ← (1 − m)·running_mean + m·μ
    running_var  ← (1 − m)·running_var  + m·σ²·n/(n − 1)

The variance that normalises is the biased one (1/n), the one that is kept is unbiased (1/(n − 1)), m is
`momentum`. In evaluation the running averages take the place of μ and σ².

Backward
--------
y = γ·x̂ + β gives dγ = Σ dy·x̂, dβ = Σ dy and dx̂ = γ·dy. In evaluation μ and σ are constants, so
dx = dx̂ / √(running_var + ε). In training an element of x reaches the loss along three paths: its own x̂, the mean
that every x̂ subtracts, and the variance that every x̂ is divided by. With s = 1/√(σ² + ε)::

    ∂x̂_j/∂x_i = s·([i = j] − 1/n − x̂_i·x̂_j/n)

    since ∂μ/∂x_i = 1/n  and  ∂s/∂x_i = −½·s³·∂σ²/∂x_i = −½·s³·2(x_i − μ)/n = −s²·x̂_i/n

    dx_i = Σ_j dx̂_j·∂x̂_j/∂x_i = s·(dx̂_i − 1/n·Σ_j dx̂_j − x̂_i·1/n·Σ_j dx̂_j·x̂_j)
         = γ·s·(dy_i − dβ/n − x̂_i·dγ/n)

The gradient has lost its mean and its part along x̂: what normalisation removes from x cannot change the loss.

Source: S. Ioffe, C. Szegedy, "Batch Normalization", 2015; torch.nn.functional.batch_norm.
"""

from typing import NamedTuple

from scratchnet.ops.shape import Array, array_module


class BatchNormCache(NamedTuple):
    x_hat: Array  # (N, C, …)
    inv_std: Array  # (C,): s
    weight: Array | None  # (C,): γ
    has_bias: bool
    training: bool  # whether μ and σ² came from the batch


def _per_channel(value: Array, ndim: int) -> Array:
    """(C,) → (1, C, 1, …), to broadcast against x."""
    return value.reshape(1, -1, *[1] * (ndim - 2))


def batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[tuple[Array, Array | None, Array | None], BatchNormCache]:
    """Normalise each channel of x (N, C, …) → (y, the new running_mean, the new running_var).

    The other arrays have shape (C,) or are None. With training the batch's statistics normalise, and the running
    ones move if they are given; without, the running ones normalise and stay.
    """
    xp = array_module(x)
    axes = (0, *range(2, x.ndim))
    if training:
        n = x.size // x.shape[1] if x.size else 0
        mean = x.sum(axis=axes) / max(n, 1)  # (C,)
        var = xp.square(x - _per_channel(mean, x.ndim)).sum(axis=axes) / max(n, 1)  # (C,), biased
        if running_mean is not None and running_var is not None and n:  # an empty batch moves nothing
            running_mean = (1 - momentum) * running_mean + momentum * mean
            running_var = (1 - momentum) * running_var + momentum * (n / (n - 1)) * var
    else:
        mean, var = running_mean, running_var
    inv_std = 1 / xp.sqrt(var + eps)  # (C,)
    x_hat = (x - _per_channel(mean, x.ndim)) * _per_channel(inv_std, x.ndim)  # (N, C, …)
    y = x_hat if weight is None else x_hat * _per_channel(weight, x.ndim)
    y = y if bias is None else y + _per_channel(bias, x.ndim)
    return (y, running_mean, running_var), BatchNormCache(x_hat, inv_std, weight, bias is not None, training)


def batch_norm_backward(dy: Array, cache: BatchNormCache) -> tuple[Array, Array | None, Array | None]:
    """dy (N, C, …) → dx (N, C, …), dweight (C,) or None, dbias (C,) or None."""
    x_hat, inv_std, weight, has_bias, training = cache
    axes = (0, *range(2, dy.ndim))
    dweight = (dy * x_hat).sum(axis=axes)  # (C,)
    dbias = dy.sum(axis=axes)  # (C,)
    scale = inv_std if weight is None else inv_std * weight  # (C,): γ·s
    if training:
        n = dy.size // dy.shape[1] if dy.size else 1
        dx = dy - _per_channel(dbias / n, dy.ndim) - x_hat * _per_channel(dweight / n, dy.ndim)
    else:
        dx = dy
    dx = dx * _per_channel(scale, dy.ndim)  # (N, C, …)
    return dx, None if weight is None else dweight, dbias if has_bias else None
