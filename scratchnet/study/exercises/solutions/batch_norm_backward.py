"""The three paths of batch normalisation's gradient.

An element of x reaches the loss by its own x̂ = (x − μ)/√(σ² + eps), by the mean that all x̂ of its channel subtract, and
by the variance that all of them are divided by. The gradients of the parameters are sums over (N, H, W):
dgamma = Σ dy·x̂ and dbeta = Σ dy. With them dx fits in one line; derive it, or start from the three paths one by one.
A check on paper: for each channel Σ dx = 0, and Σ dx·x̂ is almost 0.

Look at: scratchnet/ops/norm.py, and the museum's exhibits `batch-norm-…`, afterwards.
"""

import numpy as np


def batch_norm_backward(dy, x, gamma, eps):
    """dy (N, C, H, W), x (N, C, H, W), gamma (C,), a number → dx, dgamma (C,), dbeta (C,)"""
    axes, n = (0, 2, 3), x.size // x.shape[1]
    inv_std = 1 / np.sqrt(x.var(axis=axes, keepdims=True) + eps)  # (1, C, 1, 1)
    x_hat = (x - x.mean(axis=axes, keepdims=True)) * inv_std
    dgamma, dbeta = (dy * x_hat).sum(axis=axes), dy.sum(axis=axes)  # (C,)
    centred = dy - dbeta[:, None, None] / n - x_hat * dgamma[:, None, None] / n
    return gamma[:, None, None] * inv_std * centred, dgamma, dbeta
