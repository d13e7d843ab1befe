"""The path through the network along which the page of a training step spells out its sums, and those sums."""

import math
from typing import NamedTuple

import numpy

from scratchnet.study.step import Step


class Path(NamedTuple):
    """The one path through the network along which the page spells its sums out.

    Convolution pixel (channel, row, column) passes the ReLU and wins its pooling window; it becomes `feature` of the
    flattened vector, and its way on goes to the logit of the truth. `tap` (u, v) is a position of its kernel, and
    `pixel` a place of the image where windows with a gradient overlap.
    """

    channel: int
    row: int
    column: int
    feature: int
    tap: tuple[int, int]
    pixel: tuple[int, int]


def find_path(step: Step) -> Path:
    """The path that shows most: the fullest window of a winner, the fullest sum of a weight, the most overlaps."""
    x, y, dy = step.activations["input"][0, 0], step.activations["conv"][0], step.activation_gradients["conv"][0]
    won = winner_places(step)

    def filled(place: tuple[int, int, int]) -> tuple[bool, int, float]:
        _, i, j = place
        return bool(y[place] > 0), int((x[i : i + 3, j : j + 3] != 0).sum()), float(y[place])

    channel, row, column = max(((c, i, j) for c in range(2) for i, j in won[c]), key=filled)
    terms = [numpy.count_nonzero(dy[channel] * x[u : u + 4, v : v + 4]) for u in range(3) for v in range(3)]
    dcolumns = step.dcolumns.reshape(3, 3, 4, 4)
    pixels = [(r, c) for r in range(6) for c in range(6)]
    return Path(
        channel,
        row,
        column,
        feature=channel * 4 + row // 2 * 2 + column // 2,
        tap=divmod(int(numpy.argmax(terms)), 3),
        pixel=max(pixels, key=lambda pixel: sum(dcolumns[u, v, i, j] != 0 for i, j, u, v in overlaps(pixel))),
    )


def winner_places(step: Step) -> list[list[tuple[int, int]]]:
    """For each channel the pixels (row, column) of the 4×4 map that won their pooling windows."""
    return [
        [(2 * i + int(w[i, j]) // 2, 2 * j + int(w[i, j]) % 2) for i in range(2) for j in range(2)]
        for w in step.winners[0]
    ]


def overlaps(pixel: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """The windows (i, j) that cover a pixel, each with the kernel position (u, v) that falls on it."""
    r, c = pixel
    return [(i, j, r - i, c - j) for i in range(4) for j in range(4) if 0 <= r - i < 3 and 0 <= c - j < 3]


class Sum(NamedTuple):
    """One number of the step as the sum that it is: Σ of products of factors."""

    name: str
    terms: list[tuple[float, ...]]
    result: float

    def value(self) -> float:
        return math.fsum(math.prod(term) for term in self.terms)


def spelled_sums(step: Step, p: Path) -> dict[str, Sum]:
    """The sums that the page spells out, from the factors in the arrays; each must give the number in the array."""
    c, i, j, k = p.channel, p.row, p.column, p.feature
    (u, v), t = p.tap, step.target
    x, flat, logits = (step.activations[name][0] for name in ("input", "flatten", "fc"))
    dx, dconv, dflat, dz = (step.activation_gradients[name][0] for name in ("input", "conv", "flatten", "fc"))
    kernel, fc = step.parameters["conv.weight"][:, 0], step.parameters["fc.weight"]
    window = x[0, i : i + 3, j : j + 3]
    dcolumns = step.dcolumns.reshape(3, 3, 4, 4)
    i0, j0, u0, v0 = max(overlaps(p.pixel), key=lambda at: abs(dcolumns[at[2], at[3], at[0], at[1]]))
    made = {
        "conv": Sum(
            f"y[{c},{i},{j}]",
            [*zip(kernel[c].flat, window.flat, strict=True), (step.parameters["conv.bias"][c],)],
            step.activations["conv"][0, c, i, j],
        ),
        "fc": Sum(f"z[{t}]", [*zip(fc[t], flat, strict=True), (step.parameters["fc.bias"][t],)], logits[t]),
        "dfc": Sum(f"dW[{t},{k}]", [(dz[t], flat[k])], step.parameter_gradients["fc.weight"][t, k]),
        "dflatten": Sum(f"df[{k}]", [*zip(dz, fc[:, k], strict=True)], dflat[k]),
        "dkernel": Sum(
            f"dw[{c},{u},{v}]",
            [(dconv[c, a, b], x[0, a + u, b + v]) for a, b in zip(*dconv[c].nonzero(), strict=True)],
            step.parameter_gradients["conv.weight"][c, 0, u, v],
        ),
        "dbias": Sum(f"db[{c}]", [(g,) for g in dconv[c].flat if g], step.parameter_gradients["conv.bias"][c]),
        "dcolumns": Sum(
            f"dcols[u,v = {u0},{v0}; i,j = {i0},{j0}]",
            [*zip(kernel[:, u0, v0], dconv[:, i0, j0], strict=True)],
            dcolumns[u0, v0, i0, j0],
        ),
        "dinput": Sum(
            f"dx[{p.pixel[0]},{p.pixel[1]}]",
            [(g,) for a, b, r, s in overlaps(p.pixel) if (g := dcolumns[r, s, a, b])],
            dx[0][p.pixel],
        ),
        "update": Sum(
            f"new w[{c},{u},{v}]",
            [(kernel[c, u, v],), (-step.lr, step.parameter_gradients["conv.weight"][c, 0, u, v])],
            step.new_parameters["conv.weight"][c, 0, u, v],
        ),
    }
    return {key: Sum(s.name, [tuple(map(float, term)) for term in s.terms], float(s.result)) for key, s in made.items()}
