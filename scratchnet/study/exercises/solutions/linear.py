"""The gradients of a linear layer.

The layer computes y[n, o] = Σ_i weight[o, i]·x[n, i] + bias[o], in one line: y = x @ weight.T + bias. Write its
backward pass. Every gradient is dy times the other factor, summed over every index that it does not have itself; and
it has the shape of what it is the gradient of.

Look at: scratchnet/ops/linear.py, afterwards.
"""

import numpy as np  # noqa: F401


def linear_backward(dy, x, weight):
    """dy (N, O), x (N, I), weight (O, I) → dx (N, I), dweight (O, I), dbias (O,)"""
    return dy @ weight, dy.T @ x, dy.sum(axis=0)
