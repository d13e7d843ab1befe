"""Pooling: one number for each window, and where its gradient goes."""

import numpy

from scratchnet import functional as F
from scratchnet import ops
from scratchnet.ops.conv import im2col
from scratchnet.ops.pad import pad_with
from scratchnet.ops.pool import _divisor, _pads, adaptive_windows
from scratchnet.ops.shape import Array, Pair, pair, pooled_size
from scratchnet.study.explain import samples
from scratchnet.study.explain.page import Beside, Block, Page, at, counted, number_sum, numbers, parts, source
from scratchnet.study.explain.samples import Shape
from scratchnet.study.explain.watch import Watch


def max_pool2d(
    *,
    input: Shape = (1, 1, 4, 4),
    kernel: Pair = 2,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    ties: bool = False,
    seed: int = 0,
) -> Page:
    """the largest pixel of each window, which gets all of its gradient"""
    options = dict(locals())
    samples.check_shape(input, "NxCxHxW", (4,))
    samples.check_small(kernel=kernel, padding=padding, dilation=dilation, stride=1 if stride is None else stride)
    rng = numpy.random.default_rng(seed)
    x = samples.integers(rng, input, 0, 1) if ties else _distinct(rng, input)
    watch = Watch(ops.max_pool2d, ops.max_pool2d_backward)
    with watch:
        (y, indices), cache = F.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
        dy = samples.integers(rng, y.shape, 1, 5)
        dx = F.max_pool2d_backward(dy, cache)
    strides = kernel if stride is None else stride
    winner = watch.after(ops.max_pool2d, "winner = xp.where")["winner"]
    padded = watch.after(ops.max_pool2d, "x_padded = pad_with")["x_padded"]
    windows = windows_of(x, y.shape[2:], kernel, strides, padding, dilation)[0, 0]  # (KH·KW, P)
    taps = [f"{u},{v}" for u in range(pair(kernel)[0]) for v in range(pair(kernel)[1])]
    places = [f"{i},{j}" for i in range(y.shape[2]) for j in range(y.shape[3])]
    w = x.shape[3]
    marks = frozenset((int(k), p) for p, k in enumerate(winner[0, 0].flat) if k >= 0)
    tied = [int((column == column.max()).sum()) for column in windows.T]
    many = sum(t > 1 for t in tied)
    won = [divmod(int(i), w) for i in indices[0, 0].flat if i >= 0]
    chosen = max(dict.fromkeys(won), key=won.count)
    terms = [(g,) for i, g in zip(indices[0, 0].flat, dy[0, 0].flat, strict=True) if i == chosen[0] * w + chosen[1]]
    wins = f"won {counted(len(terms), 'window')}" + (": its gradients ADD" if len(terms) > 1 else "")
    border = any(p > 0 for p in _pads(x.shape, y.shape[2:], kernel, strides, padding, dilation))
    blocks = [
        Block(
            "Input",
            _sizes(x, y, kernel, strides, padding, dilation, ceil_mode),
            [source(pooled_size, "return")] if not ceil_mode else [source(pooled_size, "out = -(")],
            [
                numbers("x", x),
                *(
                    parts(
                        "What lies beyond the image acts as −∞: it never wins, not even against negative numbers.",
                        numbers("x̂", padded),
                    )
                    if border
                    else []
                ),
            ],
        ),
        Block(
            "The winner of each window",
            "y[n,c,i,j] = max over (u,v) of x̂[n,c, i·SH + u·DH, j·SW + v·DW]",
            [source(ops.max_pool2d, "better = (pixel > y)"), source(ops.max_pool2d, "winner = xp.where")],
            [
                "Each window of channel 0 as a column, its pixels in row-major order; the winner stands in [ ].",
                numbers("windows", windows, rows=taps, columns=places, corner="u,v", marks=marks),
                "Winners as u·KW + v, the position within the window: all that backward has to remember. As torch "
                "gives them (return_indices), they are row·W + column of the image.",
                Beside([numbers("winner", winner), numbers("indices", indices)]),
                _ties(many, len(tied)),
                numbers("pixels equal to the maximum", numpy.array([float(t) for t in tied]), columns=places),
                numbers("y", y),
            ],
        ),
        Block(
            "Backward: the winner takes all",
            "dx[n,c, winner of (i,j)] += dy[n,c,i,j]        all others: 0",
            [source(ops.max_pool2d_backward, "dx[tap(")],
            [
                "y copied the winner: ∂y/∂x is 1 there and 0 elsewhere. dy is chosen here.",
                numbers("dy", dy),
                numbers("dx", dx),
                f"Pixel {chosen} of channel 0 {wins}.",
                number_sum(at("dx", 0, 0, *chosen), terms, dx[0, 0][chosen]),
                f"Nothing is lost: dy sums to {dy[indices >= 0].sum():g}, and so does dx.",
            ],
        ),
    ]
    introduction = "The maximum copies one pixel of each window and ignores the others."
    return Page("max_pool2d", "op", "Max pooling: the winner takes all", options, introduction, blocks)


def _ties(many: int, windows: int) -> str:
    if not many:
        return "No window has a tie here; --ties makes some."
    return (
        f"{many} of {counted(windows, 'window')} of channel 0 {'has' if many == 1 else 'have'} a tie: > and not ≥ in "
        "the code lets the FIRST of equal pixels win, in row-major order, and the others get no gradient."
    )


def _distinct(rng: numpy.random.Generator, shape: Shape) -> Array:
    """1, 2, 3, … in random order, in each image and channel."""
    n, c, h, w = shape
    return numpy.stack([rng.permutation(h * w) + 1.0 for _ in range(n * c)]).reshape(shape)


def _sizes(x: Array, y: Array, kernel, stride, padding, dilation, ceil_mode: bool) -> str:
    left, right = "⌈⌉" if ceil_mode else "⌊⌋"
    lines = []
    for name, size, k, s, p, d, out in zip(
        "HW", x.shape[2:], pair(kernel), pair(stride), pair(padding), pair(dilation), y.shape[2:], strict=True
    ):
        raw = size + 2 * p - d * (k - 1) - 1
        windows = -(-raw // s) + 1 if ceil_mode else raw // s + 1
        line = f"O{name} = {left}({size} + 2·{p} − {d}·({k} − 1) − 1) / {s}{right} + 1 = {windows}"
        lines.append(line if windows == out else f"{line}, less a last one that would start beyond the image: {out}")
    return "\n".join(lines)


def windows_of(x: Array, out, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, value=-numpy.inf) -> Array:
    """(N, C, KH·KW, P): the pixels of every window, the border being `value`."""
    padded = pad_with(x, _pads(x.shape, out, kernel, stride, padding, dilation), value)
    cols = im2col(padded, pair(kernel), stride, dilation)[..., : out[0], : out[1]]
    return cols.reshape(*x.shape[:2], -1, out[0] * out[1])


def avg_pool2d(
    *,
    input: Shape = (1, 1, 4, 4),
    kernel: Pair = 2,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    exclude_pad: bool = False,
    divisor_override: int | None = None,
    seed: int = 0,
) -> Page:
    """the mean of each window, whose pixels share its gradient"""
    options = dict(locals())
    samples.check_shape(input, "NxCxHxW", (4,))
    samples.check_small(kernel=kernel, padding=padding, stride=1 if stride is None else stride)
    rng = numpy.random.default_rng(seed)
    x = samples.integers(rng, input, 0, 8)
    watch = Watch(ops.avg_pool2d, ops.avg_pool2d_backward)
    with watch:
        y, cache = F.avg_pool2d(x, kernel, stride, padding, ceil_mode, not exclude_pad, divisor_override)
        dy = samples.integers(rng, y.shape, -4, 4)
        dx = F.avg_pool2d_backward(dy, cache)
    strides = kernel if stride is None else stride
    total = watch.after(ops.avg_pool2d, "total += x_padded")["total"]
    divisor = watch.after(ops.avg_pool2d, "divisor = divisor.astype")["divisor"]
    share = watch.after(ops.avg_pool2d_backward, "share = dy / divisor")["share"]
    windows = windows_of(x, y.shape[2:], kernel, strides, padding, 1, 0.0)[0, 0]
    numbered = numpy.arange(x[0, 0].size, dtype=float).reshape(1, 1, *x.shape[2:])
    holds = windows_of(numbered, y.shape[2:], kernel, strides, padding, 1, -1.0)[0, 0]
    covers = [(holds == i).sum() for i in range(numbered.size)]
    pixel = divmod(int(numpy.argmax(covers)), x.shape[3])
    inside = [p for _, p in numpy.argwhere(holds == numbered[0, 0][pixel])]
    counts = "pixels of the padding count too" if not exclude_pad else "pixels of the padding do not count"
    blocks = [
        Block(
            "Input",
            _sizes(x, y, kernel, strides, padding, 1, ceil_mode),
            [source(pooled_size, "return" if not ceil_mode else "out = -(")],
            [numbers("x", x)],
        ),
        Block(
            "Sum of each window",
            "total[n,c,i,j] = Σ over (u,v) of x̂[n,c, i·SH + u, j·SW + v]",
            [source(ops.avg_pool2d, "total += x_padded")],
            [numbers("total", total), number_sum("total[0,0,0,0]", [(v,) for v in windows[:, 0]], total[0, 0, 0, 0])],
        ),
        Block(
            "Divided by the number of its pixels",
            "y[n,c,i,j] = total[n,c,i,j] / d[i,j]",
            [
                source(_divisor, "return counts[0]")
                if divisor_override is None
                else source(_divisor, "return xp.full"),
                source(ops.avg_pool2d, "return total / divisor"),
            ],
            [
                f"d is {divisor_override} for every window: --divisor-override."
                if divisor_override is not None
                else f"d counts the pixels of a window; {counts}; what hangs over beyond the padding never does.",
                Beside([numbers("d", divisor), numbers("y", y)]),
                number_sum("y[0,0,0,0]", [(total[0, 0, 0, 0],)], y[0, 0, 0, 0], divisor[0, 0]),
            ],
        ),
        Block(
            "Backward: every pixel of the window gets the same share",
            "share = dy / d        dx[n,c, i·SH + u, j·SW + v] += share[n,c,i,j]",
            [source(ops.avg_pool2d_backward, "share = dy / divisor"), source(ops.avg_pool2d_backward, "dx[tap(")],
            [
                "∂y/∂x is 1/d for each pixel of the window. dy is chosen here.",
                Beside([numbers("dy", dy), numbers("share", share)]),
                numbers("dx", dx),
                f"Pixel {pixel} of channel 0 lies in {counted(len(inside), 'window')}"
                + (", whose shares ADD." if len(inside) > 1 else "."),
                number_sum(at("dx", 0, 0, *pixel), [(share[0, 0].flat[p],) for p in inside], dx[0, 0][pixel]),
            ],
        ),
    ]
    introduction = "The mean weighs all pixels of a window alike; what is in the padding is 0."
    return Page("avg_pool2d", "op", "Average pooling: equal shares", options, introduction, blocks)


def adaptive_avg_pool2d(*, input: Shape = (1, 1, 5, 5), output: Pair = (3, 2), seed: int = 0) -> Page:
    """average pooling to an output size that is given"""
    options = dict(locals())
    samples.check_shape(input, "NxCxHxW", (4,))
    samples.check_small(output=output)
    rng = numpy.random.default_rng(seed)
    x = samples.integers(rng, input, 0, 8)
    y, cache = F.adaptive_avg_pool2d(x, output)
    dy = samples.integers(rng, y.shape, -4, 4)
    dx = F.adaptive_avg_pool2d_backward(dy, cache)
    rows, columns = (adaptive_windows(size, out) for size, out in zip(x.shape[2:], y.shape[2:], strict=True))
    spans = [
        numbers(
            f"{name} of window",
            numpy.array([[s.start, s.stop] for s in slices]).reshape(-1, 2),
            rows=[str(i) for i in range(len(slices))],
            columns=["from", "up to, without"],
            corner=letter,
        )
        for name, slices, letter in (("rows", rows, "i"), ("columns", columns, "j"))
    ]
    first = x[0, 0, rows[0], columns[0]]

    def reach(pixel: tuple[int, int]) -> list[tuple[int, int]]:
        return [
            (i, j)
            for i, r in enumerate(rows)
            for j, c in enumerate(columns)
            if r.start <= pixel[0] < r.stop and c.start <= pixel[1] < c.stop
        ]

    pixel = max(numpy.ndindex(*x.shape[2:]), key=lambda p: len(reach(p)))
    counts = {(i, j): (rows[i].stop - rows[i].start) * (columns[j].stop - columns[j].start) for i, j in reach(pixel)}
    shares = [(dy[0, 0][place], 1 / count) for place, count in counts.items()]
    spelled = " + ".join(f"dy[0,0,{i},{j}]/{count}" for (i, j), count in counts.items())
    return Page(
        "adaptive_avg_pool2d",
        "op",
        "Adaptive average pooling: share out the image",
        options,
        "The output size is given and the windows follow from it; they are of nearly the same size, and overlap where "
        "the input's is no multiple of the output's.",
        [
            Block("Input", "", [], [numbers("x", x)]),
            Block(
                "The windows",
                "window i spans ⌊i·H/OH⌋ … ⌈(i + 1)·H/OH⌉, and j likewise",
                [source(adaptive_windows, "return [slice(")],
                [Beside(spans)],
            ),
            Block(
                "The mean of each",
                "y[n,c,i,j] = mean of x over rows of i and columns of j",
                [source(ops.adaptive_avg_pool2d, "y[..., i, j] = x[")],
                [
                    numbers("y", y),
                    number_sum("y[0,0,0,0]", [(v,) for v in first.flat], y[0, 0, 0, 0], first.size),
                ],
            ),
            Block(
                "Backward: equal shares",
                "dx[rows of i, columns of j] += dy[i,j] / (pixels of the window)",
                [source(ops.adaptive_avg_pool2d_backward, "dx[..., rows, columns] +=")],
                [
                    "dy is chosen here.",
                    numbers("dy", dy),
                    numbers("dx", dx),
                    f"Pixel {pixel} of channel 0 lies in {counted(len(counts), 'window')}: {at('dx', 0, 0, *pixel)} = "
                    f"{spelled}.",
                    number_sum(at("dx", 0, 0, *pixel), shares, dx[0, 0][pixel]),
                ],
            ),
        ],
    )
