"""col2im: the gradient of im2col.

im2col copied pixel (i·stride + u, j·stride + v) to cols[n, c, u, v, i, j], for all u, v and all i, j. Backward sends
the gradient of every copy to the pixel that it was copied from. A pixel has as many copies as windows cover it.
Two loops, over u and v, with slices for all windows at once are enough.

Look at: scratchnet/ops/conv.py, and the exhibit `col2im-overwrites`, afterwards.
"""

import numpy as np


def col2im(dcols, height, width, stride):
    """dcols (N, C, KH, KW, OH, OW), the image's size → dx (N, C, height, width)"""
    n, c, kh, kw, oh, ow = dcols.shape
    dx = np.zeros((n, c, height, width), dcols.dtype)
    for u in range(kh):
        for v in range(kw):
            dx[:, :, u : u + stride * oh : stride, v : v + stride * ow : stride] += dcols[:, :, u, v]
    return dx
