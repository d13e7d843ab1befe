"""Which classes are taken for which."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy

from scratchnet.plots.figure import new_figure, percent, plain, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_matrix(counts: numpy.ndarray, classes: Sequence[str]) -> "Figure":
    """counts[i, j] images of class i were taken for class j. Colour and percentage are the share of the row.

    The numbers are written for up to 20 classes.

    Args:
        counts: integers (classes, classes).
        classes: their names.
    """
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(
            f"confusion_matrix: expected counts for {len(classes)} × {len(classes)} classes, got {counts.shape}"
        )
    number, names = len(classes), [plain(short(name)) for name in classes]
    longest = max(map(len, names))
    written = number <= 20
    side = max((0.58 if written else 0.2) * number, 1.8) + 0.09 * longest + 1.2
    right, total = int(counts.diagonal().sum()), int(counts.sum())
    title = f"{right:,} of {total:,} images recognised ({right / max(total, 1):.2%})"
    figure = new_figure(side + 0.9, side, title)
    axes = figure.add_subplot()
    shares = counts / numpy.maximum(counts.sum(axis=1, keepdims=True), 1)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(number), names, rotation=45 if longest > 3 else 0, ha="right" if longest > 3 else "center")
    axes.set_yticks(range(number), names)
    axes.tick_params(labelsize=10 if written else 7)
    axes.set_xlabel("taken for")
    axes.set_ylabel("label")
    if written:
        for i, j in numpy.argwhere(counts > 0):
            colour = "white" if shares[i, j] > 0.5 else "black"
            text = f"{counts[i, j]}\n{percent(shares[i, j])}"
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(
        drawn, ax=axes, shrink=0.8, format=lambda share, _: f"{share:.0%}", label="share of the label's images"
    )
    return figure
