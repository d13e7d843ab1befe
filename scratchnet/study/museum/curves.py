"""Loss curves as text, and as a picture."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

WIDTH, HEIGHT = 72, 14
MARKS = "·×"
BOTH = "◆"


def smoothed(losses: Sequence[float], points: int) -> list[float]:
    """Means of `points` equal stretches; a stretch with a loss that is not finite is inf."""
    points = min(points, len(losses))
    edges = [i * len(losses) // points for i in range(points + 1)]
    parts = [losses[a:b] for a, b in pairwise(edges)]
    return [sum(part) / len(part) if all(map(math.isfinite, part)) else math.inf for part in parts]


def text_plot(curves: Mapping[str, Sequence[float]], steps: int) -> str:
    """Two curves over the same steps; a value above the frame, or none at all, stands in its top row as ↑.

    The frame ends at three times the first curve's largest value, so that a loss that explodes leaves it visible.
    """
    shown = {name: smoothed(losses, max(1, WIDTH * len(losses) // steps)) for name, losses in curves.items()}
    first = next(iter(shown.values()))
    finite = [value for values in shown.values() for value in values if value <= 3 * max(first)]
    top = max(finite)
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    for mark, values in zip(MARKS, shown.values(), strict=False):
        for column, value in enumerate(values):
            inside = value <= top
            row = round((1 - value / top) * (HEIGHT - 1)) if inside else 0
            free = grid[row][column] == " "
            grid[row][column] = (mark if free else BOTH) if inside else "↑"
    lines = [f"{top * (1 - row / (HEIGHT - 1)):7.2f} ┤{''.join(cells).rstrip()}" for row, cells in enumerate(grid)]
    legend = "   ".join(f"{mark} {name}" for mark, name in zip(MARKS, shown, strict=False))
    axis = f"{'':8}└{'─' * WIDTH}"
    return "\n".join([f"{'loss':>7}   {legend}   {BOTH} both", *lines, axis, f"{'step 1':>15}{steps:>{WIDTH - 7}}"])


def save_plot(curves: Mapping[str, Sequence[float]], title: str, path: str) -> None:
    """The same as a picture: .png, .svg or .pdf."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError(f"--plot needs matplotlib ({error}): pip install scratchnet[plots]") from None
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, losses in curves.items():
        axes.plot(range(1, len(losses) + 1), losses, label=name, linewidth=1)
    first = [value for value in next(iter(curves.values())) if math.isfinite(value)]
    axes.set(xlabel="step", ylabel="loss", title=title, ylim=(0, 3 * max(first)))
    axes.legend()
    try:
        figure.savefig(path)
    except ValueError as error:
        raise RuntimeError(f"--plot: {error}") from None
