"""Convolution: im2col, one matrix product, and col2im that adds the overlaps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from scratchnet import functional as F
from scratchnet import ops
from scratchnet.functional.conv import same_pads
from scratchnet.ops.conv import col2im, im2col
from scratchnet.ops.pad import pad_with
from scratchnet.ops.shape import Array, Pair, output_size, pair
from scratchnet.study.explain import samples
from scratchnet.study.explain.page import Block, Numbers, Page, Part, at, counted, number_sum, numbers, parts, source
from scratchnet.study.explain.samples import Shape
from scratchnet.study.explain.watch import Watch


class Run(NamedTuple):
    """A convolution forward and backward. Arrays have four axes here, those of conv1d a height of 1."""

    x: Array
    weight: Array
    bias: Array | None
    y: Array
    dy: Array
    dx: Array
    dweight: Array
    dbias: Array | None
    watch: Watch
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]  # left, right, top, bottom
    groups: int


def names_of(run: Run) -> tuple[list[str], list[str]]:
    """The labels of im2col's matrix: its rows, the taps (c, u, v) of one group, and its columns, the windows."""
    _, c, kh, kw = run.weight.shape
    oh, ow = run.y.shape[2:]
    taps = [f"{ch},{u},{v}" for ch in range(c) for u in range(kh) for v in range(kw)]
    return taps, [f"{i},{j}" for i in range(oh) for j in range(ow)]


def conv2d(
    *,
    input: Shape = (1, 1, 4, 4),
    kernel: Pair = 3,
    stride: Pair = 1,
    padding: Pair | str = 1,
    dilation: Pair = 1,
    groups: int = 1,
    out_channels: int = 1,
    no_bias: bool = False,
    seed: int = 0,
) -> Page:
    """2-D convolution, as a matrix product"""
    options = dict(locals())
    samples.check_shape(input, "NxCxHxW", (4,))
    run = _run(F.conv2d, F.conv2d_backward, input, pair(kernel), 2, options)
    return Page(
        "conv2d",
        "op",
        "Convolution: every window times the same kernel",
        options,
        "Indices count from 0: y[n,o,i,j] is image n, output channel o, row i, column j; a window's pixels are (u,v). "
        "Whole numbers, so that every product can be checked by head.",
        _blocks(run),
    )


def conv1d(
    *,
    input: Shape = (1, 1, 6),
    kernel: int = 3,
    stride: int = 1,
    padding: int | str = 1,
    dilation: int = 1,
    groups: int = 1,
    out_channels: int = 1,
    no_bias: bool = False,
    seed: int = 0,
) -> Page:
    """1-D convolution: conv2d over images of height 1"""
    options = dict(locals())
    samples.check_shape(input, "NxCxL", (3,))
    run = _run(F.conv1d, F.conv1d_backward, input, (kernel,), 1, options)
    return Page(
        "conv1d",
        "op",
        "Convolution along one axis",
        options,
        "conv1d makes an image of height 1 of every sequence and calls conv2d, so the pages are the same: here all "
        "arrays are shown as conv2d has them, with that axis of 1. y[n,o,0,j] is sequence n, output channel o, "
        "position j.",
        _blocks(run),
    )


def _run(forward: Callable, backward: Callable, shape: Shape, kernel: tuple[int, ...], axes: int, options: Any) -> Run:
    o, groups, padding = options["out_channels"], options["groups"], options["padding"]
    stride, dilation = options["stride"], options["dilation"]
    sizes = {"kernel": kernel, "stride": stride, "dilation": dilation, "out-channels": o, "groups": groups}
    samples.check_small(**sizes, **({} if isinstance(padding, str) else {"padding": padding}))
    if shape[1] % groups:
        raise ValueError(f"explain: expected {shape[1]} input channels divisible by --groups, got {groups}")
    rng = numpy.random.default_rng(options["seed"])
    x = samples.integers(rng, shape, 0, 5)
    weight = samples.integers(rng, (o, shape[1] // groups, *kernel), -2, 2)
    bias = None if options["no_bias"] else samples.integers(rng, (o,), 1, 3)
    watch = Watch(ops.conv2d, ops.conv2d_backward, im2col, col2im)
    with watch:
        y, cache = forward(x, weight, bias, stride, padding, dilation, groups)
        dy = samples.gradient(rng, y.shape)
        dx, dweight, dbias = backward(dy, cache)
    if axes == 1:
        x, y, dy, dx = (a[..., None, :] for a in (x, y, dy, dx))
        weight, dweight = weight[..., None, :], dweight[..., None, :]
        stride, dilation = (1, stride), (1, dilation)
    strides, dilations = pair(stride), pair(dilation)
    if padding == "same":
        pads = same_pads(weight.shape[2:], dilations)
    elif padding == "valid":
        pads = (0, 0, 0, 0)
    else:
        ph, pw = (0, padding) if axes == 1 else pair(padding)
        pads = (pw, pw, ph, ph)
    return Run(x, weight, bias, y, dy, dx, dweight, dbias, watch, strides, dilations, pads, groups)


def size_formula(run: Run) -> str:
    """The output size, with the numbers put in."""
    left, right, top, bottom = run.pads
    lines = []
    axes = zip(
        "HW",
        run.x.shape[2:],
        run.weight.shape[2:],
        run.stride,
        run.dilation,
        ((top, bottom), (left, right)),
        run.y.shape[2:],
        strict=True,
    )
    for name, size, k, s, d, (before, after), out in axes:
        lines.append(f"O{name} = ⌊({size} + {before} + {after} − {d}·({k} − 1) − 1) / {s}⌋ + 1 = {out}")
    return "\n".join(lines)


def most_covered(run: Run) -> tuple[int, int]:
    """The real pixel that lies in most windows; of several the one whose sum has most terms other than 0."""
    holds, dcols = tap_pixels(run), dcols_of(run)[0]

    def worth(pixel: tuple[int, int]) -> tuple[int, int]:
        own = holds[0] == pixel_number(run, pixel)
        return int(own.sum()), int(numpy.count_nonzero(dcols[: len(own)][own]))

    return max(numpy.ndindex(*run.x.shape[2:]), key=worth)


def pixel_number(run: Run, pixel: tuple[int, int]) -> int:
    return pixel[0] * run.x.shape[3] + pixel[1]


def tap_pixels(run: Run) -> Array:
    """(1, KH·KW, P): which pixel of the image, row·W + column, is in which entry of a channel's columns; −1 padding."""
    h, w = run.x.shape[2:]
    pixels = pad_with(numpy.arange(h * w).reshape(1, 1, h, w), run.pads, -1)
    kh, kw = run.weight.shape[2:]
    return im2col(pixels, (kh, kw), run.stride, run.dilation).reshape(1, kh * kw, -1)


def dcols_of(run: Run) -> Array:
    """(N, C·KH·KW, P): the gradient of im2col's matrix, all groups below each other."""
    dcols = run.watch.after(ops.conv2d_backward, "dcols = W.swapaxes")["dcols"]
    return dcols.reshape(len(run.x), -1, dcols.shape[-1])


def _blocks(run: Run) -> list[Block]:
    makers = [_input, _im2col, _product, _output, _arrives, _dbias, _dweight, _dcols, _col2im]
    return [block for make in makers if (block := make(run)) is not None]


def _input(run: Run) -> Block:
    padded = run.watch.after(im2col, "(n, c, h, w)")["x"]
    left, right, top, bottom = run.pads
    bias = [] if run.bias is None else [numbers("bias", run.bias)]
    shown: list[Part] = [numbers("x", run.x)]
    if any(run.pads):
        shown += [
            f"Zeros around it: {counted(top, 'row')} above, {bottom} below, {counted(left, 'column')} on the left, "
            f"{right} on the right.",
            numbers("x̂", padded),
        ]
    o, c = run.weight.shape[:2]
    per = (
        f" Output channel o sees only the {counted(c, 'input channel')} of its group; c counts within it."
        if run.groups > 1
        else ""
    )
    made = "the output channel" if o == 1 else f"each of the {o} output channels"
    shown += [f"For {made} one kernel of {counted(c, 'channel')}.{per}"]
    shown += [numbers("weight", run.weight), *bias]
    return Block("Input, kernel, bias", size_formula(run), [source(output_size, "return (size")], shown)


def matrices(name: str, a: Array, **labels: Any) -> list[Numbers]:
    """(N, G, rows, columns) as one labelled matrix for each image and group."""
    n, g = a.shape[:2]
    named = [
        (i, j, at(name, *([i] if n > 1 else []), *([j] if g > 1 else [])) if n * g > 1 else name)
        for i in range(n)
        for j in range(g)
    ]
    return [numbers(title, a[i, j], **labels) for i, j, title in named]


def _im2col(run: Run) -> Block:
    taps, windows = names_of(run)
    cols = run.watch.after(ops.conv2d, "cols = cols.reshape")["cols"]
    k, p = cols.shape[2:]
    copies = cols.size / run.x.size
    return Block(
        "im2col: every window becomes a column",
        "cols[(c,u,v), (i,j)] = x̂[c, i·SH + u·DH, j·SW + v·DW]",
        [source(im2col, "cols[:, :, u, v] = x[tap("), source(ops.conv2d, "cols = cols.reshape")],
        [
            f"A row for each of the {k} positions (c,u,v) of a kernel, a column for each of the {p} windows (i,j). "
            f"{run.x.size} pixels become {cols.size} entries: on average each is copied {copies:.3g} times.",
            *matrices("cols", cols, rows=taps, columns=windows, corner="c,u,v"),
        ],
    )


def _product(run: Run) -> Block:
    taps, windows = names_of(run)
    cols = run.watch.after(ops.conv2d, "cols = cols.reshape")["cols"]
    weight = run.watch.after(ops.conv2d_backward, "W = weight.reshape")["W"]
    y = run.watch.after(ops.conv2d, "y = weight.reshape")["y"]
    o, p = numpy.unravel_index(numpy.argmax(abs(weight[0]).sum(1)), weight.shape[1:2])[0], y.shape[3] // 2
    terms = zip(weight[0, o], cols[0, 0, :, p], strict=True)
    channels = [[str(g * weight.shape[1] + i) for i in range(weight.shape[1])] for g in range(run.groups)]
    return Block(
        "One matrix product does all windows at once",
        "Y = W · cols        Y[o, (i,j)] = Σ over (c,u,v) of W[o, (c,u,v)] · cols[(c,u,v), (i,j)]",
        [source(ops.conv2d, "y = weight.reshape")],
        [
            "W is the weight with each kernel written as a row.",
            *(
                numbers(at("W", g) if run.groups > 1 else "W", weight[g], rows=channels[g], columns=taps, corner="o")
                for g in range(run.groups)
            ),
            *matrices("Y", y, columns=windows, corner="o"),
            f"One entry written out: channel {o} and window {windows[p]}, which is row {o} of W times one column.",
            number_sum(f"Y[{o}, ({windows[p]})]", terms, y[0, 0, o, p]),
        ],
    )


def _output(run: Run) -> Block:
    added = [source(ops.conv2d, "y += bias")] if run.bias is not None else []
    text = "each output channel gets its bias." if run.bias is not None else "there is no bias."
    return Block(
        "The rows of Y are the output channels",
        "y[n, o, i, j] = Y[n, o, (i,j)]" + (" + bias[o]" if run.bias is not None else ""),
        [source(ops.conv2d, "y = y.reshape"), *added],
        [f"Each row is folded back into a map, and {text}", numbers("y", run.y)],
    )


def _arrives(run: Run) -> Block:
    return Block(
        "Backward: what arrives",
        "dy = ∂loss/∂y",
        [source(ops.conv2d_backward, "dY = dy.reshape")],
        [
            "In a network it comes from the layer behind; here it is chosen. It is unfolded to the shape of Y and "
            "called dY.",
            numbers("dy", run.dy),
        ],
    )


def _dbias(run: Run) -> Block | None:
    if run.dbias is None:
        return None
    return Block(
        "Gradient of the bias",
        "dbias[o] = Σ over n, i, j of dy[n, o, i, j]",
        [source(ops.conv2d_backward, "dbias = dy.sum")],
        [
            "bias[o] was added to every pixel of channel o.",
            numbers("dbias", run.dbias),
            number_sum("dbias[0]", [(g,) for g in run.dy[:, 0].flat], run.dbias[0]),
        ],
    )


def _dweight(run: Run) -> Block:
    cols = run.watch.after(ops.conv2d, "cols = cols.reshape")["cols"]
    dY = run.watch.after(ops.conv2d_backward, "dY = dy.reshape")["dY"]
    terms = [dY[:, 0, 0] * cols[:, 0, k] for k in range(cols.shape[2])]
    k = int(numpy.argmax([numpy.count_nonzero(t) for t in terms]))
    c, u, v = numpy.unravel_index(k, run.weight.shape[1:])
    met = zip(dY[:, 0, 0].flat, cols[:, 0, k].flat, strict=True)
    summed = ", summed over the images" if len(run.x) > 1 else ""
    return Block(
        "Gradient of the weight",
        f"dW = dY · colsᵀ{summed}        dW[o, (c,u,v)] = Σ over (i,j) of dY[o, (i,j)] · cols[(c,u,v), (i,j)]",
        [source(ops.conv2d_backward, "dweight = (dY @")],
        [
            "A weight met one pixel in every window, and its gradient is the sum of dy · pixel over the windows.",
            numbers("dweight", run.dweight),
            number_sum(at("dweight", 0, c, u, v), met, run.dweight[0, c, u, v]),
        ],
    )


def _dcols(run: Run) -> Block:
    taps, windows = names_of(run)
    dcols = run.watch.after(ops.conv2d_backward, "dcols = W.swapaxes")["dcols"]
    weight = run.watch.after(ops.conv2d_backward, "W = weight.reshape")["W"]
    dY = run.watch.after(ops.conv2d_backward, "dY = dy.reshape")["dY"]
    k, p = numpy.unravel_index(numpy.argmax(abs(dcols[0, 0])), dcols.shape[2:])
    pixel = most_covered(run)
    name = f"dcols[({taps[k]}), ({windows[p]})]"
    marks = frozenset(map(tuple, _landing(run, pixel).tolist()))
    shown = [
        part._replace(marks=marks) if i == 0 else part
        for i, part in enumerate(matrices("dcols", dcols, rows=taps, columns=windows, corner="c,u,v"))
    ]
    return Block(
        "Gradient of the columns",
        "dcols = Wᵀ · dY        dcols[(c,u,v), (i,j)] = Σ over o of W[o, (c,u,v)] · dY[o, (i,j)]",
        [source(ops.conv2d_backward, "dcols = W.swapaxes")],
        [
            *([f"What stands in [ ] was read from pixel {pixel} of channel 0, and goes back there."] if marks else []),
            *shown,
            number_sum(name, zip(weight[0, :, k], dY[0, 0, :, p], strict=True), dcols[0, 0, k, p]),
        ],
    )


def _landing(run: Run, pixel: tuple[int, int]) -> Array:
    """The entries (tap, window) of channel 0's columns that were read from the pixel."""
    return numpy.argwhere(tap_pixels(run)[0] == pixel_number(run, pixel))


def covers(run: Run) -> Array:
    """(H, W): how many windows read each pixel, by col2im of ones."""
    left, right, top, bottom = run.pads
    h, w = run.x.shape[2:]
    kh, kw = run.weight.shape[2:]
    ones = numpy.ones((1, 1, kh, kw, *run.y.shape[2:]))
    count = col2im(ones, (1, 1, top + h + bottom, left + w + right), run.stride, run.dilation)
    return count[0, 0, top : top + h, left : left + w]


def _col2im(run: Run) -> Block:
    pixel = most_covered(run)
    landing = _landing(run, pixel)
    dcols = dcols_of(run)[0]
    taps, windows = names_of(run)
    padded = run.watch.after(col2im, "dx[tap(")["dx"]
    terms = [(dcols[k, p],) for k, p in landing]
    came = ", ".join(f"({taps[k]}) of window ({windows[p]})" for k, p in landing)
    spelled = parts(
        f"The sum for pixel {pixel} of channel 0. Its {counted(len(terms), 'term')}: {came}.",
        number_sum(at("dx", 0, 0, *pixel), terms, run.dx[0, 0][pixel]),
    )
    count = covers(run)
    never = int((count == 0).sum())
    if never == count.size:  # all windows lie in the padding
        spelled = []
    cut = parts(
        "The border of zeros was no input of ours: its gradient is cut off.",
        numbers("dx̂", padded),
    )
    uneven = (run.pads[0], run.pads[2]) != (run.pads[1], run.pads[3])  # then padding is an op of its own
    crops = source(ops.pad2d_backward, "return crop(") if uneven else source(ops.conv2d_backward, "return crop(")
    return Block(
        "col2im: the overlaps ADD",
        "dx̂[c, i·SH + u·DH, j·SW + v·DW] += dcols[(c,u,v), (i,j)]",
        [source(col2im, "dx[tap("), crops],
        [
            "Every entry of dcols goes back to the pixel that it was read from. How many windows cover each pixel:",
            numbers("windows that cover a pixel", count),
            *([f"{counted(never, 'pixel')} in no window: gradient 0."] if never else []),
            *spelled,
            *(cut if any(run.pads) else []),
            numbers("dx", run.dx),
        ],
    )
