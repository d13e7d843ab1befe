"""The page of a training step: a worked example, in the order in which the computer does it.

Every section quotes the lines of the library that computed its numbers, found in the source when the page is made.
"""

import numpy

from scratchnet.optim.sgd import sgd_update
from scratchnet.study._layout import MARGIN, WIDTH, beside, paragraph, table
from scratchnet.study._step_backward import BACKWARD
from scratchnet.study._step_forward import FORWARD
from scratchnet.study._step_sheet import Sheet, section
from scratchnet.study.step import Step


def page(step: Step, digits: int = 4) -> str:
    """The whole step as text, at most 100 columns wide, numbers with at most `digits` decimals."""
    s = Sheet.of(step, digits)
    sections = [
        title(s),
        part("FORWARD", "Each layer turns its input into its output, and remembers what backward will need."),
        *(write(s) for write in FORWARD),
        part(
            "BACKWARD",
            "The layers in reverse. Each gets the gradient of its output and turns it into the gradient of its "
            "input, by the chain rule; a layer with parameters also into theirs.",
        ),
        *(write(s) for write in BACKWARD),
        part("STEP", "Every parameter moves a little against its gradient."),
        update(s),
        after(s),
    ]
    return "\n\n".join("\n".join(line.rstrip() for line in lines) for lines in sections)


def part(name: str, introduction: str) -> list[str]:
    return [f"━━ {name} ".ljust(WIDTH, "━"), "", *paragraph(introduction)]


def title(s: Sheet) -> list[str]:
    p, step = s.path, s.step
    textbook = "" if step.rung == "im2col" else "; the lines quoted are those of the textbook rung, im2col"
    return [
        "ONE TRAINING STEP, WITH EVERY NUMBER",
        "",
        MARGIN + "image 6×6 → convolution 2×4×4 → ReLU → max pooling 2×2×2 → flatten 8 → linear 3 → cross entropy",
        "",
        *paragraph(f"Seed {step.seed}, learning rate {step.lr:g}, float64, rung {step.rung}{textbook}."),
        "",
        *paragraph(
            f"Indices count from 0: y[c,i,j] is channel c, row i, column j. Numbers have {s.digits} decimals, fewer "
            "where fewer are exact; a bare 0 is exactly zero. Under each heading stand the lines of code that computed "
            "what follows. There every layer calls its input x and its output y, and dx and dy are the gradients of "
            "the loss with respect to them."
        ),
        "",
        *paragraph(
            f"Sums are spelled out along one path: pixel y[{p.channel},{p.row},{p.column}] of the convolution, which "
            f"becomes feature f[{p.feature}], on to the logit of the truth, z[{step.target}], and back."
        ),
    ]


def update(s: Sheet) -> list[str]:
    return section(
        f"15. SGD: new = old - lr·gradient, with lr = {s.step.lr:g}",
        [(sgd_update, "param -=")],
        s.spell("update"),
        parameters(s),
    )


def parameters(s: Sheet) -> list[str]:
    """All 47 parameters, in two columns."""
    rows: list[tuple[str, ...]] = []
    for name, old in s.step.parameters.items():
        places = [f"{name}[{','.join(map(str, place))}]" for place in numpy.ndindex(old.shape)]
        values = [old, s.step.parameter_gradients[name], s.step.new_parameters[name]]
        rows += zip(places, *(s.column(a.ravel()) for a in values), strict=True)
    half = (len(rows) + 1) // 2
    header = ["", "old", "gradient", "new"]
    return beside(*(table(header, [list(row) for row in side]) for side in (rows[:half], rows[half:])), gap=7)


def after(s: Sheet) -> list[str]:
    step = s.step
    verdict = "the step lowered it" if step.loss_after < step.loss else "the step did not lower it"
    columns = {
        "z before": s.y["fc"],
        "z after": step.logits_after[0],
        "p before": step.probabilities[0],
        "p after": step.probabilities_after[0],
    }
    return section(
        "16. Forward once more, with the new parameters",
        [],
        s.classes(columns),
        f"loss {s.plain(step.loss)} → {s.plain(step.loss_after)}: {verdict}.",
    )
