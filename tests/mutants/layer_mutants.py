"""Mistakes in linear layers, activations, dropout and flatten."""

import numpy as np
from mutants.registry import mutant

from scratchnet import ops


@mutant("linear_backward", "square linear")
def linear_dx_with_the_weight_transposed(dy, cache):
    _, dweight, dbias = ops.linear_backward(dy, cache)
    return dy @ cache.weight.T, dweight, dbias


@mutant("linear_backward", "linear")
def linear_bias_gradient_over_the_wrong_axis(dy, cache):
    dx, dweight, dbias = ops.linear_backward(dy, cache)
    return dx, dweight, dy.sum(axis=1)[: len(dbias)]


@mutant("linear_backward", "deep linear")
def linear_weight_gradient_of_the_first_row_only(dy, cache):
    dx, _, dbias = ops.linear_backward(dy, cache)
    return dx, dy[:, 0].T @ cache.x[:, 0], dbias


@mutant("linear_backward", "linear")
def linear_writes_into_dy(dy, cache):
    gradients = ops.linear_backward(dy, cache)
    dy *= 2
    return gradients


@mutant("relu_backward", "relu")
def relu_without_a_mask(dy, cache):
    return dy.copy()


@mutant("leaky_relu_backward", "leaky relu")
def leaky_relu_loses_its_slope(dy, cache):
    return np.where(cache.active, dy, 0)


@mutant("tanh_backward", "tanh")
def tanh_derivative_without_the_square(dy, cache):
    return dy * (1 - cache.y)


@mutant("gelu_backward", "gelu")
def gelu_without_its_density_term(dy, cache):
    """Φ(x) alone, as if Φ were a constant."""
    density = np.exp(-0.5 * cache.x**2) / np.sqrt(2 * np.pi)
    return ops.gelu_backward(dy, cache) - dy * cache.x * density


@mutant("gelu", "gelu", "parity")
def gelu_always_by_its_tanh_form(x, approximate):
    return ops.gelu(x, "tanh")


@mutant("softmax_backward", "softmax")
def softmax_diagonal_only(dy, cache):
    return dy * cache.y * (1 - cache.y)


@mutant("softmax_backward", "softmax")
def softmax_sums_over_the_batch(dy, cache):
    return cache.y * (dy - (dy * cache.y).sum(axis=0, keepdims=True))


@mutant("softmax", "big softmax", "parity")
def softmax_without_subtracting_the_maximum(x, dim):
    _, cache = ops.softmax(x, dim)
    e = np.exp(x)
    y = e / e.sum(axis=dim, keepdims=True)
    return y, cache._replace(y=y)


@mutant("log_softmax_backward", "log softmax")
def log_softmax_without_the_sum_of_dy(dy, cache):
    return dy - cache.y


@mutant("dropout_backward", "dropout")
def dropout_mask_drawn_anew_at_every_call(dy, cache, generator=np.random.default_rng(0)):  # noqa: B008
    return np.where(generator.random(dy.shape) < 1 / cache.scale, dy * cache.scale, 0)


@mutant("flatten_backward", "flatten")
def flatten_in_fortran_order(dy, cache):
    return dy.reshape(cache.x_shape, order="F")
