"""Mistakes in pooling."""

import numpy as np
from mutants.registry import mutant

from scratchnet import ops
from scratchnet.ops.pad import crop, pad_with
from scratchnet.ops.shape import pair


def _feed_all(dy, cache):
    x, y = cache
    wins = x == np.repeat(np.repeat(y, 2, axis=2), 2, axis=3)
    return wins * np.repeat(np.repeat(dy, 2, axis=2), 2, axis=3)


@mutant("max_pool2d", "tied max pool", backward=_feed_all)
def all_tied_maxima_are_fed(x, *options):
    """Every pixel that equals the maximum gets the gradient."""
    y, _ = ops.max_pool2d(x, *options)
    return y, (x, y)


@mutant("max_pool2d_backward", "overlapping max pool")
def max_pool_overwrites(dy, cache):
    """A pixel that wins in several windows keeps the last gradient only."""
    dx = np.zeros(cache.x_shape)
    _, kw = pair(cache.kernel_size)
    for n, c, i, j in np.ndindex(dy.shape):
        u, v = divmod(int(cache.winner[n, c, i, j]), kw)
        dx[n, c, i + u, j + v] = dy[n, c, i, j]
    return dx


def _turned_back(dy, cache):
    return ops.max_pool2d_backward(dy[..., ::-1, ::-1], cache)[..., ::-1, ::-1]


@mutant("max_pool2d", "tied max pool", "parity", backward=_turned_back)
def last_of_tied_maxima_wins(x, *options):
    """The pool of the image turned round: right as a derivative, and not torch's convention."""
    y, cache = ops.max_pool2d(x[..., ::-1, ::-1], *options)
    return y[..., ::-1, ::-1], cache


@mutant("max_pool2d_backward", "max pool")
def max_pool_shares_like_an_average(dy, cache):
    return np.repeat(np.repeat(dy, 2, axis=2), 2, axis=3) / 4


def _cropped(dy, cache):
    pool, pads = cache
    return crop(ops.max_pool2d_backward(dy, pool), pads)


@mutant("max_pool2d", "padded max pool", "parity", backward=_cropped)
def max_pool_pads_with_zero(x, kernel_size, stride, padding, *options):
    """An all-negative window beside the border gets the maximum 0."""
    ph, pw = padding
    y, cache = ops.max_pool2d(pad_with(x, (pw, pw, ph, ph)), kernel_size, stride, 0, *options)
    return y, (cache, (pw, pw, ph, ph))


@mutant("avg_pool2d_backward", "average pool")
def average_pool_ignores_the_divisor(dy, cache):
    return ops.avg_pool2d_backward(dy, cache._replace(divisor=np.ones_like(cache.divisor)))


@mutant("avg_pool2d_backward", "padded average pool")
def average_pool_divides_by_the_whole_window_at_the_border(dy, cache):
    return ops.avg_pool2d_backward(dy, cache._replace(divisor=np.full_like(cache.divisor, 9)))


@mutant("avg_pool2d", "padded average pool", "parity")
def average_pool_counts_padding_that_it_must_not(x, *options):
    return ops.avg_pool2d(x, *options[:4], True, *options[5:])


@mutant("adaptive_avg_pool2d_backward", "adaptive pool")
def adaptive_windows_of_equal_size(dy, cache):
    _, _, h, w = cache.x_shape
    rows, columns = np.arange(h) * dy.shape[2] // h, np.arange(w) * dy.shape[3] // w
    return dy[:, :, rows[:, None], columns] * (dy.shape[2] * dy.shape[3] / (h * w))
