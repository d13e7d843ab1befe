"""Flatten: the bridge from feature maps to a fully connected layer.

The numbers stay, only their arrangement changes, so the gradient is dy in the arrangement of x.
"""

import math
from typing import NamedTuple

from scratchnet.ops.shape import Array


class FlattenCache(NamedTuple):
    x_shape: tuple[int, ...]


def flatten(x: Array, start_dim: int, end_dim: int) -> tuple[Array, FlattenCache]:
    """Join the axes start_dim … end_dim (both included, counted from 0) of x into one, in row-major order."""
    joined = math.prod(x.shape[start_dim : end_dim + 1])
    y = x.reshape(*x.shape[:start_dim], joined, *x.shape[end_dim + 1 :])
    return y, FlattenCache(x.shape)


def flatten_backward(dy: Array, cache: FlattenCache) -> Array:
    """dy of y's shape → dx of x's shape."""
    return dy.reshape(cache.x_shape)
