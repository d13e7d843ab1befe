"""The backward half of the page of a training step."""

import numpy

from scratchnet import ops
from scratchnet.ops.conv import col2im
from scratchnet.study._layout import beside, table
from scratchnet.study._step_path import overlaps, winner_places
from scratchnet.study._step_sheet import TAPS, WINDOWS, Sheet, section


def loss(s: Sheet) -> list[str]:
    q = numpy.eye(3)[s.step.target]
    return section(
        "8. Gradient of the logits: dz = p - q, with q = 1 for the truth and 0 elsewhere",
        [(ops.cross_entropy_backward, "return")],
        s.classes({"p": s.step.probabilities[0], "q": q, "dz = p - q": s.dy["fc"]}),
        "A step against dz raises the logit of the truth and lowers the others.",
    )


def linear(s: Sheet) -> list[str]:
    t, k = s.step.target, s.path.feature
    dweight = s.cells(s.step.parameter_gradients["fc.weight"])
    dbias = s.column(s.step.parameter_gradients["fc.bias"])
    rows = [[f"dW[{o}]", *dweight[o], dbias[o]] for o in range(3)]
    return section(
        "9. Back through linear: dW = dz·f, db = dz, df = Wᵀ·dz",
        [(ops.linear_backward, "dweight ="), (ops.linear_backward, "dbias ="), (ops.linear_backward, "dx =")],
        f"Weight W[o,k] carried f[k] to z[o], so its gradient is dz[o]·f[k]. One entry: dW[{t},{k}].",
        s.spell("dfc"),
        table(["k", *"01234567", "db"], [["f", *s.row(s.y["flatten"]), ""], *rows]),
        f"Feature f[{k}] reached the loss through all three logits, so three terms add up (column {k} of W):",
        s.spell("dflatten"),
        table(["k", *"01234567"], [["df", *s.row(s.dy["flatten"])]]),
    )


def flatten(s: Sheet) -> list[str]:
    return section(
        "10. Unflatten: the same numbers as two maps again",
        [(ops.flatten_backward, "return")],
        s.maps("dm", s.dy["pool"]),
    )


def pooling(s: Sheet) -> list[str]:
    winners = zip(winner_places(s.step), s.y["conv"], strict=True)
    marks = [{place: "[]" if y[place] > 0 else "()" for place in places} for places, y in winners]
    return section(
        "11. Back through max pooling: each window's gradient goes to its winner",
        [(ops.max_pool2d_backward, "dx[tap(")],
        "The losers changed nothing, so they get 0. A winner in ( ) was a pixel that ReLU had cut.",
        s.maps("dr", s.dy["relu"], marks, windows=True),
    )


def relu(s: Sheet) -> list[str]:
    blocked = int(((s.dy["relu"] != 0) & (s.y["conv"] <= 0)).sum())
    return section(
        "12. Back through ReLU: dy = dr where y > 0, else 0",
        [(ops.relu_backward, "return")],
        f"{blocked or 'None'} of the 8 gradients above {'end' if blocked > 1 else 'ends'} here, at a closed gate.",
        s.maps("dy", s.dy["conv"]),
    )


def convolution(s: Sheet) -> list[str]:
    (c, (u, v)), bias = (s.path.channel, s.path.tap), s.step.parameter_gradients["conv.bias"]
    met = "x[" + ",".join(f"{name}+{offset}" if offset else name for name, offset in (("i", u), ("j", v))) + "]"
    alive = numpy.count_nonzero(s.dy["conv"][c])
    which = f"Only {alive}" if alive else "None"
    titles = [f"dw[{c}]   db[{c}] = {s.plain(bias[c])}" for c in range(2)]
    return section(
        "13. Back through the convolution, to its weights: dW = dY·colsᵀ, db = Σ dy",
        [(ops.conv2d_backward, "dweight ="), (ops.conv2d_backward, "dbias =")],
        f"Weight w[{c},{u},{v}] met pixel {met} in every window (i,j), so its gradient is the sum of "
        f"dy[{c},i,j]·{met} over the windows. {which} of the 16 have a dy other than 0:",
        s.spell("dkernel"),
        "The bias was added to every pixel, so its gradient is the sum of the map:",
        s.spell("dbias"),
        beside(*s.grids(titles, s.step.parameter_gradients["conv.weight"][:, 0]), gap=6),
    )


def image(s: Sheet) -> list[str]:
    r, c = s.path.pixel
    return section(
        "14. Back through the convolution, to the image: dcols = Wᵀ·dY, dx = col2im(dcols)",
        [(ops.conv2d_backward, "dcols = W"), (col2im, "dx[tap(")],
        "Each window's gradient is spread over the 9 pixels that it was read from. One entry of that matrix, with "
        "a term for each channel, and then the matrix:",
        s.spell("dcolumns"),
        dcolumns(s),
        f"Windows overlap, and the gradients of a pixel add. On pixel x[{r},{c}] falls what stands in [ ]:",
        s.spell("dinput"),
        s.image("dx", s.dy["input"][0]),
        "No layer comes before the image, so nothing needs dx here; a deeper network would go on with it.",
    )


def dcolumns(s: Sheet) -> list[str]:
    """The gradient of im2col's matrix: the columns of windows that carry a gradient, the others being zeros."""
    dy = s.dy["conv"].reshape(2, 16)
    alive = [p for p in range(16) if dy[:, p].any()]
    if not alive:
        return ["(all 16 columns are zeros)"]
    position = {p: at for at, p in enumerate(alive)}
    landing = [(3 * u + v, position.get(4 * i + j)) for i, j, u, v in overlaps(s.path.pixel)]
    text = s.cells(s.step.dcolumns[:, alive], dict.fromkeys(landing, "[]"))
    rows = [[tap, *row] for tap, row in zip(TAPS, text, strict=True)]
    zeros = [f"(the other {16 - len(alive)} columns are zeros)"] if len(alive) < 16 else []
    return table(["u,v", *(f"{WINDOWS[p]} " for p in alive)], rows) + zeros


BACKWARD = (loss, linear, flatten, pooling, relu, convolution, image)
