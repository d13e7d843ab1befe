"""Batch normalisation, and the three paths of its gradient."""

import numpy

from scratchnet import functional as F
from scratchnet import ops
from scratchnet.ops.norm import _per_channel
from scratchnet.study.explain import samples
from scratchnet.study.explain.page import Beside, Block, Page, at, equation, number_sum, numbers, source
from scratchnet.study.explain.samples import Shape
from scratchnet.study.explain.watch import Watch


def batch_norm(
    *, input: Shape = (4, 2), eval: bool = False, momentum: float = 0.1, eps: float = 1e-5, seed: int = 0
) -> Page:
    """each channel normalised by the batch's mean and variance"""
    options = dict(locals())
    samples.check_shape(input, "NxC, NxCxL or NxCxHxW", (2, 3, 4))
    rng = numpy.random.default_rng(seed)
    c, ndim = input[1], len(input)
    x = samples.integers(rng, input, 0, 9)
    weight, bias = samples.integers(rng, (c,), 1, 3), samples.integers(rng, (c,), -2, 2)
    old_mean, old_var = (
        (numpy.zeros(c), numpy.ones(c))
        if not eval
        else (x.mean((0, *range(2, ndim))).round(), 4 + numpy.arange(c) * 1.0)
    )
    watch = Watch(ops.batch_norm, ops.batch_norm_backward)
    with watch:
        (y, new_mean, new_var), cache = F.batch_norm(x, old_mean, old_var, weight, bias, not eval, momentum, eps)
        dy = samples.gradient(rng, y.shape)
        dx, dweight, dbias = F.batch_norm_backward(dy, cache)
    seen = watch.after(ops.batch_norm, "x_hat = (x -")
    n = x.size // c
    elements = [(i, 0, *rest) for i in range(input[0]) for rest in numpy.ndindex(*input[2:])]  # of channel 0
    own = {"x": [x[e] for e in elements], "dy": [dy[e] for e in elements], "x̂": [seen["x_hat"][e] for e in elements]}
    first = elements[0]
    blocks = [
        Block(
            "Input, weight γ, bias β",
            "",
            [],
            [
                f"n = {n} numbers of each of the {c} channels.",
                numbers("x", x),
                Beside(
                    [
                        numbers("γ", weight),
                        numbers("β", bias),
                        numbers("running_mean", old_mean),
                        numbers("running_var", old_var),
                    ]
                ),
            ],
        ),
        _evaluation_statistics() if eval else _statistics(seen, own, n),
        Block(
            "Normalise",
            "s = 1 / √(σ² + ε)        x̂ = (x − μ) · s" + f"        ε = {eps:g}",
            [source(ops.batch_norm, "inv_std = 1"), source(ops.batch_norm, "x_hat = (x -")],
            [
                Beside([numbers("s", seen["inv_std"]), numbers("x̂", seen["x_hat"])]),
                equation("s[0]", "1 / √({var} + {eps})", seen["inv_std"][0], var=seen["var"][0], eps=eps),
                equation(
                    at("x̂", *first),
                    "({x} − {mean}) · {s}",
                    seen["x_hat"][first],
                    x=x[first],
                    mean=seen["mean"][0],
                    s=seen["inv_std"][0],
                ),
            ],
        ),
        Block(
            "Scale and shift",
            "y = γ · x̂ + β",
            [source(ops.batch_norm, "y = x_hat if weight"), source(ops.batch_norm, "y = y if bias")],
            [
                "With γ = √(σ² + ε) and β = μ the network could undo the normalisation.",
                numbers("y", y),
                number_sum(at("y", *first), [(weight[0], seen["x_hat"][first]), (bias[0],)], y[first]),
            ],
        ),
        *([] if eval else [_running(seen, old_mean, old_var, new_mean, new_var, momentum, n)]),
        Block("Backward: what arrives", "dy = ∂loss/∂y", [], ["Chosen here.", numbers("dy", dy)]),
        Block(
            "Gradients of γ and β",
            "dγ = Σ dy · x̂        dβ = Σ dy        over the numbers of each channel",
            [
                source(ops.batch_norm_backward, "dweight = (dy * x_hat)"),
                source(ops.batch_norm_backward, "dbias = dy.sum"),
            ],
            [
                Beside([numbers("dγ", dweight), numbers("dβ", dbias)]),
                number_sum("dγ[0]", zip(own["dy"], own["x̂"], strict=True), dweight[0]),
                number_sum("dβ[0]", [(g,) for g in own["dy"]], dbias[0]),
            ],
        ),
        _evaluation_gradient(watch, dx, first, dy) if eval else _three_paths(watch, dy, dx, dweight, dbias, n, first),
    ]
    introduction = (
        "In evaluation the running statistics take the place of the batch's: they are constants, and each number is "
        "normalised on its own."
        if eval
        else "Each channel of the batch gets mean 0 and variance 1 (a little less, because of ε), then a scale γ and a "
        "shift β that are learned."
    )
    return Page("batch_norm", "op", "Batch normalisation", options, introduction, blocks)


def _statistics(seen: dict, own: dict, n: int) -> Block:
    mean, var = seen["mean"], seen["var"]
    return Block(
        "Mean and variance of each channel",
        "μ = 1/n · Σ x        σ² = 1/n · Σ (x − μ)²",
        [source(ops.batch_norm, "mean = x.sum"), source(ops.batch_norm, "var = xp.square")],
        [
            "The variance that normalises is the BIASED one: divided by n.",
            Beside([numbers("μ", mean), numbers("σ²", var)]),
            number_sum("μ[0]", [(v,) for v in own["x"]], mean[0], n),
            number_sum("σ²[0]", [(v - mean[0], v - mean[0]) for v in own["x"]], var[0], n),
        ],
    )


def _evaluation_statistics() -> Block:
    return Block(
        "The running statistics are μ and σ²",
        "μ = running_mean        σ² = running_var",
        [source(ops.batch_norm, "mean, var = running_mean")],
        ["Nothing of the batch enters, and they stay as they are."],
    )


def _running(seen: dict, old_mean, old_var, new_mean, new_var, momentum: float, n: int) -> Block:
    biased, unbiased = seen["var"][0], n / (n - 1) * seen["var"][0]
    return Block(
        "The running statistics move",
        "running_mean ← (1 − m) · running_mean + m · μ\nrunning_var  ← (1 − m) · running_var  + m · σ² · n/(n − 1)",
        [
            source(ops.batch_norm, "running_mean = (1 - momentum)"),
            source(ops.batch_norm, "running_var = (1 - momentum)"),
        ],
        [
            f"m = momentum = {momentum:g}. They are kept for evaluation, and the variance that is kept is the UNBIASED "
            "one, divided by n − 1: it estimates the variance of all data from this batch.",
            equation("unbiased σ²[0]", "{var} · {n} / ({n} − 1)", unbiased, var=biased, n=n),
            number_sum("running_mean[0]", [(1 - momentum, old_mean[0]), (momentum, seen["mean"][0])], new_mean[0]),
            number_sum("running_var[0]", [(1 - momentum, old_var[0]), (momentum, unbiased)], new_var[0]),
            Beside([numbers("new running_mean", new_mean), numbers("new running_var", new_var)]),
        ],
    )


def _three_paths(watch: Watch, dy, dx, dweight, dbias, n: int, first: tuple[int, ...]) -> Block:
    seen = watch.after(ops.batch_norm_backward, "scale = inv_std")
    scale, x_hat = _per_channel(seen["scale"], dy.ndim), seen["x_hat"]
    direct = scale * dy
    through_mean = -scale * _per_channel(dbias / n, dy.ndim) * numpy.ones_like(dy)
    through_var = -scale * x_hat * _per_channel(dweight / n, dy.ndim)
    g, h = seen["scale"][0], x_hat[first]
    return Block(
        "Gradient of the input: three paths that ADD",
        "dx = γ·s·dy  −  γ·s·dβ/n  −  γ·s·x̂·dγ/n\n     direct     through μ    through σ²",
        [
            source(ops.batch_norm_backward, "dx = dy - _per_channel("),
            source(ops.batch_norm_backward, "dx = dx * _per_channel("),
        ],
        [
            "An element of x reaches the loss through its own x̂, through the mean that every x̂ of its channel "
            "subtracts, and through the variance that every x̂ is divided by. (σ² depends on μ too, but there the "
            "derivative is −2/n · Σ (x − μ) = 0.)",
            Beside(
                [
                    numbers("direct", direct),
                    numbers("through the mean", through_mean),
                    numbers("through the variance", through_var),
                ]
            ),
            numbers("dx", dx),
            equation(at("direct", *first), "{scale} · {dy}", direct[first], scale=g, dy=dy[first]),
            equation(at("mean", *first), "−{scale} · {dbias} / {n}", through_mean[first], scale=g, dbias=dbias[0], n=n),
            equation(
                at("variance", *first),
                "−{scale} · {x_hat} · {dweight} / {n}",
                through_var[first],
                scale=g,
                x_hat=h,
                dweight=dweight[0],
                n=n,
            ),
            number_sum(at("dx", *first), [(direct[first],), (through_mean[first],), (through_var[first],)], dx[first]),
            "dx sums to 0 in each channel: a constant added to x changes no x̂, so it cannot change the loss.",
        ],
    )


def _evaluation_gradient(watch: Watch, dx, first: tuple[int, ...], dy) -> Block:
    scale = watch.after(ops.batch_norm_backward, "scale = inv_std")["scale"]
    return Block(
        "Gradient of the input: one path",
        "dx = γ · s · dy",
        [source(ops.batch_norm_backward, "dx = dx * _per_channel(")],
        [
            "μ and σ² are constants now, and only the direct path is left.",
            Beside([numbers("γ·s", scale), numbers("dx", dx)]),
            number_sum(at("dx", *first), [(scale[0], dy[first])], dx[first]),
        ],
    )
