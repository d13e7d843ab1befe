"""Transposed convolution: every pixel lays a copy of the kernel on the output, and copies that overlap add up."""

import numpy

from scratchnet import functional as F
from scratchnet import ops
from scratchnet.ops.conv import col2im, im2col
from scratchnet.ops.shape import Pair, pair
from scratchnet.study.explain import samples
from scratchnet.study.explain.conv import matrices
from scratchnet.study.explain.page import Block, Page, at, counted, number_sum, numbers, source
from scratchnet.study.explain.samples import Shape
from scratchnet.study.explain.watch import Watch


def conv_transpose2d(
    *,
    input: Shape = (1, 1, 2, 2),
    kernel: Pair = 3,
    stride: Pair = 2,
    padding: Pair = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    out_channels: int = 1,
    no_bias: bool = False,
    seed: int = 0,
) -> Page:
    """transposed convolution: convolution's backward pass as a layer"""
    options = dict(locals())
    samples.check_shape(input, "NxCxHxW", (4,))
    samples.check_small(kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    samples.check_small(output_padding=output_padding, groups=groups, out_channels=out_channels)
    if out_channels % groups:
        raise ValueError(f"explain: expected {out_channels} output channels divisible by --groups, got {groups}")
    rng = numpy.random.default_rng(seed)
    (n, c, h, w), (kh, kw) = input, pair(kernel)
    x = samples.integers(rng, input, 1, 4)
    weight = samples.integers(rng, (c, out_channels // groups, kh, kw), -2, 2)
    bias = None if no_bias else samples.integers(rng, (out_channels,), 1, 3)
    watch = Watch(ops.conv_transpose2d, ops.conv_transpose2d_backward, im2col, col2im)
    with watch:
        y, cache = F.conv_transpose2d(x, weight, bias, stride, padding, output_padding, groups, dilation)
        dy = samples.gradient(rng, y.shape)
        dx, dweight, dbias = F.conv_transpose2d_backward(dy, cache)
    (sh, sw), (ph, pw), (dh, dw), (eh, ew) = pair(stride), pair(padding), pair(dilation), pair(output_padding)
    taps = [f"{o},{u},{v}" for o in range(out_channels // groups) for u in range(kh) for v in range(kw)]
    pixels = [f"{i},{j}" for i in range(h) for j in range(w)]
    labels = {"rows": taps, "columns": pixels, "corner": "o,u,v"}
    cols = watch.after(ops.conv_transpose2d, "cols = W.swapaxes")["cols"]
    full = watch.after(ops.conv_transpose2d, "y = col2im(")["y"]
    dcols = watch.after(ops.conv_transpose2d_backward, "dcols = dcols.reshape")["dcols"]
    W = watch.after(ops.conv_transpose2d_backward, "W = weight.reshape")["W"]
    X = watch.after(ops.conv_transpose2d_backward, "X = x.reshape")["X"]

    # The full output pixel on which most copies lie, and the entries (tap, pixel) of channel 0 that fall on it.
    places = numpy.full((1, 1, *full.shape[2:]), -1)
    places[0, 0] = numpy.arange(places.size).reshape(full.shape[2:])
    holds = im2col(places, (kh, kw), stride, dilation).reshape(kh * kw, h * w)
    oh, ow = y.shape[2:]
    inside = [(i, j) for i in range(oh) for j in range(ow)]
    numbered = {at_: (at_[0] + ph) * full.shape[3] + at_[1] + pw for at_ in inside}
    chosen = max(inside, key=lambda p: int((holds == numbered[p]).sum()))
    landing = numpy.argwhere(holds == numbered[chosen])
    terms = [(cols.reshape(n, -1, h * w)[0, k, p],) for k, p in landing]
    counts = col2im(numpy.ones((1, 1, kh, kw, h, w)), (1, 1, *full.shape[2:]), stride, dilation)[0, 0]
    marks = frozenset((int(k), int(p)) for k, p in landing)
    shown = [part._replace(marks=marks) if i == 0 else part for i, part in enumerate(matrices("cols", cols, **labels))]
    k, p = kh * kw // 2, 0
    blocks = [
        Block(
            "Input, kernel, bias",
            f"OH = ({h} − 1)·{sh} − 2·{ph} + {dh}·({kh} − 1) + {eh} + 1 = {oh}\n"
            f"OW = ({w} − 1)·{sw} − 2·{pw} + {dw}·({kw} − 1) + {ew} + 1 = {ow}",
            [source(ops.conv_transpose2d, "full = (h - 1)")],
            [
                numbers("x", x),
                "The weight's axes are (input channel, output channel, row, column): the reverse of conv2d's.",
                numbers("weight", weight),
                *([] if bias is None else [numbers("bias", bias)]),
            ],
        ),
        Block(
            "Every pixel times every weight",
            "cols = Wᵀ · X        cols[(o,u,v), (i,j)] = Σ over c of weight[c,o,u,v] · x[c,i,j]",
            [source(ops.conv_transpose2d, "cols = W.swapaxes")],
            [
                "Column (i,j) is the copy of the kernel that pixel (i,j) lays down. The same product gives the "
                "gradient of a convolution's columns.",
                *shown,
                number_sum(
                    f"cols[({taps[k]}), ({pixels[p]})]",
                    zip(W[0, :, k], X[0, 0, :, p], strict=True),
                    cols[0, 0, k, p],
                ),
            ],
        ),
        Block(
            "col2im: copies that overlap ADD",
            "full[o, i·SH + u·DH, j·SW + v·DW] += cols[(o,u,v), (i,j)]",
            [source(ops.conv_transpose2d, "y = col2im("), source(col2im, "dx[tap(")],
            [
                "How many copies lie on each pixel of the full output:",
                numbers("copies", counts),
                f"What stands in [ ] above falls on pixel {chosen} of y, {counted(len(terms), 'term')}; and the bias.",
                number_sum(
                    at("y", 0, 0, *chosen),
                    [*terms, *([] if bias is None else [(bias[0],)])],
                    y[0, 0][chosen],
                ),
                numbers("full", full),
                *([f"Padding {padding} cuts that border off."] if ph or pw else []),
                numbers("y", y),
            ],
        ),
        Block("Backward: what arrives", "dy = ∂loss/∂y", [], ["Chosen here.", numbers("dy", dy)]),
        *(
            []
            if dbias is None
            else [
                Block(
                    "Gradient of the bias",
                    "dbias[o] = Σ over n, i, j of dy[n,o,i,j]",
                    [source(ops.conv_transpose2d_backward, "dbias = dy.sum")],
                    [numbers("dbias", dbias), number_sum("dbias[0]", [(g,) for g in dy[:, 0].flat], dbias[0])],
                )
            ]
        ),
        Block(
            "The transpose of col2im is im2col",
            "dcols = im2col(dy)",
            [source(ops.conv_transpose2d_backward, "dcols = im2col(")],
            [
                "Each entry of cols was added to one pixel of the output, and its gradient is that pixel's.",
                *matrices("dcols", dcols, **labels),
            ],
        ),
        Block(
            "Gradient of the input: a plain convolution of dy",
            "dX = W · dcols        dx[c,(i,j)] = Σ over (o,u,v) of weight[c,o,u,v] · dcols[(o,u,v),(i,j)]",
            [source(ops.conv_transpose2d_backward, "dx = (W @ dcols)")],
            [
                numbers("dx", dx),
                number_sum("dx[0,0,0,0]", zip(W[0, 0], dcols[0, 0, :, 0], strict=True), dx[0, 0, 0, 0]),
            ],
        ),
        Block(
            "Gradient of the weight",
            "dW = X · dcolsᵀ        dweight[c,(o,u,v)] = Σ over n, (i,j) of x[c,(i,j)] · dcols[(o,u,v),(i,j)]",
            [source(ops.conv_transpose2d_backward, "dweight = (X @")],
            [
                numbers("dweight", dweight),
                number_sum(
                    "dweight[0,0,0,0]",
                    zip(X[:, 0, 0].flat, dcols[:, 0, 0].flat, strict=True),
                    dweight[0, 0, 0, 0],
                ),
            ],
        ),
    ]
    introduction = (
        "A convolution gathers a window into one pixel; its transpose scatters one pixel over a window. It runs the "
        "steps of conv2d's backward pass, forward."
    )
    return Page(
        "conv_transpose2d", "op", "Transposed convolution: every pixel lays a kernel", options, introduction, blocks
    )
