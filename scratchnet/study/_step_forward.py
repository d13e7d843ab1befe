"""The forward half of the page of a training step."""

from scratchnet import ops
from scratchnet.ops.conv import im2col
from scratchnet.study._layout import beside, table
from scratchnet.study._step_path import winner_places
from scratchnet.study._step_sheet import POOLED, TAPS, WINDOWS, Sheet, section
from scratchnet.study.step import CLASSES


def image(s: Sheet) -> list[str]:
    drawn = f"A drawn 7. The three classes are the digits {', '.join(CLASSES)}; the truth is class t = {s.step.target}."
    noise = f"Noise with one decimal; the truth, drawn at random too, is class t = {s.step.target}."
    return section("1. The image x", [], drawn if s.step.image == "digit" else noise, s.image("", s.y["input"][0]))


def convolution(s: Sheet) -> list[str]:
    p, bias = s.path, s.step.parameters["conv.bias"]
    kernel = s.step.parameters["conv.weight"][:, 0]  # (2, 3, 3)
    kernels = s.grids([f"w[{c}]   b[{c}] = {s.plain(bias[c])}" for c in range(2)], kernel)
    place = f"x[{p.row}..{p.row + 2}, {p.column}..{p.column + 2}]"
    window = s.grids([place], s.y["input"][:, p.row : p.row + 3, p.column : p.column + 3])
    rows = [
        [tap, *weights, *row]
        for tap, weights, row in zip(TAPS, s.cells(kernel.reshape(2, 9).T), s.cells(s.step.columns), strict=True)
    ]
    cut = [{(i, j): "()" for i in range(4) for j in range(4) if y[i, j] <= 0} for y in s.y["conv"]]
    return section(
        "2. Convolution: y = Σ w·x + b over every 3×3 window",
        [
            (im2col, "cols[:, :, u, v] = x[tap("),
            (ops.conv2d, "y = weight.reshape("),
            (ops.conv2d, "y += bias"),
        ],
        beside(*kernels, *window, gap=6),
        f"One pixel, term by term: kernel {p.channel} on the window {place}, row by row, plus the bias.",
        s.spell("conv", per_line=3),
        "All pixels at once: im2col writes each window as a column (i,j), from top to bottom in the order of the "
        "kernel's positions (u,v), and Y = W·cols + b is one matrix product. W's two rows stand upright on the "
        "left: a pixel is the product of one column there with one on the right.",
        table(["u,v", "w[0]", "w[1]", *WINDOWS], rows),
        "The result as two feature maps. ReLU is about to cut what stands in ( ).",
        s.maps("y", s.y["conv"], cut),
        rounding_note(s),
    )


def rounding_note(s: Sheet) -> str | list[str]:
    """What to say of a pixel that is zero but for rounding: it would print as 0.00."""
    y = s.y["conv"]
    almost = y[(y != 0) & (abs(y) < 1e-12)]
    if not almost.size:
        return []
    return (
        f"The pixel that is close to 0 but no bare 0, {almost[0]:.1e}, is a rounding error: 0.1 has no exact binary "
        "form, so a sum that cancels on paper may not cancel to the last bit."
    )


def relu(s: Sheet) -> list[str]:
    cut = [int((y <= 0).sum()) for y in s.y["conv"]]
    return section(
        "3. ReLU: r = max(y, 0)",
        [(ops.relu, "return")],
        f"{cut[0]} of 16 pixels are cut in channel 0, {cut[1]} in channel 1.",
        s.maps("r", s.y["relu"]),
    )


def pooling(s: Sheet) -> list[str]:
    marks = [dict.fromkeys(places, "[]") for places in winner_places(s.step)]
    maps = s.grids(["r[0]", "r[1]"], s.y["relu"], marks, windows=True)
    pooled = s.grids(["m[0]", "m[1]"], s.y["pool"])
    tie = " In a window of nothing but zeros the first one wins." if (s.y["pool"] == 0).any() else ""
    return section(
        "4. Max pooling: m = the largest pixel of each 2×2 window",
        [(ops.max_pool2d, "better = (pixel > y)"), (ops.max_pool2d, "y = xp.where(better")],
        f"The winners stand in [ ]; backward will need to know them.{tie}",
        beside(maps[0], pooled[0], maps[1], pooled[1], gap=3),
    )


def flatten(s: Sheet) -> list[str]:
    return section(
        "5. Flatten: the same numbers as one vector f",
        [(ops.flatten, "y = x.reshape(")],
        table(["k", *"01234567"], [["c,i,j", *POOLED], ["f[k]", *s.row(s.y["flatten"])]]),
    )


def linear(s: Sheet) -> list[str]:
    weights = s.cells(s.step.parameters["fc.weight"])
    bias, z = s.column(s.step.parameters["fc.bias"]), s.column(s.y["fc"])
    rows = [[f"W[{o}]", *weights[o], bias[o], z[o]] for o in range(3)]
    return section(
        "6. Linear: z = W·f + b, one logit for each class",
        [(ops.linear, "y = x @ weight.T"), (ops.linear, "y += bias")],
        table(["k", *"01234567", "b", "z"], [["f", *s.row(s.y["flatten"]), "", ""], *rows]),
        f"The logit of the truth, term by term: row {s.step.target} of W times f, plus the bias.",
        s.spell("fc", per_line=4),
    )


def loss(s: Sheet) -> list[str]:
    t, p = s.step.target, s.step.probabilities[0]
    powers = [f"e^({text})" if text.startswith("-") else f"e^{text}" for text in map(s.plain, s.y["fc"])]
    return section(
        "7. Softmax and cross entropy: p = e^z / Σ e^z, loss = -log p[t]",
        [(ops.log_softmax, "y = shifted"), (ops.cross_entropy, "losses = -xp.where(")],
        s.classes({"z": s.y["fc"], "p": p}),
        [
            f"p[{t}] = {powers[t]} / ({' + '.join(powers)}) = {s.plain(p[t])}",
            f"loss = -log {s.plain(p[t])} = {s.plain(s.step.loss)}",
        ],
        "The code subtracts the largest z first: that cancels in the fraction, and no power of e can overflow.",
    )


FORWARD = (image, convolution, relu, pooling, flatten, linear, loss)
