"""Mistakes in linear layers and activations."""

import math

import numpy

from scratchnet.ops import activation
from scratchnet.ops.activation import OutputCache, ReluCache
from scratchnet.ops.linear import LinearCache, linear_backward
from scratchnet.ops.shape import Array, array_module
from scratchnet.study.museum.exhibit import exhibit, replaces

FAMILY = "linear and activations"
Gradients = tuple[Array, Array, Array | None]


@exhibit(
    "linear-dweight-transposed",
    title="The weight gradient transposed",
    family=FAMILY,
    right=linear_backward,
    bug=replaces("linear_backward"),
    check="gradcheck",
    case="square linear",
    why="xᵀ·dy and dyᵀ·x are both products of the right two matrices. Which one fits depends on whether weight is kept "
    "as (out, in), as in torch, or as (in, out), as in most tutorials.",
    effect="In a layer with as many inputs as outputs every weight gets another weight's gradient. In all others the "
    "shapes do not fit, and the mistake is found at once.",
    notice="Never check a layer with equal sizes only, and never with those alone: 5 → 3 finds it by its shape, 4 → 4 "
    "by its numbers, and gradcheck says that the gradient fits with its axes swapped.",
)
def linear_dweight_transposed(dy: Array, cache: LinearCache) -> Gradients:
    x, weight, has_bias = cache
    out_features, in_features = weight.shape
    rows = math.prod(x.shape[:-1])  # N: all leading axes together
    dY = dy.reshape(rows, out_features)  # (N, O)
    dweight = x.reshape(rows, in_features).T @ dY  # (O, I)
    dbias = dY.sum(axis=0) if has_bias else None  # (O,)
    dx = dy @ weight  # (…, I)
    return dx, dweight, dbias


@exhibit(
    "linear-dbias-averaged",
    title="The bias gradient is a mean, the weight gradient a sum",
    family=FAMILY,
    right=linear_backward,
    bug=replaces("linear_backward"),
    check="gradcheck",
    case="linear",
    why="The loss is a mean, so the bias gradient is thought to be one. The loss' 1/N is in dy already.",
    effect="Biases learn N times too slowly. Most networks hardly notice, so it stays.",
    notice="numeric = N × analytic for the bias alone.",
    seen=("kvfrans/notes issue 5: jnp.mean should be jnp.sum in the gradient of a bias; the reader compared with JAX",),
)
def linear_dbias_averaged(dy: Array, cache: LinearCache) -> Gradients:
    x, weight, has_bias = cache
    out_features, in_features = weight.shape
    rows = math.prod(x.shape[:-1])  # N: all leading axes together
    dY = dy.reshape(rows, out_features)  # (N, O)
    dweight = dY.T @ x.reshape(rows, in_features)  # (O, I)
    dbias = dY.mean(axis=0) if has_bias else None  # (O,)
    dx = dy @ weight  # (…, I)
    return dx, dweight, dbias


@exhibit(
    "linear-dbias-summed-over-everything",
    title="One number for all biases",
    family=FAMILY,
    right=linear_backward,
    bug=replaces("linear_backward"),
    check="gradcheck",
    case="linear",
    why="dy.sum() without an axis is a single number, and broadcasting adds it to every bias without a word.",
    effect="All biases of the layer move together. In front of a softmax that changes nothing at all, since adding "
    "the same number to every logit cancels: the layer has no biases.",
    notice="After training all biases have moved by the same amount. Give every gradient its parameter's shape, and "
    "never rely on broadcasting for it.",
    seen=(
        "rasbt/stat453-deep-learning-ss21 issue 5: a sum without an axis gave the same value for every bias",
        "mlpack/mlpack pull request 3679: a bias gradient that was not summed over the batch",
    ),
)
def linear_dbias_summed_over_everything(dy: Array, cache: LinearCache) -> Gradients:
    x, weight, has_bias = cache
    out_features, in_features = weight.shape
    rows = math.prod(x.shape[:-1])  # N: all leading axes together
    dY = dy.reshape(rows, out_features)  # (N, O)
    dweight = dY.T @ x.reshape(rows, in_features)  # (O, I)
    dbias = numpy.full(out_features, dY.sum(), dY.dtype) if has_bias else None  # (O,)
    dx = dy @ weight  # (…, I)
    return dx, dweight, dbias


@exhibit(
    "relu-writes-into-dy",
    title="ReLU's gradient is computed in place",
    family=FAMILY,
    right=activation.relu_backward,
    bug=replaces("relu_backward"),
    check="gradcheck",
    case="relu",
    why="It saves an array. dy[x ≤ 0] = 0 followed by return dy is in many tutorials.",
    effect="None in a plain chain, where nobody reads dy again. In a residual block dy goes down two paths, and the "
    "second one gets what ReLU has left of it.",
    notice="dx is right, and dy has changed. Compare every argument before and after the call.",
    seen=(
        "chainer/chainer pull request 2062: max pooling's backward pass changed its saved indices through a view, and "
        "a second call failed",
    ),
)
def relu_writes_into_dy(dy: Array, cache: ReluCache) -> Array:
    dy[~cache.active] = 0
    return dy


@exhibit(
    "relu-mask-from-dy",
    title="ReLU's mask taken from dy",
    family=FAMILY,
    right=activation.relu_backward,
    bug=replaces("relu_backward"),
    check="gradcheck",
    case="relu",
    why="The input was not saved, dy is at hand, and ReLU is “the positive part”.",
    effect="Negative gradients are dropped: below this layer an activation can be told to fall, never to rise. "
    "Inactive units get gradients as well.",
    notice="dx has no negative element, whatever dy is.",
)
def relu_mask_from_dy(dy: Array, cache: ReluCache) -> Array:
    return array_module(dy).where(dy > 0, dy, 0)


@exhibit(
    "relu-passes-at-zero",
    title="ReLU lets the gradient through at exactly 0",
    family=FAMILY,
    right=activation.relu,
    bug=replaces("relu"),
    check="parity",
    case="relu at 0",
    why="x ≥ 0 or x > 0: at 0 the function has no derivative, and both are valid subgradients.",
    effect="Where inputs are exactly 0 (blank images, biases that start at 0, a ReLU after a ReLU) units learn that "
    "torch leaves alone. Elsewhere nothing.",
    notice="gradcheck recognises a kink and lets every value between the two slopes pass, as it must. Only parity on "
    "inputs with zeros sees it.",
)
def relu_passes_at_zero(x: Array) -> tuple[Array, ReluCache]:
    return array_module(x).maximum(x, 0), ReluCache(~(x < 0))


@exhibit(
    "sigmoid-derivative-of-y",
    title="The sigmoid's derivative taken at y",
    family=FAMILY,
    right=activation.sigmoid_backward,
    bug=replaces("sigmoid_backward"),
    check="gradcheck",
    case="sigmoid",
    network="mlp",
    optimizer="adam",
    why="σ′ = σ(1 − σ) is written in terms of y = σ(x), which is what is saved. Code that calls sigmoid_prime(saved) "
    "applies σ once more.",
    effect="σ(y) lies between 0.5 and 0.73, so the slope is always between 0.197 and 0.25: it never saturates. The "
    "network still trains, in the museum more slowly, on the gradient of another function.",
    notice="For x far from 0 the gradient has to vanish; here it stays near 0.2.",
)
def sigmoid_derivative_of_y(dy: Array, cache: OutputCache) -> Array:
    y = 1 / (1 + array_module(dy).exp(-cache.y))
    return dy * y * (1 - y)
