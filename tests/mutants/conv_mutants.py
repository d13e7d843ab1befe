"""Mistakes in convolution and padding."""

import numpy as np
from mutants.registry import mutant

from scratchnet import ops
from scratchnet.ops.conv import col2im
from scratchnet.ops.pad import crop
from scratchnet.ops.shape import pair, tap


@mutant("conv2d_backward", "conv")
def col2im_overwrites(dy, cache):
    """= where windows overlap and it has to be +=."""
    (n, c, h, w), (ph, pw) = cache.x_shape, pair(cache.padding)
    _, dweight, dbias = ops.conv2d_backward(dy, cache)
    kh, kw = cache.weight.shape[2:]
    dcols = cache.weight.reshape(len(dweight), -1).T @ dy.reshape(n, len(dweight), -1)
    dcols = dcols.reshape(n, c, kh, kw, *dy.shape[2:])
    dx = np.zeros((n, c, h + 2 * ph, w + 2 * pw))
    for u in range(kh):
        for v in range(kw):
            dx[tap(u, v, cache.stride, cache.dilation, dy.shape[2:])] = dcols[:, :, u, v]
    return crop(dx, (pw, pw, ph, ph)), dweight, dbias


@mutant("conv2d_backward", "conv")
def conv_kernel_flipped_once_too_often(dy, cache):
    """dx by correlating dy with the kernel, instead of with the flipped kernel."""
    return ops.conv2d_backward(dy, cache._replace(weight=cache.weight[..., ::-1, ::-1]))


@mutant("conv2d_backward", "square conv")
def conv_dx_with_channels_swapped(dy, cache):
    """weight (O, C) read as (C, O): runs wherever O = C."""
    _, dweight, dbias = ops.conv2d_backward(dy, cache)
    return ops.conv2d_backward(dy, cache._replace(weight=cache.weight.swapaxes(0, 1)))[0], dweight, dbias


@mutant("conv2d_backward", "strided conv")
def conv_dx_ignores_the_stride(dy, cache):
    (n, c, h, w), (ph, pw) = cache.x_shape, pair(cache.padding)
    o, _, kh, kw = cache.weight.shape
    _, dweight, dbias = ops.conv2d_backward(dy, cache)
    dcols = (cache.weight.reshape(o, -1).T @ dy.reshape(n, o, -1)).reshape(n, c, kh, kw, *dy.shape[2:])
    dx = col2im(dcols, (n, c, h + 2 * ph, w + 2 * pw), 1, cache.dilation)
    return crop(dx, (pw, pw, ph, ph)), dweight, dbias


@mutant("conv2d_backward", "dilated conv")
def conv_dx_ignores_the_dilation(dy, cache):
    _, dweight, dbias = ops.conv2d_backward(dy, cache)
    return ops.conv2d_backward(dy, cache._replace(dilation=1))[0], dweight, dbias


@mutant("conv2d_backward", "conv")
def conv_padding_cut_off_at_one_end_only(dy, cache):
    dx, dweight, dbias = ops.conv2d_backward(dy, cache)
    return np.roll(dx, 1, axis=2), dweight, dbias


@mutant("conv2d_backward", "conv")
def conv_weight_gradient_of_the_last_image(dy, cache):
    dx, _, dbias = ops.conv2d_backward(dy, cache)
    last = cache._replace(cols=cache.cols[-1:], x_shape=(1, *cache.x_shape[1:]))
    return dx, ops.conv2d_backward(dy[-1:], last)[1], dbias


@mutant("conv2d_backward", "conv")
def conv_weight_gradient_averaged_over_the_batch(dy, cache):
    dx, dweight, dbias = ops.conv2d_backward(dy, cache)
    return dx, dweight / len(dy), dbias


@mutant("conv2d_backward", "conv")
def conv_bias_gradient_is_a_mean(dy, cache):
    dx, dweight, _ = ops.conv2d_backward(dy, cache)
    return dx, dweight, dy.mean(axis=(0, 2, 3))


@mutant("conv2d_backward", "grouped conv")
def conv_groups_in_the_wrong_order(dy, cache):
    dx, dweight, dbias = ops.conv2d_backward(dy, cache)
    n, c, h, w = dx.shape
    return dx.reshape(n, 2, c // 2, h, w)[:, ::-1].reshape(dx.shape), dweight, dbias


def _of_the_flipped_kernel(dy, cache):
    dx, dweight, dbias = ops.conv2d_backward(dy, cache)
    return dx, dweight[..., ::-1, ::-1], dbias


@mutant("conv2d", "conv", "parity", backward=_of_the_flipped_kernel)
def conv_is_a_true_convolution(x, weight, *options):
    """The kernel flipped forward and backward: consistent, and not what torch calls a convolution."""
    return ops.conv2d(x, weight[..., ::-1, ::-1], *options)


@mutant("conv_transpose2d_backward", "transposed conv")
def transposed_conv_without_its_stride(dy, cache):
    dx, dweight, dbias = ops.conv_transpose2d_backward(dy, cache)
    _, _, h, w = dx.shape
    squeezed = ops.conv2d(dy, cache.weight, None, 1, cache.padding)[0][:, :, :h, :w]
    return squeezed, dweight, dbias


@mutant("pad2d_backward", "reflecting conv")
def reflected_pixels_lose_their_gradient(dy, cache):
    return crop(dy, cache.pads)
