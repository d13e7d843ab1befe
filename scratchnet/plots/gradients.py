"""How large gradients and updates are, layer by layer, as training goes on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy

from scratchnet.plots.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MANY = 120  # steps of which no single one matters to the eye


def gradient_norms(steps: Sequence[int], norms: numpy.ndarray, ratios: numpy.ndarray, names: Sequence[str]) -> "Figure":
    """The norm of each parameter's gradient, and the norm of its update over that of the parameter, on log scales.

    Many steps are drawn faintly, and their geometric running mean strongly.

    A ratio near 10⁻³ is a common rule of thumb for a learning rate that is neither too large nor too small.

    Args:
        steps: T steps.
        norms, ratios: (T, parameters).
        names: of the parameters.
    """
    figure = new_figure(9.5, max(4.0, 0.15 * len(names) + 0.6))
    left, right = figure.subplots(1, 2)
    import matplotlib

    colours = matplotlib.colormaps["viridis"](numpy.linspace(0, 0.92, len(names)))
    many = len(steps) > MANY
    style = {"marker": "."} if len(steps) < 30 else {"alpha": 0.2} if many else {}
    for axes, values in ((left, norms), (right, ratios)):
        for i, name in enumerate(names):
            drawable = (values[:, i] > 0) & numpy.isfinite(values[:, i])
            positive = numpy.where(drawable, values[:, i], numpy.nan)
            axes.plot(steps, positive, color=colours[i], linewidth=1, label=None if many else name, **style)
            if many:
                axes.plot(steps, _smooth(positive), color=colours[i], linewidth=1.5, label=name, zorder=3)
        axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.locator_params(axis="x", nbins=5)
        axes.grid(alpha=0.3)
    left.set_title("norm of the gradient", fontsize="medium")
    right.set_title("norm of the update / norm of the parameter", fontsize="medium")
    right.axhline(1e-3, color="0.5", linewidth=1, linestyle="--", label="10⁻³, a rule of thumb")
    right.legend(
        fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5), title="first layer to last", title_fontsize=7
    )
    return figure


def _smooth(values: numpy.ndarray) -> numpy.ndarray:
    """The geometric mean of each value and its neighbours, a sixtieth of all on either side; NaN counts for none."""
    width = 2 * (len(values) // 60) + 1
    there = numpy.isfinite(values)
    logs = numpy.where(there, numpy.log(numpy.where(there, values, 1.0)), 0.0)
    window = numpy.ones(width)
    count = numpy.convolve(there, window, "same")
    mean = numpy.convolve(logs, window, "same") / numpy.maximum(count, 1)
    return numpy.where(count > 0, numpy.exp(mean), numpy.nan)
