"""What the sections of the page of a training step are written with."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from scratchnet.ops.shape import Array
from scratchnet.study import _layout as layout
from scratchnet.study._step_path import Path, Sum, find_path, spelled_sums
from scratchnet.study.step import CLASSES, Step

Source = tuple[Callable, str]  # a line of code: its function, and how the line starts

TAPS = [f"{u},{v}" for u in range(3) for v in range(3)]
WINDOWS = [f"{i},{j}" for i in range(4) for j in range(4)]
POOLED = [f"{c},{i},{j}" for c in range(2) for i in range(2) for j in range(2)]


def section(title: str, source: list[Source], *parts: str | list[str]) -> list[str]:
    """A title, the lines of code, then paragraphs (strings) and blocks (lists of lines) with blank lines between."""
    blocks = [layout.quote(*source)] if source else []
    blocks += [layout.paragraph(part) if isinstance(part, str) else part for part in parts]
    return [title, *(layout.MARGIN + line for line in layout.stacked(block for block in blocks if block))]


class Sheet(NamedTuple):
    """A step, how many decimals to show of it, and what is spelled out."""

    step: Step
    digits: int
    path: Path
    sums: dict[str, Sum]
    y: dict[str, Array]  # activations and their gradients, without the batch axis
    dy: dict[str, Array]

    @classmethod
    def of(cls, step: Step, digits: int) -> "Sheet":
        path = find_path(step)
        y = {name: a[0] for name, a in step.activations.items()}
        dy = {name: a[0] for name, a in step.activation_gradients.items()}
        return cls(step, digits, path, spelled_sums(step, path), y, dy)

    def spell(self, key: str, per_line: int = 6) -> list[str]:
        return layout.spelled(*self.sums[key], self.digits, per_line)

    def plain(self, value: float) -> str:
        return layout.plain(float(value), self.digits)

    def cells(self, a: Array, marks: dict | None = None) -> list[list[str]]:
        return layout.cells(a, self.digits, marks)

    def row(self, a: Array) -> list[str]:
        return self.cells(a[None])[0]

    def column(self, a: Array) -> list[str]:
        return [text for (text,) in self.cells(a[:, None])]

    def grids(
        self, titles: list[str], maps: Array, marks: list[dict] | None = None, windows: bool = False
    ) -> list[list[str]]:
        """Each map of (C, H, W) under its title, with marks of its own; windows rules 4×4 maps into four."""
        text = layout.rows_of(maps, self.digits, marks)
        return [*map(partial(layout.grid, quarters=windows), text, titles)]

    def maps(self, name: str, a: Array, marks: list[dict] | None = None, windows: bool = False) -> list[str]:
        """The two channels of a feature map side by side."""
        return layout.beside(*self.grids([f"{name}[0]", f"{name}[1]"], a, marks, windows))

    def image(self, corner: str, a: Array) -> list[str]:
        """A 6×6 image with its rows and columns numbered."""
        return layout.table([corner, *"012345"], [[str(i), *row] for i, row in enumerate(self.cells(a))])

    def classes(self, columns: dict[str, Array]) -> list[str]:
        """One row for each class, the truth marked."""
        drawn = self.step.image == "digit"
        labels = [f"{o} ({name})" if drawn else str(o) for o, name in enumerate(CLASSES)]
        arrows = ["← t" if o == self.step.target else "" for o in range(len(CLASSES))]
        text = [labels, *map(self.column, columns.values()), arrows]
        header = ["class (digit)" if drawn else "class", *columns, ""]
        return layout.table(header, [list(row) for row in zip(*text, strict=True)])
