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
MISTAKE = "#b34700"  # vermilion, which also colour-blind readers tell from black; a ✗ stands beside it
DPI = 130


def new_figure(width: float, height: float, title: str = "") -> "Figure":
    """An empty figure of that many inches, or wider where the title needs it.

    Raises:
        RuntimeError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError(f"pictures need matplotlib ({error}): pip install 'scratchnet[plots]'") from None
    width = max(width, 0.09 * max(map(len, title.split("\n"))) + 0.2)
    figure = Figure(figsize=(width, height), dpi=DPI)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)  # inches around everything
    if title:
        figure.suptitle(plain(title), fontsize="medium")
    return figure


def plain(text: str) -> str:
    """The text as it is: matplotlib would read what stands between two dollar signs as a formula."""
    return text.replace("$", r"\$")


def short(name: str, length: int = 18) -> str:
    """The name of a class, cut where it would run into its neighbour's."""
    return name if len(name) <= length else name[: length - 1] + "…"


def percent(share: float) -> str:
    """A share as a percentage; 0% and 100% are said of none and of all alone."""
    if share in (0, 1):
        return f"{share:.0%}"
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    return f"{share:.1%}"


def largest(values: numpy.ndarray) -> float:
    """The largest absolute value, of those that are finite."""
    return float(numpy.abs(values[numpy.isfinite(values)]).max(initial=0.0))


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
    """Draw a matrix, or an RGB image (H, W, 3), as pixels without ticks. limit: the scale is −limit … limit. What is
    not finite stays blank."""
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
