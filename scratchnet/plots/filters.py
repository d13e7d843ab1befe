"""The filters of a convolution, and what one step of training did to them."""

from typing import TYPE_CHECKING

import numpy

from scratchnet.plots.figure import SIGNED, new_figure, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def filters(
    weight: numpy.ndarray, gradient: numpy.ndarray, update: numpy.ndarray, name: str, limit: int = 16
) -> "Figure":
    """Each filter beside its gradient dW and its update, new − old weight, of one optimizer step.

    Args:
        weight, gradient, update: (O, C, KH, KW). Of more than one input channel, the first is drawn; of three, which
            are RGB in a network's first layer, all are, as colours around grey, which is 0.
        name: of the layer, for the title.

    Raises:
        ValueError: not of this shape.
    """
    if weight.ndim != 4 or not weight.shape == gradient.shape == update.shape:
        raise ValueError(
            "filters: expected weight, gradient and update (O, C, KH, KW), "
            f"got {weight.shape}, {gradient.shape} and {update.shape}"
        )
    count, channels, height, width = weight.shape
    shown = min(count, limit)
    triples = 2 if shown > 1 else 1
    rows = -(-shown // triples)
    which = f"{shown} of {count} filters" if shown < count else f"{count} filters"
    part = {1: "", 3: ", RGB around grey"}.get(channels, f", input channel 0 of {channels}")
    figure = new_figure(
        1.05 * 3 * triples + 1.2,
        1.05 * rows * height / width + 1.0,
        f"{name}: {which} of {height} × {width}{part}\nfilter, its gradient dW, its update in one step",
    )
    grid = figure.subplots(rows, 3 * triples, squeeze=False)
    kinds = ("W", weight), ("dW", gradient), ("ΔW", update)
    scales = [float(numpy.abs(values[:shown]).max()) for _, values in kinds]
    for i in range(rows * triples):
        for j, (title, values) in enumerate(kinds):
            axes = grid[i // triples, 3 * (i % triples) + j]
            if i >= shown:
                axes.axis("off")
                continue
            if channels == 3:
                show(axes, (values[i] / (scales[j] or 1) / 2 + 0.5).transpose(1, 2, 0))
            else:
                show(axes, values[i, 0], SIGNED, limit=scales[j])
            if i < triples:
                axes.set_title(f"{title}\n±{scales[j]:.1e}", fontsize=8, pad=3)
            if j == 0:
                axes.set_ylabel(str(i), fontsize=8, rotation=0, labelpad=8, va="center")
    return figure
