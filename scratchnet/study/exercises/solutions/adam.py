"""A step of Adam.

m and v are running means of the gradient and of its square, with rates beta1 and beta2, and start at zero; so they are
too small at first, by the factors 1 − beta1ᵗ and 1 − beta2ᵗ at step t = 1, 2, …. Divide by these, and move param by
lr · m̂ / (√v̂ + eps). eps stands outside of the root. Return new arrays.

Look at: scratchnet/optim/adam.py, and the museum's exhibits `adam-…`, afterwards.
"""

import numpy as np


def adam_step(param, grad, m, v, t, lr, beta1, beta2, eps):
    """Four arrays of one shape, the step t ≥ 1 and four numbers → the new param, m and v"""
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return param - lr * m_hat / (np.sqrt(v_hat) + eps), m, v
