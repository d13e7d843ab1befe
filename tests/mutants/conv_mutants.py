"""Mistakes in convolution and padding."""

from mutants.registry import mutant

from scratchnet import ops
from scratchnet.ops.pad import crop


@mutant("conv2d_backward", "square conv")
def conv_dx_with_channels_swapped(dy, cache):
    """weight (O, C) read as (C, O): runs wherever O = C."""
    _, dweight, dbias = ops.conv2d_backward(dy, cache)
    return ops.conv2d_backward(dy, cache._replace(weight=cache.weight.swapaxes(0, 1)))[0], dweight, dbias


@mutant("conv2d_backward", "dilated conv")
def conv_dx_ignores_the_dilation(dy, cache):
    _, dweight, dbias = ops.conv2d_backward(dy, cache)
    return ops.conv2d_backward(dy, cache._replace(dilation=1))[0], dweight, dbias


@mutant("conv2d_backward", "conv")
def conv_weight_gradient_of_the_last_image(dy, cache):
    dx, _, dbias = ops.conv2d_backward(dy, cache)
    last = cache._replace(cols=cache.cols[-1:], x_shape=(1, *cache.x_shape[1:]))
    return dx, ops.conv2d_backward(dy[-1:], last)[1], dbias


@mutant("conv2d_backward", "conv")
def conv_bias_gradient_is_a_mean(dy, cache):
    dx, dweight, _ = ops.conv2d_backward(dy, cache)
    return dx, dweight, dy.mean(axis=(0, 2, 3))


@mutant("conv2d_backward", "grouped conv")
def conv_groups_in_the_wrong_order(dy, cache):
    dx, dweight, dbias = ops.conv2d_backward(dy, cache)
    n, c, h, w = dx.shape
    return dx.reshape(n, 2, c // 2, h, w)[:, ::-1].reshape(dx.shape), dweight, dbias


@mutant("conv_transpose2d_backward", "transposed conv")
def transposed_conv_without_its_stride(dy, cache):
    dx, dweight, dbias = ops.conv_transpose2d_backward(dy, cache)
    _, _, h, w = dx.shape
    squeezed = ops.conv2d(dy, cache.weight, None, 1, cache.padding)[0][:, :, :h, :w]
    return squeezed, dweight, dbias


@mutant("pad2d_backward", "reflecting conv")
def reflected_pixels_lose_their_gradient(dy, cache):
    return crop(dy, cache.pads)
