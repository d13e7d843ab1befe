"""Mistakes in pooling."""

import numpy as np
from mutants.registry import mutant

from scratchnet import ops


@mutant("max_pool2d_backward", "max pool")
def max_pool_shares_like_an_average(dy, cache):
    return np.repeat(np.repeat(dy, 2, axis=2), 2, axis=3) / 4


@mutant("avg_pool2d_backward", "padded average pool")
def average_pool_divides_by_the_whole_window_at_the_border(dy, cache):
    return ops.avg_pool2d_backward(dy, cache._replace(divisor=np.full_like(cache.divisor, 9)))


@mutant("adaptive_avg_pool2d_backward", "adaptive pool")
def adaptive_windows_of_equal_size(dy, cache):
    _, _, h, w = cache.x_shape
    rows, columns = np.arange(h) * dy.shape[2] // h, np.arange(w) * dy.shape[3] // w
    return dy[:, :, rows[:, None], columns] * (dy.shape[2] * dy.shape[3] / (h * w))
