"""What all pictures share: a figure without a screen, axes without ticks, colours, and writing to a file."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VALUES = "viridis"  # for values of any range
SIGNED = "RdBu_r"  # for gradients and weights: white is 0, red positive, blue negative
STRENGTH = "magma"  # for absolute values: black is 0
DPI = 130


def new_figure(width: float, height: float, title: str = "") -> "Figure":
    """An empty figure of that many inches.

    Raises:
        RuntimeError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError(f"pictures need matplotlib ({error}): pip install 'scratchnet[plots]'") from None
    figure = Figure(figsize=(width, height), dpi=DPI)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)  # inches around everything
    if title:
        figure.suptitle(title, fontsize="medium")
    return figure


def save(figure: "Figure", path: str | os.PathLike[str]) -> Path:
    """Write a figure; the suffix says the format (.png, .svg, .pdf). The file is there as a whole or not at all."""
    from scratchnet.training.checkpoint import write_atomically

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    figure.savefig(data, format=path.suffix.removeprefix(".") or "png")
    write_atomically(path, data.getvalue())
    return path


def show(
    axes: "Axes", values: numpy.ndarray, cmap: str | None = None, limit: float | None = None, **options: Any
) -> Any:
    """Draw a matrix, or an RGB image (H, W, 3), as pixels without ticks. limit: the scale is −limit … limit."""
    if limit is not None:
        options |= {"vmin": -limit or -1e-12, "vmax": limit or 1e-12}
    axes.set_xticks([])
    axes.set_yticks([])
    return axes.imshow(values, cmap=cmap, interpolation="nearest", **options)


def as_picture(image: numpy.ndarray) -> tuple[numpy.ndarray, str | None]:
    """uint8 (C, H, W) → what imshow takes, and its colour map."""
    if image.shape[0] == 3:
        return image.transpose(1, 2, 0), None
    return image[0], "gray"
