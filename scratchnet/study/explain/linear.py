"""The fully connected layer, flatten and padding."""

import numpy

from scratchnet import functional as F
from scratchnet import ops
from scratchnet.ops.pad import Pads, pad_with, source_index
from scratchnet.study.explain import samples
from scratchnet.study.explain.page import Beside, Block, Page, at, counted, number_sum, numbers, parts, source
from scratchnet.study.explain.samples import Shape


def linear(*, input: Shape = (2, 3), out_features: int = 2, no_bias: bool = False, seed: int = 0) -> Page:
    """the fully connected layer"""
    options = dict(locals())
    samples.check_shape(input, "NxI", (2,))
    samples.check_small(out_features=out_features)
    rng = numpy.random.default_rng(seed)
    x = samples.integers(rng, input, 0, 5)
    weight = samples.integers(rng, (out_features, input[1]), -3, 3)
    bias = None if no_bias else samples.integers(rng, (out_features,), 1, 3)
    y, cache = F.linear(x, weight, bias)
    dy = samples.gradient(rng, y.shape)
    dx, dweight, dbias = F.linear_backward(dy, cache)
    terms = [*zip(x[0], weight[0], strict=True), *([] if bias is None else [(bias[0],)])]
    plus = " + bias" if bias is not None else ""
    added = [source(ops.linear, "y += bias")] if bias is not None else []
    blocks = [
        Block(
            "Input, weight, bias",
            "",
            [],
            [
                Beside(
                    [numbers("x", x), numbers("weight", weight), *([] if bias is None else [numbers("bias", bias)])]
                ),
                "A row of x is one sample, a row of weight belongs to one output.",
            ],
        ),
        Block(
            "Forward",
            f"Y = X · Wᵀ{plus}        y[n,o] = Σ over i of x[n,i] · weight[o,i]{plus and ' + bias[o]'}",
            [source(ops.linear, "y = x @ weight.T"), *added],
            [numbers("y", y), number_sum("y[0,0]", terms, y[0, 0])],
        ),
        Block(
            "Backward: what arrives",
            "dy = ∂loss/∂y",
            [source(ops.linear_backward, "dY = dy.reshape")],
            ["Chosen here.", numbers("dy", dy)],
        ),
        Block(
            "Gradient of the weight",
            "dW = dYᵀ · X        dweight[o,i] = Σ over n of dy[n,o] · x[n,i]",
            [source(ops.linear_backward, "dweight = dY.T")],
            [
                "All samples used the same weight: their gradients ADD.",
                numbers("dweight", dweight),
                number_sum("dweight[0,0]", zip(dy[:, 0], x[:, 0], strict=True), dweight[0, 0]),
            ],
        ),
        *(
            []
            if dbias is None
            else [
                Block(
                    "Gradient of the bias",
                    "dbias[o] = Σ over n of dy[n,o]",
                    [source(ops.linear_backward, "dbias = dY.sum")],
                    [numbers("dbias", dbias), number_sum("dbias[0]", [(g,) for g in dy[:, 0]], dbias[0])],
                )
            ]
        ),
        Block(
            "Gradient of the input",
            "dX = dY · W        dx[n,i] = Σ over o of dy[n,o] · weight[o,i]",
            [source(ops.linear_backward, "dx = dy @ weight")],
            [
                "x[n,i] went into every output of its sample: one term for each.",
                numbers("dx", dx),
                number_sum("dx[0,0]", zip(dy[0], weight[:, 0], strict=True), dx[0, 0]),
            ],
        ),
    ]
    return Page(
        "linear",
        "op",
        "The fully connected layer",
        options,
        "Every output is a weighted sum of all inputs; a gradient has the shape of what it is the gradient of.",
        blocks,
    )


def flatten(*, input: Shape = (2, 2, 2, 2), start_dim: int = 1, end_dim: int = -1, seed: int = 0) -> Page:
    """several axes joined into one"""
    options = dict(locals())
    samples.check_shape(input, "a shape of up to four axes", (1, 2, 3, 4))
    rng = numpy.random.default_rng(seed)
    x = numpy.arange(numpy.prod(input), dtype=float).reshape(input)
    y, cache = F.flatten(x, start_dim, end_dim)
    dy = samples.gradient(rng, y.shape)
    dx = F.flatten_backward(dy, cache)
    return Page(
        "flatten",
        "op",
        "Flatten: the same numbers, one axis",
        options,
        "The bridge from feature maps to a fully connected layer. x holds 0, 1, 2, … so that each number can be "
        "followed.",
        [
            Block(
                "Forward",
                f"{'×'.join(map(str, x.shape))} → {'×'.join(map(str, y.shape))}, in row-major order",
                [source(ops.flatten, "y = x.reshape(")],
                ["The last axis runs fastest.", numbers("x", x), numbers("y", y)],
            ),
            Block(
                "Backward",
                "dx = dy in x's shape",
                [source(ops.flatten_backward, "return")],
                [
                    "Nothing was computed, so nothing is: each gradient goes to the place its number came from. dy is "
                    "chosen here.",
                    numbers("dy", dy),
                    numbers("dx", dx),
                ],
            ),
        ],
    )


def pad2d(*, input: Shape = (1, 1, 3, 3), pads: Pads = (1, 1, 1, 1), mode: str = "reflect", seed: int = 0) -> Page:
    """a border of zeros, of mirrored, repeated or wrapped-around pixels"""
    options = dict(locals())
    samples.check_shape(input, "NxCxHxW", (4,))
    samples.check_small(pads=pads)
    rng = numpy.random.default_rng(seed)
    x = numpy.arange(1.0, 1 + numpy.prod(input)).reshape(input)
    y, cache = F.pad2d(x, pads, mode)
    dy = samples.integers(rng, y.shape, 1, 3)
    dx = F.pad2d_backward(dy, cache)
    left, right, top, bottom = pads
    h, w = input[2:]
    inner = frozenset((0, 0, i + top, j + left) for i in range(h) for j in range(w))
    places = numpy.arange(float(h * w)).reshape(1, 1, h, w)
    came = pad_with(places, pads, -1.0) if mode == "zeros" else F.pad2d(places, pads, mode)[0]
    counts = [int((came == i).sum()) for i in range(h * w)]
    pixel = divmod(int(numpy.argmax(counts)), w)
    copies = numpy.argwhere(came[0, 0] == places[0, 0][pixel])
    zeros = mode == "zeros"
    sources = (
        [source(pad_with, "y[..., top : top + h")]
        if zeros
        else [source(ops.pad2d, "rows = source_index("), source(ops.pad2d, "return x[:, :, ")]
    )
    back = (
        [source(ops.pad2d_backward, "return crop(")]
        if zeros
        else [source(ops.pad2d_backward, "drows[:, :, source] +="), source(ops.pad2d_backward, "dx[..., source] +=")]
    )
    index = (
        []
        if zeros
        else parts(
            "Output row i comes from row s(i) of the input, and columns likewise:",
            numbers("s of rows", source_index(h, top, bottom, mode)),
            numbers("s of columns", source_index(w, left, right, mode)),
        )
    )
    return Page(
        "pad2d",
        "op",
        f"Padding: {mode}",
        options,
        "pads are left, right, top, bottom, in torch's order. mode is zeros, reflect, replicate or circular.",
        [
            Block(
                "Forward: a copy by index",
                "y[n,c,i,j] = x[n,c, i − top, j − left] inside the border, 0 in it"
                if zeros
                else "y[n,c,i,j] = x[n,c, s(i), s(j)]",
                sources,
                [
                    numbers("x", x),
                    *index,
                    "x itself stands in [ ].",
                    numbers("y", y)._replace(
                        marks=inner
                        if input[:2] == (1, 1)
                        else frozenset((n, c, *i[2:]) for n in range(input[0]) for c in range(input[1]) for i in inner)
                    ),
                ],
            ),
            Block(
                "Backward: copies of one pixel ADD",
                "dx[n,c,r,s] = Σ of dy over all places that hold a copy of x[n,c,r,s]",
                back,
                [
                    "The border of zeros was no input: its gradient is cut off."
                    if zeros
                    else "Rows are folded back first, then columns.",
                    "dy is chosen here.",
                    numbers("dy", dy),
                    numbers("dx", dx),
                    f"Pixel {pixel} of channel 0 was copied to {counted(len(copies), 'place')}: "
                    f"{', '.join(f'({i}, {j})' for i, j in copies)}.",
                    number_sum(at("dx", 0, 0, *pixel), [(dy[0, 0, i, j],) for i, j in copies], dx[0, 0][pixel]),
                ],
            ),
        ],
    )
