"""Mistakes in losses."""

import numpy as np
from mutants.registry import mutant

from scratchnet import ops


@mutant("cross_entropy_backward", "cross entropy")
def cross_entropy_ignores_dloss(dloss, cache):
    return ops.cross_entropy_backward(np.ones_like(dloss), cache)


@mutant("cross_entropy_backward", "cross entropy")
def cross_entropy_sign(dloss, cache):
    return -ops.cross_entropy_backward(dloss, cache)


@mutant("cross_entropy_backward", "cross entropy")
def cross_entropy_divides_by_all_elements(dloss, cache):
    return ops.cross_entropy_backward(dloss, cache) / cache.q.shape[1]


@mutant("cross_entropy_backward", "smoothed cross entropy")
def cross_entropy_forgets_label_smoothing(dloss, cache):
    one_hot = (cache.q == cache.q.max(axis=1, keepdims=True)).astype("float64")
    return ops.cross_entropy_backward(dloss, cache._replace(q=one_hot))


@mutant("cross_entropy_backward", "ignoring cross entropy")
def cross_entropy_feeds_ignored_positions(dloss, cache):
    return dloss / cache.divisor * (cache.probabilities - cache.q)


@mutant("cross_entropy", "ignoring cross entropy", "parity")
def cross_entropy_mean_over_ignored_positions_too(logits, target, *options):
    loss, cache = ops.cross_entropy(logits, target, *options)
    n = np.asarray(float(len(target)))
    return loss * cache.divisor / n, cache._replace(divisor=n)


@mutant("nll_loss_backward", "nll")
def nll_divided_by_n_twice(dloss, cache):
    return ops.nll_loss_backward(dloss, cache) / len(cache.one_hot)


@mutant("mse_loss_backward", "mse")
def mse_without_its_factor_2(dloss, cache):
    return ops.mse_loss_backward(dloss, cache) / 2


def _scaled_back(dloss, cache):
    cache, columns = cache
    return ops.mse_loss_backward(dloss, cache) * columns


@mutant("mse_loss", "mse", "parity", backward=_scaled_back)
def mse_averaged_over_rows_only(x, target, reduction):
    loss, cache = ops.mse_loss(x, target, reduction)
    return loss * x.shape[1], (cache, x.shape[1])
