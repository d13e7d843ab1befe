"""Batch normalisation in training.

For each channel, over its n = N·H·W numbers: μ is their mean, σ² the BIASED variance (1/n), and
y = gamma·(x − μ)/√(σ² + eps) + beta. The running averages move by momentum towards the batch's:

    running ← (1 − momentum)·running + momentum·batch

where running_var takes the UNBIASED variance, n/(n − 1) times σ². Return new arrays.

Look at: scratchnet/ops/norm.py, and the museum's exhibits `batch-norm-…`, afterwards.
"""

import numpy as np


def batch_norm(x, gamma, beta, running_mean, running_var, momentum, eps):
    """x (N, C, H, W), four arrays (C,), two numbers → y, the new running_mean, the new running_var"""
    n = x.size // x.shape[1]
    mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))  # (C,)
    x_hat = (x - mean[:, None, None]) / np.sqrt(var + eps)[:, None, None]
    y = gamma[:, None, None] * x_hat + beta[:, None, None]
    running_mean = (1 - momentum) * running_mean + momentum * mean
    running_var = (1 - momentum) * running_var + momentum * (n / (n - 1)) * var
    return y, running_mean, running_var
