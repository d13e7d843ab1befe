"""BatchNorm, ReLU and pooling of 2 × 2: the kernels of norm.cu and pool.cu, one after the other."""

from typing import Any, NamedTuple

from scratchnet.kernels.gpu import norm, pool
from scratchnet.ops.shape import Array

NO_POOL, MAX_POOL, AVG_POOL = range(3)


class NormPoolCache(NamedTuple):
    norm: norm.BatchNormCache
    pool: Any


def batch_norm_relu_pool(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
    relu: bool,
    kind: int,
) -> tuple[tuple[Array, Array | None, Array | None], NormPoolCache]:
    """Pooling of max(batch_norm(x), 0), x (N, C, H, W): 2 × 2, stride 2, MAX_POOL, AVG_POOL, or NO_POOL for none.

    → (y, the new running_mean, the new running_var), cache. Arguments as batch_norm's.
    """
    (y, *running), cache = norm.batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps, relu)
    pooled: Any = None
    if kind == MAX_POOL:
        y, pooled = pool.max_pool2d(y, 2, 2)
    elif kind == AVG_POOL:
        y, pooled = pool.avg_pool2d(y, 2, 2)
    return (y, running[0], running[1]), NormPoolCache(cache, pooled)


def batch_norm_relu_pool_backward(dy: Array, cache: NormPoolCache) -> tuple[Array, Array | None, Array | None]:
    """dy (N, C, OH, OW) → dx (N, C, H, W), dweight (C,), dbias (C,)."""
    if isinstance(cache.pool, pool.MaxPool2dCache):
        dy = pool.max_pool2d_backward(dy, cache.pool)
    elif cache.pool is not None:
        dy = pool.avg_pool2d_backward(dy, cache.pool)
    return norm.batch_norm_backward(dy, cache.norm)
