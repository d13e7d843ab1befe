"""2-D convolution by im2col.

Formula
-------
With x̂ the input padded by zeros, one output pixel is the weighted sum of one window of the image::

    y[n, o, i, j] = bias[o] + Σ_{c, u, v} weight[o, c, u, v] · x̂[n, c, i·SH + u·DH, j·SW + v·DW]

(mathematicians call this cross-correlation; a true convolution would flip the kernel). With G groups, output
channel o sees only the C/G input channels of its own group.

Forward as one matrix product
-----------------------------
Write each window as a column of K = C·KH·KW numbers. The P = OH·OW windows of an image make the matrix
`cols` (K, P), and the formula above reads ::

    Y = W · cols + bias          W: (O, K)   cols: (K, P)   Y: (O, P)

Building `cols` is *im2col*. It copies every pixel as often as windows overlap there, and pays for it with a
matrix product, the operation that computers do fastest.

Backward
--------
Let dY (O, P) be the gradient that arrives. Y is linear in each of its three inputs, so by the chain rule ::

    Y[o, p] = Σ_k W[o, k] · cols[k, p] + bias[o]

    dbias[o]    = Σ_p dY[o, p]                   bias[o] is added to every pixel of channel o
    dW[o, k]    = Σ_p dY[o, p] · cols[k, p]      dW    = dY · colsᵀ
    dcols[k, p] = Σ_o W[o, k] · dY[o, p]         dcols = Wᵀ · dY

dbias and dW also sum over the N images, since all of them use the same weights. What is left is the way from
dcols to dx. A pixel was copied into several columns, so the loss reaches it along several paths, and their
gradients ADD: *col2im* is im2col backwards, with `=` turned into `+=`. Padding was no input, so its gradient is
cut off; a pixel that no window covers was never copied and keeps gradient zero.

Source: K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document
Processing", 2006 (im2col); torch.nn.functional.conv2d for the meaning of every option.
"""

from typing import NamedTuple

from scratchnet.ops.pad import crop, pad_with
from scratchnet.ops.shape import Array, Pair, array_module, output_size, pair, tap


class Conv2dCache(NamedTuple):
    cols: Array  # (N, G, K, P)
    weight: Array  # (O, C/G, KH, KW)
    x_shape: tuple[int, int, int, int]
    has_bias: bool
    stride: Pair
    padding: Pair
    dilation: Pair


def im2col(x: Array, kernel: tuple[int, int], stride: Pair, dilation: Pair) -> Array:
    """Every window of the (padded) image as a column: (N, C, H, W) → (N, C, KH, KW, OH, OW)."""
    (n, c, h, w), (kh, kw), (sh, sw), (dh, dw) = x.shape, kernel, pair(stride), pair(dilation)
    out = output_size(h, kh, sh, 0, dh), output_size(w, kw, sw, 0, dw)
    cols = array_module(x).empty((n, c, kh, kw, *out), x.dtype)
    for u in range(kh):
        for v in range(kw):
            cols[:, :, u, v] = x[tap(u, v, stride, dilation, out)]
    return cols


def col2im(dcols: Array, x_shape: tuple[int, ...], stride: Pair, dilation: Pair) -> Array:
    """The gradient of im2col: each column's gradient is added to the pixels that the column was read from."""
    kh, kw, *out = dcols.shape[2:]
    dx = array_module(dcols).zeros(x_shape, dcols.dtype)
    for u in range(kh):
        for v in range(kw):
            dx[tap(u, v, stride, dilation, (out[0], out[1]))] += dcols[:, :, u, v]
    return dx


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Conv2dCache]:
    """Convolve x (N, C, H, W) with weight (O, C/G, KH, KW) and bias (O,) or None → y (N, O, OH, OW).

    OH = ⌊(H + 2·PH − DH·(KH − 1) − 1) / SH⌋ + 1, and OW likewise.
    """
    n, _, h, w = x.shape
    o, c_group, kh, kw = weight.shape
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    oh, ow = output_size(h, kh, sh, ph, dh), output_size(w, kw, sw, pw, dw)
    k, p = c_group * kh * kw, oh * ow

    cols = im2col(pad_with(x, (pw, pw, ph, ph)), (kh, kw), stride, dilation)  # (N, C, KH, KW, OH, OW)
    cols = cols.reshape(n, groups, k, p)  # (N, G, K, P)
    y = weight.reshape(groups, o // groups, k) @ cols  # (N, G, O/G, P)
    y = y.reshape(n, o, oh, ow)  # (N, O, OH, OW)
    if bias is not None:
        y += bias[:, None, None]
    return y, Conv2dCache(cols, weight, x.shape, bias is not None, stride, padding, dilation)


def conv2d_backward(dy: Array, cache: Conv2dCache) -> tuple[Array, Array, Array | None]:
    """dy (N, O, OH, OW) → dx (N, C, H, W), dweight (O, C/G, KH, KW), dbias (O,) or None."""
    cols, weight, x_shape, has_bias, stride, padding, dilation = cache
    (n, c, h, w), (o, _, kh, kw), (ph, pw) = x_shape, weight.shape, pair(padding)
    groups, k, p = cols.shape[1:]

    dbias = dy.sum(axis=(0, 2, 3)) if has_bias else None  # (O,)
    dY = dy.reshape(n, groups, o // groups, p)  # (N, G, O/G, P)
    dweight = (dY @ cols.swapaxes(2, 3)).sum(axis=0).reshape(weight.shape)  # (O, C/G, KH, KW)
    W = weight.reshape(groups, o // groups, k)  # (G, O/G, K)
    dcols = W.swapaxes(1, 2) @ dY  # (N, G, K, P)
    dcols = dcols.reshape(n, c, kh, kw, *dy.shape[2:])  # (N, C, KH, KW, OH, OW)
    dx = col2im(dcols, (n, c, h + 2 * ph, w + 2 * pw), stride, dilation)  # (N, C, H + 2·PH, W + 2·PW)
    return crop(dx, (pw, pw, ph, ph)), dweight, dbias
