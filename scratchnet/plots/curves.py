"""Loss and accuracy as training goes on, from the rows of metrics.csv."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from scratchnet.plots.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves(rows: Sequence[Mapping[str, str]], title: str = "") -> "Figure":
    """Training and test loss, and test accuracy, over the steps of a run.

    Args:
        rows: as `scratchnet.training.run.read_metrics` gives them.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("curves: expected the rows of a metrics.csv, got none")
    figure = new_figure(9, 3.8, title)
    loss, accuracy = figure.subplots(1, 2)
    steps, values = _column(rows, "step", "train_loss")
    if steps:
        loss.plot(steps, values, color="0.7", linewidth=1, label="single training batches")
    for name, colour, label in (
        ("train_loss", "tab:blue", "training, epoch mean"),
        ("test_loss", "tab:orange", "test"),
    ):
        steps, values = _column(rows, "epoch", name)
        loss.plot(steps, values, color=colour, marker="o", markersize=4, label=label)
    loss.set_ylabel("loss")
    loss.set_ylim(bottom=0)
    steps, values = _column(rows, "step", "test_accuracy")
    if steps:
        accuracy.plot(steps, [100 * v for v in values], color="0.6", linewidth=1, label="test, within epochs")
    steps, values = _column(rows, "epoch", "test_accuracy")
    best = f", best {max(values):.2%}" if values else ""
    percent = [100 * value for value in values]
    accuracy.plot(steps, percent, color="tab:orange", marker="o", markersize=4, label=f"test{best}")
    accuracy.set_ylabel("accuracy, %")
    last = max(int(row["step"]) for row in rows) or 1
    for axes in (loss, accuracy):
        axes.set_xlabel("step")
        axes.set_xlim(0, 1.03 * last)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    return figure


def _column(rows: Sequence[Mapping[str, str]], event: str, name: str) -> tuple[list[int], list[float]]:
    """The steps and values of one kind of row, where there is a value."""
    pairs = [(int(row["step"]), float(row[name])) for row in rows if row["event"] == event and row[name]]
    pairs = [(step, value) for step, value in pairs if math.isfinite(value)]
    return [step for step, _ in pairs], [value for _, value in pairs]
