"""The ratios as a picture for the README."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.tables import Row


def ratio_chart(rows: Sequence[Row], path: Path, caption: str) -> None:
    """A group of bars for each system, one bar for each number of threads; 1 is PyTorch at its best."""
    from matplotlib.figure import Figure

    subjects = list(dict.fromkeys(row.subject for row in rows))
    threads = sorted({row.threads for row in rows})
    figure = Figure(figsize=(max(5.0, 0.9 * len(subjects) + 2), 4), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(threads)
    for i, count in enumerate(threads):
        ratios = {row.subject: row.ratio for row in rows if row.threads == count and row.ratio is not None}
        places = [j + (i - (len(threads) - 1) / 2) * width for j, name in enumerate(subjects) if name in ratios]
        values = [ratios[name] for name in subjects if name in ratios]
        bars = axes.bar(places, values, 0.95 * width, label=f"{count} thread{'s' if count > 1 else ''}")
        axes.bar_label(bars, [f"{value:.1f}" for value in values], fontsize="small")
    axes.margins(y=0.2)
    axes.axhline(1, color="black", linewidth=1)
    axes.set_xticks(range(len(subjects)), subjects)
    axes.set_ylabel("times as fast as PyTorch")
    axes.set_xlabel(caption, fontsize="small")
    axes.legend()
    figure.savefig(path, dpi=150)
