"""What a layer sees in an image: its feature maps, and beside each the gradient that came back to it."""

from typing import TYPE_CHECKING

import numpy

from scratchnet.plots.figure import SIGNED, VALUES, largest, new_figure, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def feature_maps(maps: numpy.ndarray, gradients: numpy.ndarray, name: str, limit: int = 16) -> "Figure":
    """Feature maps of one image, each left of ∂loss/∂map. All maps share one scale, and so do all gradients.

    Args:
        maps, gradients: (C, H, W).
        name: of the layer, for the title.
        limit: how many channels to draw, the first ones.

    Raises:
        ValueError: not of this shape.
    """
    if maps.ndim != 3 or maps.shape != gradients.shape:
        raise ValueError(f"feature_maps: expected maps and gradients (C, H, W), got {maps.shape} and {gradients.shape}")
    channels, height, width = maps.shape
    shown = min(channels, limit)
    pairs = min(4, shown)
    rows = -(-shown // pairs)
    which = (
        f"{shown} of {channels} feature maps" if shown < channels else f"{channels} feature map{'s' * (channels > 1)}"
    )
    tall = 1.15 * min(max(height / width, 0.5), 2.0)
    figure = new_figure(
        max(2 * 1.15 * pairs + 0.4, 5.5),
        (tall + 0.27) * rows + 1.35,
        f"{name}: {which} of {height} × {width}\nright of each, the gradient of the loss with respect to it",
    )
    parts = figure.add_gridspec(2, 2, height_ratios=[(tall + 0.27) * rows, 0.13])
    grid = parts[0, :].subgridspec(rows, 2 * pairs).subplots(squeeze=False)
    shown_values = maps[:shown][numpy.isfinite(maps[:shown])]
    low, high = shown_values.min(initial=0.0), shown_values.max(initial=0.0)
    scale = largest(gradients[:shown])
    for i in range(rows * pairs):
        left, right = grid[i // pairs, 2 * (i % pairs)], grid[i // pairs, 2 * (i % pairs) + 1]
        if i >= shown:
            left.axis("off")
            right.axis("off")
            continue
        drawn = show(left, maps[i], VALUES, vmin=float(low), vmax=float(high) or 1e-12)
        signed = show(right, gradients[i], SIGNED, limit=scale)
        left.set_title(f"map {i}", fontsize=8, pad=3)
        right.set_title("gradient", fontsize=8, pad=3)
    for column, (image, meaning) in enumerate(((drawn, "maps"), (signed, "gradients (white is 0)"))):
        bar = figure.colorbar(image, cax=figure.add_subplot(parts[1, column]), orientation="horizontal")
        bar.set_label(meaning, fontsize=8)
        bar.ax.tick_params(labelsize=8)
        bar.ax.ticklabel_format(style="sci", scilimits=(-2, 3), useMathText=True)
        bar.ax.xaxis.get_offset_text().set_fontsize(8)
    return figure
