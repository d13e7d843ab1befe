"""Dropout, and its random numbers. The formulas are in scratchnet/ops/dropout.py, and every bit is the same as there.

Philox has no state that steps from one number to the next, so that its rounds work on vectors of blocks. The textbook
takes all blocks through one round after another, and its arrays are as large as x. Here a piece of 256 blocks at a time
goes through all ten rounds, in 8 KiB, which stay in the first-level cache.
"""

from typing import NamedTuple

import numpy

from scratchnet.kernels.cpu._arrays import empty, ready
from scratchnet.kernels.cpu._compile import inner, kernel
from scratchnet.kernels.cpu.elementwise import piece, select
from scratchnet.ops.shape import Array

_MULTIPLIER_0, _MULTIPLIER_1 = numpy.uint64(0xD2511F53), numpy.uint64(0xCD9E8D57)
_KEY_STEP_0, _KEY_STEP_1 = numpy.uint64(0x9E3779B9), numpy.uint64(0xBB67AE85)
_LOW, _HALF = numpy.uint64(0xFFFFFFFF), numpy.uint64(32)
_PIECE = 256  # blocks


class DropoutCache(NamedTuple):
    mask: Array  # True where x is kept; broadcasts against x
    scale: float  # 1 / (1 − p)


@inner
def _philox(first, call, seed, stream, c0, c1, c2, c3):
    """Fill the arrays with the four random numbers of block number first, first + 1, …; all is uint64."""
    for b in range(c0.size):
        c0[b], c1[b], c2[b], c3[b] = first + numpy.uint64(b), 0, call & _LOW, call >> _HALF
    key0, key1 = seed, stream
    for _ in range(10):
        for b in range(c0.size):
            product0, product1 = c0[b] * _MULTIPLIER_0, c2[b] * _MULTIPLIER_1  # 32 × 32 → 64 bits
            c0[b], c1[b] = product1 >> _HALF ^ c1[b] ^ key0, product1 & _LOW
            c2[b], c3[b] = product0 >> _HALF ^ c3[b] ^ key1, product0 & _LOW
        key0, key1 = (key0 + _KEY_STEP_0) & _LOW, (key1 + _KEY_STEP_1) & _LOW


@inner
def _compare(c, threshold, mask):
    for b in range(mask.size):
        mask[b] = c[b] >= threshold


@kernel
def _draw(t, threads, call, seed, stream, threshold, mask):
    """mask[i] = whether random number i is at least the threshold, p·2³²."""
    pieces = (mask.size + 4 * _PIECE - 1) // (4 * _PIECE)
    c0, c1, c2, c3 = (
        numpy.empty(_PIECE, numpy.uint64), numpy.empty(_PIECE, numpy.uint64),
        numpy.empty(_PIECE, numpy.uint64), numpy.empty(_PIECE, numpy.uint64),
    )  # fmt: skip
    for p in range(t * pieces // threads, (t + 1) * pieces // threads):
        _philox(numpy.uint64(p * _PIECE), call, seed, stream, c0, c1, c2, c3)
        part = mask[4 * _PIECE * p : 4 * _PIECE * (p + 1)]
        _compare(c0, threshold, part[0::4])
        _compare(c1, threshold, part[1::4])
        _compare(c2, threshold, part[2::4])
        _compare(c3, threshold, part[3::4])


@kernel
def _apply(t, threads, x, mask, scale, y):
    """y = x·scale where mask, else 0."""
    a, keep, b = piece(x, t, threads), piece(mask, t, threads), piece(y, t, threads)
    for i in range(b.size):
        b[i] = select(keep[i], a[i] * scale, x.dtype.type(0))


def _masked(x: Array, mask: Array, scale: float) -> Array:
    x, y = ready(x), empty(x.shape, x.dtype)
    every = mask if mask.shape == x.shape else ready(numpy.broadcast_to(mask, x.shape))
    _apply(x.size, x.reshape(-1), every.reshape(-1), x.dtype.type(scale), y.reshape(-1))
    return y


def keep_mask(shape: tuple[int, ...], p: float, key: tuple[int, int], call: int) -> Array:
    """The mask: True with probability 1 − p. The same bits as scratchnet.ops.dropout.keep_mask gives."""
    mask, word = empty(shape, numpy.bool_), numpy.uint64
    seed, stream = key
    _draw(8 * mask.size, word(call), word(seed), word(stream), word(round(p * 2**32)), mask.reshape(-1))
    return mask


def dropout(x: Array, p: float, key: tuple[int, int], call: int, channels: bool = False) -> tuple[Array, DropoutCache]:
    """Drop each element of x with probability p; with channels, whole channels of x (N, C, …) instead."""
    mask = keep_mask((*x.shape[:2], *[1] * (x.ndim - 2)) if channels else x.shape, p, key, call)
    cache = DropoutCache(mask, 1 / (1 - p) if p < 1 else 0.0)
    return _masked(x, mask, cache.scale), cache


def dropout_backward(dy: Array, cache: DropoutCache) -> Array:
    return _masked(dy, cache.mask, cache.scale)
