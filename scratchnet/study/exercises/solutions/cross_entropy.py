"""Cross entropy of logits, and the gradient that starts every backward pass.

loss = 1/N · Σ_n −log p[n, target[n]] with p = softmax(logits). Write log p as z − log Σ_k e^z_k with a shifted z, and
never as the logarithm of p: p may be 0 in floating point. The gradient is famous and short. Do not lose its 1/N.

Look at: scratchnet/ops/loss.py, and the museum's exhibits of the family “loss”, afterwards.
"""

import numpy as np


def _log_softmax(logits):
    z = logits - logits.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def cross_entropy(logits, target):
    """logits (N, C), target (N,) of class indices → the mean loss, a number"""
    return -_log_softmax(logits)[np.arange(len(target)), target].mean()


def cross_entropy_backward(logits, target):
    """logits (N, C), target (N,) → dlogits (N, C), the gradient of the mean loss"""
    dlogits = np.exp(_log_softmax(logits))
    dlogits[np.arange(len(target)), target] -= 1
    return dlogits / len(target)
