"""Transposed 2-D convolution: convolution run backwards, as a layer of its own.

Formula
-------
A convolution gathers a window into one pixel. Its transpose scatters one pixel over a window: every input pixel
lays a copy of the kernel, scaled by its value, on the output, and copies that overlap add up::

    y[n, o, i·SH + u·DH − PH, j·SW + v·DW − PW] += x[n, c, i, j] · weight[c, o, u, v]          for all c, i, j, u, v

and bias[o] is added to all of channel o. That is what conv2d_backward does to compute dx, so the pieces are the
same ones, in other roles::

    conv2d              cols  = im2col(x)          Y  = W · cols
    its gradient        dcols = Wᵀ · dY            dx = col2im(dcols)
    conv_transpose2d    cols  = Wᵀ · X             y  = col2im(cols)

Backward
--------
The transpose of col2im is im2col, so the gradient of a transposed convolution is a plain convolution::

    dcols = im2col(dy)        dX = W · dcols        dW[c, k] = Σ_p X[c, p] · dcols[k, p]        dbias[o] = Σ dy[o]

padding cuts a border off the output (it undoes the padding of the convolution that is transposed), output_padding
adds rows and columns below and to the right, for strides that leave the size of that convolution's input open.

Source: V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from typing import NamedTuple

from scratchnet.ops.conv import col2im, im2col
from scratchnet.ops.pad import crop, pad_with
from scratchnet.ops.shape import Array, Pair, pair


class ConvTranspose2dCache(NamedTuple):
    x: Array  # (N, C, H, W)
    weight: Array  # (C, O/G, KH, KW)
    has_bias: bool
    stride: Pair
    padding: Pair
    output_padding: Pair
    groups: int
    dilation: Pair


def conv_transpose2d(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> tuple[Array, ConvTranspose2dCache]:
    """Scatter x (N, C, H, W) by weight (C, O/G, KH, KW), add bias (O,) or None → y (N, O, OH, OW).

    OH = (H − 1)·SH − 2·PH + DH·(KH − 1) + output_padding + 1, and OW likewise.
    """
    n, c, h, w = x.shape
    _, o_group, kh, kw = weight.shape
    (sh, sw), (ph, pw), (dh, dw), (eh, ew) = pair(stride), pair(padding), pair(dilation), pair(output_padding)
    k, p = o_group * kh * kw, h * w

    W = weight.reshape(groups, c // groups, k)  # (G, C/G, K)
    cols = W.swapaxes(1, 2) @ x.reshape(n, groups, c // groups, p)  # (N, G, K, P)
    cols = cols.reshape(n, groups * o_group, kh, kw, h, w)  # (N, O, KH, KW, H, W)
    full = (h - 1) * sh + dh * (kh - 1) + eh + 1, (w - 1) * sw + dw * (kw - 1) + ew + 1
    y = col2im(cols, (n, groups * o_group, *full), stride, dilation)  # (N, O, OH + 2·PH, OW + 2·PW)
    y = crop(y, (pw, pw, ph, ph))  # (N, O, OH, OW)
    if bias is not None:
        y = y + bias[:, None, None]
    cache = ConvTranspose2dCache(x, weight, bias is not None, stride, padding, output_padding, groups, dilation)
    return y, cache


def conv_transpose2d_backward(dy: Array, cache: ConvTranspose2dCache) -> tuple[Array, Array, Array | None]:
    """dy (N, O, OH, OW) → dx (N, C, H, W), dweight (C, O/G, KH, KW), dbias (O,) or None."""
    x, weight, has_bias, stride, padding, output_padding, groups, dilation = cache
    n, c, h, w = x.shape
    _, o_group, kh, kw = weight.shape
    (ph, pw), (eh, ew) = pair(padding), pair(output_padding)
    k, p = o_group * kh * kw, h * w

    dbias = dy.sum(axis=(0, 2, 3)) if has_bias else None  # (O,)
    dy = pad_with(dy, (pw, pw, ph, ph))  # (N, O, OH + 2·PH, OW + 2·PW)
    dcols = im2col(crop(dy, (0, ew, 0, eh)), (kh, kw), stride, dilation)  # (N, O, KH, KW, H, W)
    dcols = dcols.reshape(n, groups, k, p)  # (N, G, K, P)
    W = weight.reshape(groups, c // groups, k)  # (G, C/G, K)
    dx = (W @ dcols).reshape(x.shape)  # (N, C, H, W)
    X = x.reshape(n, groups, c // groups, p)  # (N, G, C/G, P)
    dweight = (X @ dcols.swapaxes(2, 3)).sum(axis=0).reshape(weight.shape)  # (C, O/G, KH, KW)
    return dx, dweight, dbias
