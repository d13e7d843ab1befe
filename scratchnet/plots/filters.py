"""The filters of a convolution, and what one step of training did to them."""

from typing import TYPE_CHECKING

import numpy

from scratchnet.plots.figure import SIGNED, largest, new_figure, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def filters(
    weight: numpy.ndarray, gradient: numpy.ndarray, update: numpy.ndarray, name: str, limit: int = 16
) -> "Figure":
    """Each filter W beside its gradient dW and its update ΔW, new − old weight, of one optimizer step.

    Each picture has a scale of its own, from −s to s with s written below it: the shapes of the three can be compared
    by eye, and their sizes by these numbers.

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
    which = f"{shown} of {count} filters" if shown < count else f"{count} filter{'s' * (count > 1)}"
    part = {1: "", 3: " × RGB"}.get(channels, f", input channel 0 of {channels}")
    colours = "RGB around grey, which is 0" if channels == 3 else "white is 0, red is positive"
    figure = new_figure(
        1.05 * 3 * triples + 1.2,
        (1.05 * height / width + 0.17) * rows + 1.0,
        f"{name}: {which} of {height} × {width}{part}\nfilter W, gradient dW, update ΔW of one step; {colours}",
    )
    grid = figure.subplots(rows, 3 * triples, squeeze=False)
    kinds = ("W", weight), ("dW", gradient), ("ΔW", update)
    for i in range(rows * triples):
        for j, (title, values) in enumerate(kinds):
            axes = grid[i // triples, 3 * (i % triples) + j]
            if i >= shown:
                axes.axis("off")
                continue
            values = values[i] if channels == 3 else values[i, 0]
            scale = largest(values)
            if channels == 3:
                show(axes, (numpy.nan_to_num(values / (scale or 1)).clip(-1, 1) / 2 + 0.5).transpose(1, 2, 0))
            else:
                show(axes, values, SIGNED, limit=scale)
            scale_text = f"±{scale:.2g}" if numpy.isfinite(values).all() else "not finite"
            axes.set_xlabel(scale_text, fontsize=7, labelpad=2)
            if i < triples:
                axes.set_title(title, fontsize=8, pad=3)
            if j == 0:
                axes.set_ylabel(str(i), fontsize=8, rotation=0, labelpad=8, va="center")
    return figure
