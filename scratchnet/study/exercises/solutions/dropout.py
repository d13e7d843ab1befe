"""Dropout, forward and backward.

The mask is given: True where a unit is kept, which happens with probability 1 − p. What is kept is divided by 1 − p, so
that the expected output is the input and evaluation needs no change. Backward uses the same mask and the same scale.
p = 1 drops everything, and gives zeros without a NaN.

Look at: scratchnet/ops/dropout.py, and the museum's exhibits `dropout-…`, afterwards.
"""

import numpy as np


def dropout(x, mask, p):
    """x of any shape, mask (bool) of that shape, a number → y"""
    return np.where(mask, x / (1 - p), 0) if p < 1 else np.zeros_like(x)


def dropout_backward(dy, mask, p):
    """dy of x's shape → dx"""
    return np.where(mask, dy / (1 - p), 0) if p < 1 else np.zeros_like(dy)
