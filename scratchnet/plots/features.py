"""What a layer sees in an image: its feature maps, and beside each the gradient that came back to it."""

from typing import TYPE_CHECKING

import numpy

from scratchnet.plots.figure import SIGNED, VALUES, new_figure, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def feature_maps(maps: numpy.ndarray, gradients: numpy.ndarray, name: str, limit: int = 16) -> "Figure":
    """Feature maps of one image, each left of ∂loss/∂map. All maps share one scale, and so do all gradients.

    Args:
        maps, gradients: (C, H, W).
        name: of the layer, for the title.
        limit: how many channels to draw.

    Raises:
        ValueError: not of this shape.
    """
    if maps.ndim != 3 or maps.shape != gradients.shape:
        raise ValueError(f"feature_maps: expected maps and gradients (C, H, W), got {maps.shape} and {gradients.shape}")
    channels, height, width = maps.shape
    shown = min(channels, limit)
    pairs = min(4, shown)
    rows = -(-shown // pairs)
    which = f"{shown} of {channels} feature maps" if shown < channels else f"{channels} feature maps"
    figure = new_figure(
        2 * 1.15 * pairs + 1.6,
        1.15 * rows * max(height / width, 0.5) + 0.17 * rows + 1.0,
        f"{name}: {which} of {height} × {width}, and right of each the gradient of the loss with respect to it",
    )
    grid = figure.subplots(rows, 2 * pairs, squeeze=False)
    scale = float(numpy.abs(gradients[:shown]).max())
    for i in range(rows * pairs):
        left, right = grid[i // pairs, 2 * (i % pairs)], grid[i // pairs, 2 * (i % pairs) + 1]
        if i >= shown:
            left.axis("off")
            right.axis("off")
            continue
        drawn = show(left, maps[i], VALUES, vmin=float(maps[:shown].min()), vmax=float(maps[:shown].max()))
        signed = show(right, gradients[i], SIGNED, limit=scale)
        left.set_title(f"map {i}", fontsize=8, pad=3)
        right.set_title("gradient", fontsize=8, pad=3)
    figure.colorbar(drawn, ax=grid, location="right", shrink=0.8, aspect=30, pad=0.01).ax.set_title("map", fontsize=8)
    bar = figure.colorbar(signed, ax=grid, location="right", shrink=0.8, aspect=30, pad=0.02)
    bar.ax.set_title("gradient", fontsize=8)
    bar.ax.ticklabel_format(style="sci", scilimits=(-2, 2))
    return figure
