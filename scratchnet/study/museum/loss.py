"""Mistakes in the loss."""

from collections.abc import Callable
from typing import Any

from scratchnet.ops import activation, loss
from scratchnet.ops.activation import SoftmaxCache, _shifted
from scratchnet.ops.loss import CrossEntropyCache, _spread
from scratchnet.ops.shape import Array, array_module
from scratchnet.study.museum.exhibit import Bug, exhibit, helper_of, replaces, with_names

FAMILY = "loss"


@exhibit(
    "cross-entropy-not-averaged",
    title="The loss is a mean, its gradient a sum",
    family=FAMILY,
    right=loss.cross_entropy_backward,
    bug=replaces("cross_entropy_backward"),
    check="gradcheck",
    case="cross entropy",
    why="The famous result is p − q, and the 1/N of the mean gets lost on the way from one example to a batch.",
    effect="Every gradient is N times too large: the learning rate is 32 times what was asked for at batch size 32. "
    "SGD diverges or gets stuck, unless the learning rate is strangely small, and then it depends on the batch size. "
    "Adam hides it.",
    notice="numeric = analytic / N. Double the batch by repeating it: no gradient may change.",
    seen=("jxgu1016/MNIST_center_loss_pytorch issue 9: the gradient needs to be divided by the batch size",),
)
def cross_entropy_not_averaged(dloss: Array, cache: CrossEntropyCache) -> Array:
    p, q, counts, _ = cache
    return _spread(dloss, None, counts) * (p * q.sum(axis=1, keepdims=True) - q)


@exhibit(
    "softmax-overflows",
    title="Softmax without subtracting the maximum",
    family=FAMILY,
    right=activation.log_softmax,
    bug=helper_of("cross_entropy", loss.cross_entropy, "log_softmax"),
    check="parity",
    case="big cross entropy",
    why="It is the definition, and for small logits it is exact.",
    effect="Nothing, until one logit is above 88 in float32 (709 in float64): e^x is inf, inf/inf is NaN, and one step "
    "later every weight is NaN. Far below the largest logit p is 0 and its logarithm −inf.",
    notice="gradcheck on ordinary numbers passes. Feed logits [1000, −1000, 0]: the loss for class 1 is 2000.",
    seen=(
        "pyg-team/pytorch_geometric issue 53: NaN from a softmax that took exp directly",
        "manassharma07/crysx_nn issue 7: the maximum taken over the whole batch instead of each row",
    ),
)
def softmax_overflows(x: Array, dim: int) -> tuple[Array, SoftmaxCache]:
    xp = array_module(x)
    shifted = x
    y = shifted - xp.log(xp.exp(shifted).sum(axis=dim, keepdims=True))
    return y, SoftmaxCache(xp.exp(y), dim)


EPSILON = 1e-7


def _clipped_log_softmax(x: Array, dim: int) -> tuple[Array, SoftmaxCache]:
    xp = array_module(x)
    p, _ = activation.softmax(x, dim)
    y = xp.log(p.clip(EPSILON, 1 - EPSILON))
    return y, SoftmaxCache(p, dim)


def _through_the_clip(dloss: Array, cache: CrossEntropyCache) -> Array:
    """The gradient of −log(clip(p)): nothing passes where p is clipped."""
    p, q, counts, divisor = cache
    kept = (p > EPSILON) & (p < 1 - EPSILON)
    dlog_p = -q * _spread(dloss, divisor, counts) * kept
    return dlog_p - p * dlog_p.sum(axis=1, keepdims=True)


exhibit(
    "log-of-clipped-probability",
    title="The logarithm of a clipped probability",
    family=FAMILY,
    right=activation.log_softmax,
    bug=lambda wrong: Bug(
        overrides={
            "cross_entropy": with_names(loss.cross_entropy, log_softmax=wrong),
            "cross_entropy_backward": _through_the_clip,
        }
    ),
    check="parity",
    case="sure cross entropy",
    why="log(0) has to be avoided, and clipping p at 10⁻⁷ avoids it. The cure is log_softmax, which never forms p.",
    effect="The loss of an example cannot exceed 16.1, and where p is clipped the gradient is 0: the examples that are "
    "most wrong teach nothing.",
    notice="The gradient belongs to the clipped function, so gradcheck passes. Feed logits that are sure and wrong: "
    "the loss has to grow without bound, and p − q has to stay near 1.",
)(_clipped_log_softmax)


def log_softmax_of_probabilities(x: Array, dim: int) -> tuple[Array, SoftmaxCache]:
    xp = array_module(x)
    x, _ = activation.softmax(x, dim)
    shifted = _shifted(x, dim)
    y = shifted - xp.log(xp.exp(shifted).sum(axis=dim, keepdims=True))
    return y, SoftmaxCache(xp.exp(y), dim)


def _twice(wrong: Callable) -> Bug:
    def cross_entropy(logits: Array, *options: Any) -> tuple[Array, tuple[CrossEntropyCache, SoftmaxCache]]:
        result, cache = with_names(loss.cross_entropy, log_softmax=wrong)(logits, *options)
        return result, (cache, activation.softmax(logits, 1)[1])

    def cross_entropy_backward(dloss: Array, cache: tuple[CrossEntropyCache, SoftmaxCache]) -> Array:
        inner, outer = cache
        return activation.softmax_backward(loss.cross_entropy_backward(dloss, inner), outer)

    return Bug(overrides={"cross_entropy": cross_entropy, "cross_entropy_backward": cross_entropy_backward})


exhibit(
    "softmax-twice",
    title="The network ends in a softmax, and the loss takes another",
    family=FAMILY,
    right=activation.log_softmax,
    bug=_twice,
    check="parity",
    case="cross entropy",
    why="A classifier ends in probabilities, says the textbook. Losses of this kind want logits and take the softmax "
    "themselves.",
    effect="The logits of the second softmax lie between 0 and 1, so with ten classes the loss cannot fall below "
    "−log(e/(e + 9)) ≈ 1.461, and the gradient is small from the start: learning takes many times as long.",
    notice="The loss never falls below 1.461. gradcheck passes: it is a right gradient of the wrong function.",
    seen=(
        "Lightning-Universe/lightning-bolts issue 654: softmax applied twice in LogisticRegression",
        "tflearn/tflearn pull request 562, nfmcclure/tensorflow_cookbook issue 86: the same in TensorFlow",
    ),
)(log_softmax_of_probabilities)
