"""Losses: softmax cross entropy as p − q, negative log likelihood, squared error."""

import numpy

from scratchnet import functional as F
from scratchnet import ops
from scratchnet.ops.loss import _reduce, _spread
from scratchnet.study.explain import samples
from scratchnet.study.explain.page import Beside, Block, Page, at, counted, equation, number_sum, numbers, source
from scratchnet.study.explain.samples import Shape
from scratchnet.study.explain.watch import Watch


def cross_entropy(
    *, input: Shape = (2, 3), label_smoothing: float = 0.0, reduction: str = "mean", seed: int = 0
) -> Page:
    """softmax and negative log likelihood in one: its gradient is p − q"""
    options = dict(locals())
    samples.check_shape(input, "NxC", (2,))
    rng = numpy.random.default_rng(seed)
    (n, c), z = input, samples.integers(rng, input, -1, 4)
    target = rng.integers(0, c, n)
    watch = Watch(ops.cross_entropy, ops.cross_entropy_backward, ops.log_softmax)
    with watch:
        loss, cache = F.cross_entropy(z, target, reduction=reduction, label_smoothing=label_smoothing)
        dloss = numpy.ones_like(loss)
        dz = F.cross_entropy_backward(dloss, cache)
    seen = watch.after(ops.cross_entropy, "losses = -xp.where(")
    p, q, log_p, losses = seen["saved"].y, seen["q"], seen["log_p"], seen["losses"]
    t = int(target[0])
    shifted = z[0] - z[0].max()
    values = {f"z{i}": v for i, v in enumerate(shifted)}
    total = " + ".join("e^{" + key + "}" for key in values)
    smooth = label_smoothing > 0
    mixed = (
        f"Label smoothing ε = {label_smoothing:g} takes ε from the truth and gives ε/C to every class."
        if smooth
        else "q is 1 for the true class and 0 for the others."
    )
    divisor = n if reduction == "mean" else 1
    terms = [(-q[0, k], log_p[0, k]) for k in range(c) if q[0, k]]
    return Page(
        "cross_entropy",
        "op",
        "Softmax cross entropy: the gradient is p − q",
        options,
        "Logits become probabilities, and the loss is the negative logarithm of what the truth was given.",
        [
            Block(
                "Logits and targets",
                "",
                [],
                [
                    Beside(
                        [
                            numbers(
                                "z",
                                z,
                                corner="n",
                                columns=[str(k) for k in range(c)],
                                marks=frozenset((i, int(k)) for i, k in enumerate(target)),
                            ),
                            numbers("target t", target),
                        ]
                    ),
                    "The logit of the true class stands in [ ].",
                ],
            ),
            Block(
                "Softmax",
                "p_c = e^z_c / Σ_k e^z_k        log p_c = z_c − log Σ_k e^z_k",
                [source(ops.cross_entropy, "log_p, saved = log_softmax"), source(ops.log_softmax, "y = shifted")],
                [
                    "The code works with the logarithm: log(softmax) would lose small probabilities. The largest z is "
                    "subtracted first, which cancels.",
                    equation(at("p", 0, 0), "e^{z0} / (" + total + ")", p[0, 0], **values),
                    Beside([numbers("p", p), numbers("log p", log_p)]),
                ],
            ),
            Block(
                "How much each class counts",
                "q_c = (1 − ε) · [c = t] + ε/C",
                [source(ops.cross_entropy, "share = (one_hot"), source(ops.cross_entropy, "q = w * share")],
                [
                    mixed,
                    numbers("q", q),
                    equation(at("q", 0, t), "(1 − {eps}) + {eps} / {C}", q[0, t], eps=label_smoothing, C=c),
                ],
            ),
            Block(
                "The loss",
                "l_n = −Σ_c q_c · log p_c"
                + {
                    "mean": "        loss = 1/N · Σ l_n",
                    "sum": "        loss = Σ l_n",
                    "none": "        one loss for each sample",
                }[reduction],
                [source(ops.cross_entropy, "losses = -xp.where("), source(_reduce, _reduced(reduction))],
                [
                    number_sum("l[0]", terms, losses[0]),
                    numbers("l", losses),
                    *(
                        []
                        if reduction == "none"
                        else [number_sum("loss", [(v,) for v in losses], loss, n if reduction == "mean" else None)]
                    ),
                ],
            ),
            Block(
                "Backward: p − q",
                "dz = (p − q) / N" if reduction == "mean" else "dz = p − q",
                [source(ops.cross_entropy_backward, "return _spread("), source(_spread, "dloss = dloss if")],
                [
                    "What the network says less what is true: a step against dz raises the logit of the truth and "
                    "lowers those of the others, by how far they are off."
                    if not smooth
                    else "What the network says less the "
                    "smoothed truth: the gradient vanishes at p = q, so the network is not pushed to be certain.",
                    f"With mean, N = {counted(n, 'sample')} share the gradient."
                    if reduction == "mean"
                    else "The gradient that arrives, dloss, is 1.",
                    numbers("p − q", p - q),
                    numbers("dz", dz),
                    number_sum(at("dz", 0, t), [(p[0, t],), (-q[0, t],)], dz[0, t], divisor if divisor != 1 else None),
                    "Each row of dz sums to 0, for p and q both sum to 1.",
                ],
            ),
        ],
    )


def _reduced(reduction: str) -> str:
    return {"none": "return losses", "sum": "return losses.sum()", "mean": "return losses.sum() / divisor"}[reduction]


def nll_loss(*, input: Shape = (2, 3), reduction: str = "mean", seed: int = 0) -> Page:
    """the negative logarithm of the truth's probability"""
    options = dict(locals())
    samples.check_shape(input, "NxC", (2,))
    rng = numpy.random.default_rng(seed)
    n, c = input
    log_p = F.log_softmax(samples.integers(rng, input, -1, 4), 1)[0]
    target = rng.integers(0, c, n)
    watch = Watch(ops.nll_loss, ops.nll_loss_backward)
    with watch:
        loss, cache = F.nll_loss(log_p, target, reduction=reduction)
        dx = F.nll_loss_backward(numpy.ones_like(loss), cache)
    losses = watch.after(ops.nll_loss, "losses = -array_module")["losses"]
    t = int(target[0])
    return Page(
        "nll_loss",
        "op",
        "Negative log likelihood",
        options,
        "It takes log probabilities, so log_softmax comes before it; both together are cross_entropy.",
        [
            Block(
                "Log probabilities and targets",
                "",
                [],
                [
                    Beside(
                        [
                            numbers(
                                "log p",
                                log_p,
                                corner="n",
                                columns=[str(k) for k in range(c)],
                                marks=frozenset((i, int(k)) for i, k in enumerate(target)),
                            ),
                            numbers("target t", target),
                        ]
                    )
                ],
            ),
            Block(
                "The loss",
                "l_n = −log p_t"
                + {"mean": "        loss = 1/N · Σ l_n", "sum": "        loss = Σ l_n", "none": ""}[reduction],
                [source(ops.nll_loss, "losses = -array_module"), source(_reduce, _reduced(reduction))],
                [
                    "Each sample picks the number at its target, with the sign changed.",
                    numbers("l", losses),
                    *(
                        []
                        if reduction == "none"
                        else [number_sum("loss", [(v,) for v in losses], loss, n if reduction == "mean" else None)]
                    ),
                ],
            ),
            Block(
                "Backward",
                "∂loss/∂log p_t = −1" + ("/N" if reduction == "mean" else "") + "        0 for the other classes",
                [source(ops.nll_loss_backward, "return")],
                [
                    "Only the number that was picked has a gradient. The p of p − q comes from log_softmax's backward.",
                    numbers("dx", dx),
                    number_sum(at("dx", 0, t), [(-1.0,)], dx[0, t], n if reduction == "mean" else None),
                ],
            ),
        ],
    )


def mse_loss(*, input: Shape = (2, 3), reduction: str = "mean", seed: int = 0) -> Page:
    """the squared error"""
    options = dict(locals())
    samples.check_shape(input, "a shape of up to four axes", (1, 2, 3, 4))
    rng = numpy.random.default_rng(seed)
    x, target = samples.integers(rng, input, -2, 4), samples.integers(rng, input, -2, 4)
    watch = Watch(ops.mse_loss, ops.mse_loss_backward)
    with watch:
        loss, cache = F.mse_loss(x, target, reduction)
        dx = F.mse_loss_backward(numpy.ones_like(loss), cache)
    seen = watch.after(ops.mse_loss, "losses = difference")
    first = (0,) * x.ndim
    mean = reduction == "mean"
    every = [(d, d) for d in seen["difference"].flat]
    return Page(
        "mse_loss",
        "op",
        "Squared error",
        options,
        "The loss of regression: it grows with the square of the distance, its gradient with the distance.",
        [
            Block("Input and target", "", [], [Beside([numbers("x", x), numbers("target", target)])]),
            Block(
                "The loss",
                "l = (x − t)²"
                + {
                    "mean": "        loss = 1/n · Σ l, n the number of elements",
                    "sum": "        loss = Σ l",
                    "none": "",
                }[reduction],
                [
                    source(ops.mse_loss, "difference ="),
                    source(ops.mse_loss, "losses ="),
                    source(_reduce, _reduced(reduction)),
                ],
                [
                    Beside([numbers("x − t", seen["difference"]), numbers("l", seen["losses"])]),
                    *([] if reduction == "none" else [number_sum("loss", every, loss, x.size if mean else None)]),
                ],
            ),
            Block(
                "Backward",
                "dx = 2 · (x − t)" + (" / n" if mean else ""),
                [source(ops.mse_loss_backward, "return 2")],
                [
                    numbers("dx", dx),
                    number_sum(
                        at("dx", *first), [(2.0, seen["difference"][first])], dx[first], x.size if mean else None
                    ),
                ],
            ),
        ],
    )
