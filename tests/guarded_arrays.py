"""Arrays between guards: whoever writes beside one is found out."""

import math

import numpy as np

GUARD = 256  # bytes on either side; four vectors
PATTERN = np.resize(np.array([0xA5, 0x3C, 0x7E], np.uint8), GUARD)


class Guarded:
    """Makes arrays between guards, and tells whether all guards are as they were."""

    def __init__(self):
        self._blocks = []

    def empty(self, shape, dtype):
        size = math.prod(shape) * np.dtype(dtype).itemsize
        block = np.empty(GUARD + size + GUARD, np.uint8)
        block[:GUARD], block[GUARD + size :] = PATTERN, PATTERN
        block[GUARD : GUARD + size] = 0xFF  # NaN: what a kernel forgets to write is seen
        self._blocks.append(block)
        return np.ndarray(shape, dtype, block, GUARD)

    def array(self, x):
        if not isinstance(x, np.ndarray):
            return x
        guarded = self.empty(x.shape, x.dtype)
        guarded[...] = x
        return guarded

    def intact(self):
        return all((b[:GUARD] == PATTERN).all() and (b[-GUARD:] == PATTERN).all() for b in self._blocks)
