"""Dropout, and the counter-based random numbers behind it.

Formula
-------
    y = mask · x / (1 − p)          mask = 1 with probability 1 − p, else 0

Dividing by 1 − p keeps the expected value of y at x, so that nothing has to change in evaluation, where dropout
is the identity. y is linear in x, so dx = mask · dy / (1 − p), with the SAME mask.

Which mask
----------
A generator that steps from one state to the next would give another mask on another device or with another number
of threads. Philox4x32-10 has no state to step: it is a function from (key, counter) to four 32-bit numbers. Here

    key     = (seed, stream)                 which random numbers; each module has its own stream
    counter = (block, 0, call, call >> 32)   block b makes elements 4b … 4b + 3 of the module's call number `call`

so every element's random bits can be computed alone, in any order, and the whole state is three integers. An
element is kept if its bits r, uniform over 0 … 2³² − 1, satisfy r ≥ p·2³².

Sources: N. Srivastava et al., "Dropout", JMLR 2014; J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011 (Philox).
"""

import math
from types import ModuleType
from typing import NamedTuple

from scratchnet.ops.shape import Array, array_module

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85  # the golden ratio and √3 − 1, times 2³²
_LOW = 0xFFFFFFFF


class DropoutCache(NamedTuple):
    mask: Array  # True where x is kept; broadcasts against x
    scale: float  # 1 / (1 − p)


def philox(key: tuple[int, int], call: int, size: int, xp: ModuleType) -> Array:
    """`size` random uint32 numbers: Philox4x32-10 of the counters 0 … ⌈size/4⌉ − 1 of this key and call."""
    blocks = -(-size // 4)
    counter = [xp.full(blocks, word, xp.uint64) for word in (0, 0, call & _LOW, call >> 32 & _LOW)]
    counter[0] = xp.arange(blocks, dtype=xp.uint64)
    k0, k1 = key
    for _ in range(10):
        product0 = counter[0] * _MULTIPLIERS[0]  # 32 × 32 → 64 bits
        product1 = counter[2] * _MULTIPLIERS[1]
        counter = [
            product1 >> 32 ^ counter[1] ^ k0,
            product1 & _LOW,
            product0 >> 32 ^ counter[3] ^ k1,
            product0 & _LOW,
        ]
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return xp.stack(counter, axis=1).reshape(-1)[:size].astype(xp.uint32)


def keep_mask(shape: tuple[int, ...], p: float, key: tuple[int, int], call: int, xp: ModuleType) -> Array:
    """The mask: True with probability 1 − p. The same for the same key and call, on every device."""
    bits = philox(key, call, math.prod(shape), xp)
    return (bits >= xp.uint64(round(p * 2**32))).reshape(shape)


def dropout(x: Array, p: float, key: tuple[int, int], call: int, channels: bool = False) -> tuple[Array, DropoutCache]:
    """Drop each element of x with probability p; with channels, whole channels of x (N, C, …) instead."""
    xp = array_module(x)
    shape = (*x.shape[:2], *[1] * (x.ndim - 2)) if channels else x.shape
    mask = keep_mask(shape, p, key, call, xp)
    cache = DropoutCache(mask, 1 / (1 - p) if p < 1 else 0.0)
    return xp.where(mask, x * cache.scale, 0), cache


def dropout_backward(dy: Array, cache: DropoutCache) -> Array:
    return array_module(dy).where(cache.mask, dy * cache.scale, 0)
