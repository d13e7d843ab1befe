"""What the checks hand back: one result for each tensor, and a table of them that fits 100 columns."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

WIDTH = 100
Index = tuple[int, ...] | None


@dataclass(frozen=True)
class Result:
    """What came out for one tensor.

    error is the deviation in units of what is allowed: at most 1 passes, and inf is a fault that no number measures
    (a wrong shape, say), which `note` explains. index is where the deviation is largest.
    """

    name: str
    shape: tuple[int, ...]
    error: float
    index: Index = None
    note: str = ""

    @property
    def ok(self) -> bool:
        return self.error <= 1

    def cells(self) -> list[str]:
        raise NotImplementedError


R = TypeVar("R", bound=Result)


class Report(Generic[R]):
    """The results in order: iterate over them, or take one by name, `report["weight"]`."""

    header: Sequence[str]

    def __init__(self, subject: str, how: str, results: Sequence[R]) -> None:
        self.subject = subject
        self.how = how
        self.results = list(results)

    def __iter__(self) -> Iterator[R]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, name: str) -> R:
        for result in self.results:
            if result.name == name:
                return result
        raise KeyError(f"no result is called {name!r}; there are {', '.join(r.name for r in self.results)}")

    @property
    def ok(self) -> bool:
        """Whether every tensor passed, and there was one to check."""
        return bool(self.results) and all(result.ok for result in self.results)

    @property
    def worst(self) -> R | None:
        """The result with the largest error; None if nothing was checked."""
        return max(self.results, key=lambda result: result.error, default=None)

    def title(self) -> str:
        passed = sum(result.ok for result in self.results)
        verdict = f"{passed} of {len(self)} tensors agree" if self.results else "nothing to check"
        return f"{self.subject}: {verdict}\n{self.how}"

    def _text(self, results: Sequence[R]) -> str:
        lines = table(self.header, [["" if r.ok else "✗", *r.cells()] for r in results])
        notes = [r.note for r in results]
        body = [lines[0]]
        for line, note in zip(lines[1:], notes, strict=True):
            body.append(line)
            body += textwrap.wrap(note, WIDTH, initial_indent="    → ", subsequent_indent="      ")
        head = [piece for line in self.title().split("\n") for piece in textwrap.wrap(line, WIDTH)]
        return "\n".join([*head, *(body if results else [])])

    def __str__(self) -> str:
        return self._text(self.results)

    __repr__ = __str__

    def check(self) -> None:
        """Raise AssertionError with the failing rows of the table, unless everything passed."""
        if not self.ok:
            raise AssertionError(self._text([result for result in self.results if not result.ok]))


def title_of(module: object) -> str:
    """A layer's repr, a network's name."""
    text = repr(module)
    return text if len(text) < WIDTH // 2 and "\n" not in text else type(module).__name__


def numbers(a: float | None, b: float | None, ok: bool) -> tuple[str, str]:
    """Two values in 6 digits, or in as many as show a difference that matters."""
    if a is None or b is None:
        return "", ""
    texts = "", ""
    for digits in (6, 9, 12, 17):
        texts = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if ok or texts[0] != texts[1]:
            break
    return texts


def ratio(value: float) -> str:
    return "✗" if value == float("inf") else f"{value:.2g}"


def place(index: Index) -> str:
    return "" if index is None else "(" + ",".join(map(str, index)) + ")"


def size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of aligned columns: the names on the left, everything else to the right, long names cut at the front.

    The first cell of a row is its mark, which has no header. A column that is empty in every row is left out.
    """
    used = [i for i in range(len(header)) if i == 0 or any(row[i + 1] for row in rows)]
    head = ["", *(header[i] for i in used)]
    cells = [[row[0], *(row[i + 1] for i in used)] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    widths[0] = 1
    rest = sum(widths) - widths[1] + 2 * (len(widths) - 2) + 1
    widths[1] = min(widths[1], max(WIDTH - rest, 8))
    return [_line(row, widths) for row in [head, *cells]]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    mark, name, *rest = row
    if len(name) > widths[1]:
        name = "…" + name[-(widths[1] - 1) :]
    columns = [f"{cell:>{width}}" for cell, width in zip(rest, widths[2:], strict=True)]
    return "  ".join([f"{mark:1} {name:<{widths[1]}}", *columns]).rstrip()[:WIDTH]
