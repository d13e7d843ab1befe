"""Convolution, by its definition.

    y[n, o, i, j] = bias[o] + Σ_{c, u, v} weight[o, c, u, v] · x̂[n, c, i·stride + u, j·stride + v]

x̂ is x in a border of `padding` zeros on all four sides. OH = ⌊(H + 2·padding − KH)/stride⌋ + 1, and OW likewise. Loops
are welcome; a loop over the output pixels with a sum over a window in it is fine. The kernel is not flipped.

Look at: scratchnet/kernels/loops/conv.py and scratchnet/ops/conv.py, afterwards.
"""

import numpy as np


def conv2d(x, weight, bias, stride, padding):
    """x (N, C, H, W), weight (O, C, KH, KW), bias (O,), two whole numbers → y (N, O, OH, OW)"""
    x_padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    kh, kw = weight.shape[2:]
    oh = (x_padded.shape[2] - kh) // stride + 1
    ow = (x_padded.shape[3] - kw) // stride + 1
    y = np.zeros((len(x), len(weight), oh, ow), x.dtype)
    for i in range(oh):
        for j in range(ow):
            window = x_padded[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw]  # (N, C, KH, KW)
            y[:, :, i, j] = np.tensordot(window, weight, ((1, 2, 3), (1, 2, 3))) + bias  # (N, O)
    return y
