"""The gradient of average pooling, with padding that does not count.

Each output is the mean of the real pixels of its window: those in the padding are not counted in the divisor. So a
window of 3 × 3 in the corner of an image that is padded by 1 is the mean of 4 pixels. Backward gives each real pixel
of a window its share of dy[n, c, i, j].

Look at: scratchnet/ops/pool.py, and the museum's exhibits `avg-pool-…`, afterwards.
"""

import numpy as np


def avg_pool2d_backward(dy, height, width, kernel, stride, padding):
    """dy (N, C, OH, OW) and five whole numbers → dx (N, C, height, width)"""
    n, c, oh, ow = dy.shape
    dx = np.zeros((n, c, height, width), dy.dtype)
    for i in range(oh):
        for j in range(ow):
            top, left = i * stride - padding, j * stride - padding
            rows = slice(max(top, 0), min(top + kernel, height))
            columns = slice(max(left, 0), min(left + kernel, width))
            count = (rows.stop - rows.start) * (columns.stop - columns.start)
            dx[:, :, rows, columns] += dy[:, :, i, j, None, None] / count
    return dx
