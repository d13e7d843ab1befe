"""Pooling, normalisation, dropout and shortcuts as ideas, with numbers from the library's own modules and ops."""

import numpy

from scratchnet import functional as F
from scratchnet import nn, ops
from scratchnet.ops.dropout import keep_mask
from scratchnet.ops.shape import Array
from scratchnet.study.explain import samples
from scratchnet.study.explain.concepts import concept_page
from scratchnet.study.explain.page import Beside, Block, Page, number_sum, numbers, source


def pooling(*, seed: int = 0) -> Page:
    """maximum and average of the same windows, forward and backward"""
    rng = numpy.random.default_rng(seed)
    x = samples.integers(rng, (1, 1, 4, 4), 0, 8)
    largest, largest_cache = F.max_pool2d(x, 2)
    mean, mean_cache = F.avg_pool2d(x, 2)
    dy = numpy.array([[[[4.0, 8.0], [-4.0, 12.0]]]])
    moved = numpy.zeros((1, 1, 4, 4))
    moved[0, 0, 0, 0] = 9
    shifted = numpy.zeros((1, 1, 4, 4))
    shifted[0, 0, 1, 1] = 9
    return concept_page(
        "pooling",
        "Max pooling and average pooling",
        {"seed": seed},
        "Both make one number of each window, so 4×4 becomes 2×2 here. They have no parameters.",
        [
            Block(
                "Forward",
                "max: the largest pixel        average: the sum divided by 4",
                [source(ops.max_pool2d, "better = (pixel > y)"), source(ops.avg_pool2d, "return total / divisor")],
                [
                    Beside([numbers("x", x[0, 0]), numbers("max", largest[0, 0]), numbers("average", mean[0, 0])]),
                    number_sum("average[0,0]", [(v,) for v in x[0, 0, :2, :2].flat], mean[0, 0, 0, 0], 4),
                ],
            ),
            Block(
                "Backward",
                "max: all of dy to the winner        average: dy/4 to each",
                [source(ops.max_pool2d_backward, "dx[tap("), source(ops.avg_pool2d_backward, "share = dy / divisor")],
                [
                    "dy is chosen here, the same for both. Without padding and overlap both hand on all of it.",
                    Beside(
                        [
                            numbers("dy", dy[0, 0]),
                            numbers("dx of max", F.max_pool2d_backward(dy, largest_cache)[0, 0]),
                            numbers("dx of average", F.avg_pool2d_backward(dy, mean_cache)[0, 0]),
                        ]
                    ),
                ],
            ),
            Block(
                "A feature may move a little",
                "",
                [],
                [
                    "A bright pixel that moves within its window gives the same output; one that leaves it does not.",
                    Beside(
                        [
                            numbers("here", moved[0, 0]),
                            numbers("and there", shifted[0, 0]),
                            numbers("max of here", F.max_pool2d(moved, 2)[0][0, 0]),
                            numbers("max of there", F.max_pool2d(shifted, 2)[0][0, 0]),
                        ]
                    ),
                ],
            ),
        ],
    )


def batch_norm(*, seed: int = 0) -> Page:
    """the same layer in training and in evaluation"""
    rng = numpy.random.default_rng(seed)
    layer = nn.BatchNorm1d(1, dtype="float64")
    history = []
    batches = [samples.integers(rng, (4, 1), 2, 8) for _ in range(3)]
    for batch in batches:
        layer(batch)
        history.append([float(numpy.asarray(layer.running_mean)[0]), float(numpy.asarray(layer.running_var)[0])])
    x = samples.integers(rng, (4, 1), 2, 8)
    mean, var = numpy.array(layer.running_mean), numpy.array(layer.running_var)
    weight, bias = numpy.ones(1), numpy.zeros(1)
    trained = F.batch_norm(x, mean, var, weight, bias, training=True)[0][0]
    evaluated = F.batch_norm(x, mean, var, weight, bias, training=False)[0][0]
    alone = F.batch_norm(x[:1], mean, var, weight, bias, training=False)[0][0]
    scaled = F.batch_norm(10 * x + 3, mean, var, weight, bias, training=True)[0][0]
    return concept_page(
        "batch_norm",
        "BatchNorm: training and evaluation",
        {"seed": seed},
        "In training a channel is normalised by the batch that it is in; in evaluation by averages that training kept. "
        "(`explain batch_norm` has the formulas and the gradient.)",
        [
            Block(
                "Training: the scale of x does not matter",
                "y = γ · (x − μ)/√(σ² + ε) + β        μ, σ² of the batch; γ = 1, β = 0 at first",
                [source(ops.batch_norm, "mean = x.sum"), source(ops.batch_norm, "var = xp.square")],
                [
                    Beside([numbers("x", x), numbers("y of x", trained), numbers("y of 10·x + 3", scaled)]),
                    f"The mean of y is 0, its standard deviation {trained.std():.6f}: 1 but for ε.",
                ],
            ),
            Block(
                "Running statistics",
                "running ← 0.9 · running + 0.1 · batch",
                [
                    source(ops.batch_norm, "running_mean = (1 - momentum)"),
                    source(ops.batch_norm, "running_var = (1 - momentum)"),
                ],
                [
                    "From 0 and 1 they move towards the mean and the (unbiased) variance of the data. After each of "
                    "three batches, and the first mean written out:",
                    numbers(
                        "running",
                        numpy.array(history),
                        rows=["1", "2", "3"],
                        columns=["running_mean", "running_var"],
                        corner="batch",
                    ),
                    number_sum("running_mean", [(0.9, 0.0), (0.1, batches[0].mean())], history[0][0]),
                ],
            ),
            Block(
                "Evaluation: each sample on its own",
                "y = γ · (x − running_mean)/√(running_var + ε) + β",
                [source(ops.batch_norm, "mean, var = running_mean")],
                [
                    "The first sample gives the same y in the batch and alone: in evaluation nothing depends on the "
                    "others.",
                    Beside([numbers("y in evaluation", evaluated), numbers("first sample alone", alone)]),
                    "These numbers are far from the training ones because three batches are few for averages that move "
                    "by a tenth each time.",
                ],
            ),
        ],
    )


def dropout(*, p: float = 0.5, seed: int = 0) -> Page:
    """a random mask in training, the identity in evaluation"""
    x = numpy.arange(1.0, 7)
    outs = [F.dropout(x, p, seed=seed, call=call)[0] for call in range(4)]
    many = 4096
    mean = numpy.mean([F.dropout(x, p, seed=seed, call=call)[0] for call in range(many)], axis=0)
    evaluated = F.dropout(x, p, training=False)[0]
    return concept_page(
        "dropout",
        "Dropout: training and evaluation",
        {"p": p, "seed": seed},
        "In training each element is dropped with probability p, anew in every step; a unit cannot rely on any other. "
        "(`explain dropout` has the mask and the gradient.)",
        [
            Block(
                "Four calls, four masks",
                f"y = mask · x / (1 − p)        p = {p:g}",
                [source(keep_mask, "return (bits >="), source(ops.dropout, "return xp.where(mask")],
                [
                    numbers("x", x),
                    numbers(
                        "y",
                        numpy.stack(outs),
                        rows=["0", "1", "2", "3"],
                        corner="call",
                        columns=[str(i) for i in range(6)],
                    ),
                ],
            ),
            Block(
                "On average nothing changes",
                "E[y] = (1 − p) · x/(1 − p) + p · 0 = x" if p < 1 else "E[y] = 0, as p = 1 drops everything",
                [],
                [
                    f"The mean of y over {many} calls: close to x, which is why evaluation needs no scale."
                    if p < 1
                    else "With p = 1 the mean is 0 and not x.",
                    numbers("mean of y", mean),
                ],
            ),
            Block(
                "Evaluation: the identity",
                "y = x",
                [],
                ["Nothing is dropped, nothing is scaled.", numbers("y in evaluation", evaluated)],
            ),
        ],
    )


class _Scale(nn.Module):
    """y = factor · x: the simplest layer whose gradient vanishes in depth."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def forward(self, x: Array) -> tuple[Array, tuple]:
        return self.factor * x, ()

    def backward(self, dy: Array, cache: tuple) -> Array:
        return self.factor * dy


def residual(*, seed: int = 0) -> Page:
    """a shortcut around a block: outputs add, and so do gradients"""
    rng = numpy.random.default_rng(seed)
    main = nn.Linear(3, 3, bias=False, dtype="float64")
    main.weight.data = samples.integers(rng, (3, 3), -2, 2)
    block = nn.Residual(main)
    x = samples.integers(rng, (1, 3), 1, 4)
    y, cache = block.forward(x)
    dy = samples.gradient(rng, y.shape)
    own = main.forward(x)[0]
    through = main.backward(dy, cache[0])
    dx = block.backward(dy, cache)
    depths = (1, 2, 3, 4)
    one = numpy.ones((1, 1))
    gradients = []
    for wrap in (lambda m: m, nn.Residual):
        row = []
        for depth in depths:
            net = nn.Sequential(*(wrap(_Scale(0.1)) for _ in range(depth)))
            row.append(float(net.backward(one, net.forward(one)[1])[0, 0]))
        gradients.append(row)
    return concept_page(
        "residual",
        "Residual connection",
        {"seed": seed},
        "The block learns what to add to its input: y = F(x) + x.",
        [
            Block(
                "Forward",
                "y = F(x) + x        here F(x) = W · x",
                [source(nn.Residual.forward, "return main + shortcut")],
                [
                    Beside(
                        [
                            numbers("W", main.weight.data),
                            numbers("x", x[0]),
                            numbers("F(x)", own[0]),
                            numbers("y", y[0]),
                        ]
                    ),
                    number_sum("y[0]", [(own[0, 0],), (x[0, 0],)], y[0, 0]),
                    "With F = 0 the block is the identity: one more block takes nothing from what a network can do.",
                ],
            ),
            Block(
                "Backward: two paths that add",
                "dx = Wᵀ · dy + dy",
                [source(nn.Residual.backward, "return self.main.backward")],
                [
                    "x reaches y through F and around it. The path around F hands dy on as it is. dy is chosen here.",
                    Beside([numbers("dy", dy[0]), numbers("through F", through[0]), numbers("dx", dx[0])]),
                    number_sum("dx[0]", [(through[0, 0],), (dy[0, 0],)], dx[0, 0]),
                ],
            ),
            Block(
                "Deep networks: the gradient that arrives at the first layer",
                "plain: 0.1ⁿ        residual: (1 + 0.1)ⁿ",
                [],
                [
                    "n layers F(x) = 0.1·x, one behind another. Plainly the gradient vanishes; around each layer it "
                    "passes. (It can also grow, as here: normalisation keeps that in bounds.)",
                    numbers(
                        "plain", numpy.array([gradients[0]]), rows=["dx"], columns=[str(n) for n in depths], corner="n"
                    ),
                    numbers(
                        "residual",
                        numpy.array([gradients[1]]),
                        rows=["dx"],
                        columns=[str(n) for n in depths],
                        corner="n",
                    ),
                ],
            ),
        ],
    )


CONCEPTS = {write.__name__: write for write in (pooling, batch_norm, dropout, residual)}
