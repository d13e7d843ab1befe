"""A single neuron, forward and backward.

A neuron weighs its inputs, adds a bias and squashes the sum: y = σ(z) with z = x·w + b and σ(z) = 1/(1 + e^−z).
Write both directions for a batch of N inputs. Backward goes through the same two steps in reverse order: from dy to
dz (what is the slope of σ, written in y?), and from dz to dx, dw and db. w and b are shared by all N inputs: which
paths lead from w[i] to the loss?

Look at: scratchnet/ops/activation.py and scratchnet/ops/linear.py, afterwards.
"""

import numpy as np


def neuron(x, w, b):
    """x (N, I), w (I,), b () → y (N,)"""
    return 1 / (1 + np.exp(-(x @ w + b)))


def neuron_backward(dy, x, w, b):
    """dy (N,) → dx (N, I), dw (I,), db ()"""
    y = neuron(x, w, b)
    dz = dy * y * (1 - y)  # (N,)
    return dz[:, None] * w, dz @ x, dz.sum()
