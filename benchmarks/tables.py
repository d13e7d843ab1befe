"""From workers' results to rows, ratios and tables."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.environment import FOREIGN_CORES
from benchmarks.systems import GEOMETRIC_MEAN


@dataclass(frozen=True)
class Row:
    """One subject at one number of threads; times in milliseconds, medians over the rounds."""

    subject: str
    threads: int
    torch_variant: str | None
    torch_ms: float | None
    ours_ms: float
    im2col_ms: float | None
    lowest_ratio: float | None  # of single rounds
    highest_ratio: float | None
    fallbacks: tuple[str, ...] = ()
    variants: tuple[tuple[str, float], ...] = ()

    @property
    def ratio(self) -> float | None:
        """Times as fast as the best of torch's variants."""
        return None if self.torch_ms is None else self.torch_ms / self.ours_ms


def rows_of(results: Sequence[dict[str, Any]], ours: str = "numba") -> list[Row]:
    """One row for each subject and number of threads that was timed in our variant."""
    keys = dict.fromkeys((r["subject"], r["threads"]) for r in results if r["variant"] == ours)
    return [_row(*key, [r for r in results if (r["subject"], r["threads"]) == key], ours) for key in keys]


def _row(subject: str, threads: int, results: Sequence[dict[str, Any]], ours: str) -> Row:
    times: dict[tuple[str, str], list[float]] = {}
    rounds: dict[tuple[int, str], list[float]] = {}
    for r in results:
        times.setdefault((r["framework"], r["variant"]), []).append(r["median_ms"])
        if r["framework"] == "torch" or r["variant"] == ours:
            rounds.setdefault((r["round"], r["framework"]), []).append(r["median_ms"])
    medians = {key: statistics.median(values) for key, values in times.items()}
    opponents = {variant: ms for (framework, variant), ms in medians.items() if framework == "torch"}
    best = min(opponents, key=lambda variant: opponents[variant]) if opponents else None
    ratios = [
        min(values) / rounds[number, "scratchnet"][0]
        for (number, framework), values in rounds.items()
        if framework == "torch" and (number, "scratchnet") in rounds
    ]
    return Row(
        subject,
        threads,
        best,
        None if best is None else opponents[best],
        medians["scratchnet", ours],
        medians.get(("scratchnet", "im2col")),
        min(ratios, default=None),
        max(ratios, default=None),
        tuple(sorted({op for r in results if r["variant"] == ours for op in r["fallbacks"]})),
        tuple(sorted(opponents.items(), key=lambda item: item[1])),
    )


def geometric_mean(values: Iterable[float]) -> float:
    values = list(values)
    if not values or min(values) <= 0:
        raise ValueError(f"geometric mean: expected positive numbers, got {values}")
    return math.exp(sum(map(math.log, values)) / len(values))


def mean_ratio(rows: Sequence[Row], threads: int) -> float | None:
    """The geometric mean of the seven training rows' ratios; None unless all seven are there."""
    ratios = {row.subject: row.ratio for row in rows if row.threads == threads and row.ratio is not None}
    if any(subject not in ratios for subject in GEOMETRIC_MEAN):
        return None
    return geometric_mean(ratios[subject] for subject in GEOMETRIC_MEAN)


def disturbed(results: Sequence[dict[str, Any]]) -> str | None:
    """How many workers shared the machine with other work, in words."""
    shares = [r["foreign_cores"] for r in results if r.get("foreign_cores") is not None]
    bad = [share for share in shares if share > FOREIGN_CORES]
    if not bad:
        return None
    return (
        f"DISTURBED: other processes ran beside {len(bad)} of {len(shares)} workers (up to {max(bad):.2f} cores): "
        "these figures are not to be trusted"
    )


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned so that it reads as plain text too; the first column left, the others right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for first, *rest in (header, rule, *rows):
        cells = [f"{first:<{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(rest, widths[1:], strict=True))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def time_table(rows: Sequence[Row], what: dict[str, str]) -> str:
    """One line for each row: the best of torch, ours, the ratio, im2col."""
    header = [
        "",
        "threads",
        "PyTorch ms",
        "its best variant",
        "ours ms",
        "times as fast",
        "in single rounds",
        "im2col ms",
    ]
    cells = [
        [
            f"{row.subject}: {what[row.subject]}" if row.subject in what else row.subject,
            str(row.threads),
            _number(row.torch_ms),
            row.torch_variant or "none ran",
            _number(row.ours_ms) + ("*" if row.fallbacks else ""),
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.lowest_ratio is None else f"{row.lowest_ratio:.2f}–{row.highest_ratio:.2f}",
            _number(row.im2col_ms),
        ]
        for row in rows
    ]
    return markdown(header, cells)


def fallback_notes(rows: Sequence[Row]) -> list[str]:
    notes = {row.subject: ", ".join(row.fallbacks) for row in rows if row.fallbacks}
    return [f"\\* {subject}: {ops} ran im2col's code" for subject, ops in notes.items()]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"
