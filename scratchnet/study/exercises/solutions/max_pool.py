"""The gradient of max pooling.

Each output is a copy of one pixel, the largest of its window; all of dy[n, c, i, j] goes to that pixel. Three
traps: windows overlap where stride < kernel, so a pixel may win more than once; pixels may tie, and then the first in
row-major order (as np.argmax finds it) gets all, the others nothing; all numbers of a window may be negative.

Look at: scratchnet/ops/pool.py, and the museum's exhibits `max-pool-…`, afterwards.
"""

import numpy as np


def max_pool2d_backward(dy, x, kernel, stride):
    """dy (N, C, OH, OW), x (N, C, H, W), two whole numbers → dx (N, C, H, W)"""
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(dy.shape):
        top, left = i * stride, j * stride
        window = x[n, c, top : top + kernel, left : left + kernel]
        u, v = divmod(int(window.argmax()), kernel)
        dx[n, c, top + u, left + v] += dy[n, c, i, j]
    return dx
