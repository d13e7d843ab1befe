"""The ladder as a bar chart."""

from pathlib import Path

from scratchnet.study.ladder import Ladder


def plot(ladder: Ladder, path: str | Path) -> None:
    """Write forward and backward time of every rung, on a logarithmic scale; the file's ending says the format."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError(f"--plot needs matplotlib ({error}): pip install matplotlib") from None
    names = [step.rung + (" ≈" if step.scale != 1 else "") for step in ladder]
    figure = Figure(figsize=(7, 1.2 + 0.6 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for offset, label in ((-0.2, "forward"), (0.2, "backward")):
        values = [1e3 * getattr(step, label) for step in ladder]
        bars = axes.barh([i + offset for i in range(len(names))], values, height=0.38, label=label)
        axes.bar_label(bars, [f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" for value in values], padding=3)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds, logarithmic")
    axes.set_title(f"{ladder.op} ({ladder.where}), {ladder.dtype}, threads: {ladder.threads}", fontsize="medium")
    axes.legend()
    figure.savefig(path, dpi=150)
