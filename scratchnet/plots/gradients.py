"""How large gradients and updates are, layer by layer, as training goes on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy

from scratchnet.plots.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gradient_norms(steps: Sequence[int], norms: numpy.ndarray, ratios: numpy.ndarray, names: Sequence[str]) -> "Figure":
    """The norm of each parameter's gradient, and the norm of its update over that of the parameter, on log scales.

    A ratio near 10⁻³ is a common rule of thumb for a learning rate that is neither too large nor too small.

    Args:
        steps: T steps.
        norms, ratios: (T, parameters).
        names: of the parameters.
    """
    figure = new_figure(9.5, 4.0)
    left, right = figure.subplots(1, 2)
    import matplotlib

    colours = matplotlib.colormaps["viridis"](numpy.linspace(0, 0.92, len(names)))
    dots = {"marker": "."} if len(steps) < 30 else {}
    for axes, values in ((left, norms), (right, ratios)):
        for i, name in enumerate(names):
            positive = numpy.where(values[:, i] > 0, values[:, i], numpy.nan)
            axes.plot(steps, positive, color=colours[i], linewidth=1, label=name, **dots)
        axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    left.set_title("norm of the gradient", fontsize="medium")
    right.set_title("norm of the update / norm of the parameter", fontsize="medium")
    right.axhline(1e-3, color="0.5", linewidth=1, linestyle="--")
    right.legend(
        fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5), title="first layer to last", title_fontsize=7
    )
    return figure
