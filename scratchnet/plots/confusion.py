"""Which classes are taken for which."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy

from scratchnet.plots.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_matrix(counts: numpy.ndarray, classes: Sequence[str]) -> "Figure":
    """counts[i, j] images of class i were taken for class j. The colour is the share of the row.

    Args:
        counts: integers (classes, classes).
        classes: their names.
    """
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(
            f"confusion_matrix: expected counts for {len(classes)} × {len(classes)} classes, got {counts.shape}"
        )
    number, longest = len(classes), max(map(len, classes))
    side = 0.55 * number + 0.09 * longest + 1.2
    right, total = int(counts.diagonal().sum()), int(counts.sum())
    title = f"{right:,} of {total:,} images recognised ({right / max(total, 1):.2%})"
    figure = new_figure(side + 0.9, side, title)
    axes = figure.add_subplot()
    shares = counts / numpy.maximum(counts.sum(axis=1, keepdims=True), 1)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(number), classes, rotation=45 if longest > 3 else 0, ha="right" if longest > 3 else "center")
    axes.set_yticks(range(number), classes)
    axes.set_xlabel("taken for")
    axes.set_ylabel("label")
    if number <= 20:
        for i, j in numpy.argwhere(counts > 0):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, f"{counts[i, j]}", ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(drawn, ax=axes, shrink=0.8, format=lambda share, _: f"{share:.0%}", label="share of the label")
    return figure
