"""A softmax that does not overflow, and its gradient.

y[n, i] = e^x[n, i] / Σ_k e^x[n, k], for each row n. e^1000 is infinite, and logits of that size do occur: which
number can be subtracted from a row without changing y? In backward every y[n, i] depends on every x[n, j]:
∂y_i/∂x_j = y_i·([i = j] − y_j). Sum over i; no loop and no C × C matrix is needed.

Look at: scratchnet/ops/activation.py, afterwards.
"""

import numpy as np


def softmax(x):
    """x (N, C) → y (N, C), each row a distribution"""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_backward(dy, x):
    """dy (N, C), x (N, C) → dx (N, C)"""
    y = softmax(x)
    return y * (dy - (dy * y).sum(axis=1, keepdims=True))
