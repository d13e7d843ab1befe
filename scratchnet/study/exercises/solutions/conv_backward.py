"""The gradients of a convolution.

Take the formula of the last exercise: y[n, o, i, j] contains weight[o, c, u, v] · x̂[n, c, i·stride + u, j·stride + v]
once. So dy[n, o, i, j] times the pixel goes into dweight[o, c, u, v], and dy[n, o, i, j] times the weight goes into
that pixel of dx̂. Windows overlap: what arrives at a pixel adds up. Last, cut the border off. Loops are welcome.

Look at: scratchnet/kernels/loops/conv.py, and the museum's exhibits of the family “convolution”, afterwards.
"""

import numpy as np


def conv2d_backward(dy, x, weight, stride, padding):
    """dy (N, O, OH, OW), x (N, C, H, W), weight (O, C, KH, KW) → dx, dweight, dbias (O,)"""
    border = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    x_padded = np.pad(x, border)
    dx_padded, dweight = np.zeros_like(x_padded), np.zeros_like(weight)
    kh, kw = weight.shape[2:]
    for i in range(dy.shape[2]):
        for j in range(dy.shape[3]):
            window = (..., slice(i * stride, i * stride + kh), slice(j * stride, j * stride + kw))
            dweight += np.tensordot(dy[:, :, i, j], x_padded[window], (0, 0))  # (O, C, KH, KW)
            dx_padded[window] += np.tensordot(dy[:, :, i, j], weight, (1, 0))  # (N, C, KH, KW)
    h, w = x.shape[2:]
    dx = dx_padded[:, :, padding : padding + h, padding : padding + w]
    return dx, dweight, dy.sum(axis=(0, 2, 3))
