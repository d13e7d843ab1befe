"""A step of SGD with momentum and weight decay, as torch defines them.

    g ← grad + weight_decay·param        decay is part of the gradient
    b ← momentum·b + g                   the buffer, zeros before the first step
    param ← param − lr·b

Return new arrays; leave those that you are given as they are. Mind the order: what does decay after the momentum do?

Look at: scratchnet/optim/sgd.py, and the exhibit `sgd-decay-after-momentum`, afterwards.
"""

import numpy as np  # noqa: F401


def sgd_step(param, grad, buffer, lr, momentum, weight_decay):
    """Three arrays of one shape and three numbers → the new param, the new buffer"""
    buffer = momentum * buffer + (grad + weight_decay * param)
    return param - lr * buffer, buffer
