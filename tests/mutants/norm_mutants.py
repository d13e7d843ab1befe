"""Mistakes in batch normalisation."""

from mutants.registry import mutant

from scratchnet import ops


def _channels(value):
    """(C,) → (1, C, 1, 1)."""
    return value.reshape(1, -1, 1, 1)


def _parts(dy, cache):
    """γ·s, x̂, the number of values of a channel, dγ and dβ: what dx is made of."""
    _, dweight, dbias = ops.batch_norm_backward(dy, cache)
    scale = _channels(cache.weight * cache.inv_std)
    return scale, cache.x_hat, dy.size // dy.shape[1], dweight, dbias


@mutant("batch_norm_backward", "batch norm")
def batch_norm_without_one_over_n(dy, cache):
    scale, x_hat, _, dweight, dbias = _parts(dy, cache)
    return scale * (dy - _channels(dbias) - x_hat * _channels(dweight)), dweight, dbias


@mutant("batch_norm_backward", "batch norm")
def batch_norm_forgets_gamma(dy, cache):
    _, dweight, dbias = ops.batch_norm_backward(dy, cache)
    return ops.batch_norm_backward(dy, cache._replace(weight=None))[0], dweight, dbias


@mutant("batch_norm_backward", "batch norm in evaluation")
def batch_norm_always_differentiates_the_batch_statistics(dy, cache):
    return ops.batch_norm_backward(dy, cache._replace(training=True))


@mutant("batch_norm_backward", "batch norm 1d")
def batch_norm_gamma_gradient_from_x_instead_of_x_hat(dy, cache):
    dx, dweight, dbias = ops.batch_norm_backward(dy, cache)
    return dx, dweight / cache.inv_std, dbias


def _scaled_back(dy, cache):
    cache, scale = cache
    dx, dweight, dbias = ops.batch_norm_backward(dy, cache)
    return scale * dx, scale * dweight, dbias


@mutant("batch_norm", "batch norm", "parity", backward=_scaled_back)
def normalised_by_the_unbiased_variance(x, weight, bias, *options):
    n = x.size // x.shape[1]
    scale = ((n - 1) / n) ** 0.5
    (y, mean, var), cache = ops.batch_norm(x, weight, bias, *options)
    return (scale * (y - _channels(bias)) + _channels(bias), mean, var), (cache, scale)
