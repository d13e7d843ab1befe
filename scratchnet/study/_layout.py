"""Numbers as text: aligned matrices, blocks side by side, sums spelled out, and lines of source code quoted."""

import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy

from scratchnet.ops.shape import Array

WIDTH = 100
MARGIN = "   "
_ROOT = Path(__file__).resolve().parents[2]


def decimals(values: Array, digits: int) -> int:
    """How many decimals show the values: fewer than `digits` where they are exact, such as 0.3 as 0.3."""
    values = numpy.asarray(values)
    for d in range(1, digits):
        if (abs(values - values.round(d)) <= 1e-14 * abs(values).clip(1)).all():
            return d
    return digits


def number(value: float, d: int) -> str:
    """The value with d decimals; an exact zero is a bare 0 in its column, so that what is zero stands out."""
    if value == 0:
        return "0" + " " * (d + 1)
    if abs(value) >= 1e7:
        return f"{value:.{d}e}"
    text = f"{value:.{d}f}"
    return text.lstrip("-") if float(text) == 0 else text


def plain(value: float, digits: int) -> str:
    """One value within a sentence or a sum; a small one such as a learning rate of 1e-05 keeps its first digits."""
    text = number(value, decimals(value, digits)).rstrip()
    return f"{value:.2g}" if float(text) == 0 and abs(value) > 1e-12 else text


def cells(a: Array, digits: int, marks: Mapping[tuple[int, int], str] | None = None) -> list[list[str]]:
    """A matrix as text, all of one width; marks such as {(0, 1): "[]"} put brackets around single numbers."""
    d = decimals(a, digits)
    text = [[number(float(value), d) for value in row] for row in a]
    width = max(len(t) for row in text for t in row)
    if marks is None:
        return [[t.rjust(width) for t in row] for row in text]
    return [[_marked(t, width, marks.get((i, j), "  ")) for j, t in enumerate(row)] for i, row in enumerate(text)]


def _marked(text: str, width: int, mark: str) -> str:
    """Brackets hug the number: the blanks of a bare 0 stay outside."""
    core = text.rstrip()
    return (mark[0] + core + mark[1] + " " * (len(text) - len(core))).rjust(width + 2)


def rows_of(maps: Array, digits: int, marks: Sequence[Mapping] | None = None) -> list[list[list[str]]]:
    """`cells` of each map of (C, H, W), all with the same decimals and width."""
    c, h, _ = maps.shape
    joined = None if marks is None else {(n * h + i, j): m for n, of in enumerate(marks) for (i, j), m in of.items()}
    text = cells(maps.reshape(c * h, -1), digits, joined)
    return [text[n * h : (n + 1) * h] for n in range(c)]


def grid(rows: list[list[str]], title: str = "", quarters: bool = False) -> list[str]:
    """The rows of a matrix under a title; with quarters a 4 × 4 map is ruled into four 2 × 2 windows."""
    if not quarters:
        lines = ["  ".join(row) for row in rows]
    else:
        lines = [f"{' '.join(row[:2])} │ {' '.join(row[2:])}" for row in rows]
        half = "─" * (len(" ".join(rows[0][:2])) + 1)
        lines.insert(2, f"{half}┼{half}")
    return [title, *lines] if title else lines


def table(header: Sequence[str], rows: list[list[str]]) -> list[str]:
    """Columns under a header, the first one being labels; columns that the page is too narrow for go below."""
    all_rows = [list(header), *rows]
    widths = [max(len(row[i]) for row in all_rows) for i in range(len(header))]
    blocks: list[list[int]] = [[]]
    for i in range(1, len(header)):
        used = len(MARGIN) + widths[0] + sum(widths[j] + 2 for j in blocks[-1])
        if used + widths[i] + 2 > WIDTH:
            blocks.append([])
        blocks[-1].append(i)
    return stacked(
        [row[0].ljust(widths[0]) + "".join("  " + row[i].rjust(widths[i]) for i in block) for row in all_rows]
        for block in blocks
    )


def stacked(blocks: Iterable[list[str]]) -> list[str]:
    """Blocks one below the other, with blank lines between."""
    return [line for i, block in enumerate(blocks) for line in ([""] if i else []) + block]


def beside(*blocks: list[str], gap: int = 4) -> list[str]:
    """Blocks side by side, or one below the other where that is too wide."""
    widths = [max(map(len, block)) for block in blocks]
    if len(MARGIN) + sum(widths) + gap * (len(blocks) - 1) > WIDTH:
        return stacked(blocks)
    rows = zip_longest(*blocks, fillvalue="")
    return [(" " * gap).join(line.ljust(width) for line, width in zip(row, widths, strict=True)) for row in rows]


def spelled(name: str, terms: list[tuple[float, ...]], result: float, digits: int, per_line: int = 6) -> list[str]:
    """A sum term by term: name = 0.3·1.0 - 0.2·(-0.5) + … = result."""
    texts = [(_sign(term), _product(term, digits)) for term in terms]
    while texts:
        lines = _sum_lines(name, texts, plain(result, digits), per_line)
        if per_line == 1 or max(map(len, lines)) + len(MARGIN) <= WIDTH:
            return lines
        per_line -= 1
    return [f"{name} = 0"]


def _sign(term: tuple[float, ...]) -> str:
    return "-" if term[0] < 0 else "+"


def _product(term: tuple[float, ...], digits: int) -> str:
    """The factors, without the sign of the first: it stands before the term."""
    first, *others = (plain(factor, digits) for factor in term)
    return "·".join([first.lstrip("-"), *(f"({text})" if text.startswith("-") else text for text in others)])


def _sum_lines(name: str, texts: list[tuple[str, str]], result: str, per_line: int) -> list[str]:
    """The sum on one line, or its terms one below the other in lines of `per_line`."""
    if len(texts) <= per_line:
        (sign, first), *others = texts
        terms = " ".join([first if sign == "+" else f"-{first}", *(f"{s} {text}" for s, text in others)])
        return [f"{name} = {terms} = {result}"]
    width = max(len(text) for _, text in texts)
    parts = [f"{sign} {text:<{width}}" for sign, text in texts]
    if texts[0][0] == "+":
        parts[0] = " " + parts[0][1:]
    rows = [" ".join(parts[at : at + per_line]) for at in range(0, len(parts), per_line)]
    indent = " " * len(name)
    return [f"{name} = {rows[0]}", *(f"{indent}   {row}" for row in rows[1:]), f"{indent} = {result}"]


def find(function: Callable, fragment: str) -> tuple[str, int, str]:
    """(file, line number, code) of the line of a function that starts with the fragment.

    Where no line does, because somebody is working on the function, it is the line that defines it.
    """
    lines, start = inspect.getsourcelines(function)
    matches = [i for i, line in enumerate(lines) if line.strip().startswith(fragment)] or [0]
    file = Path(inspect.getsourcefile(function) or "").resolve()
    file = file.relative_to(_ROOT) if file.is_relative_to(_ROOT) else file
    return file.as_posix(), start + matches[0], lines[matches[0]].strip()


def quote(*lines: tuple[Callable, str]) -> list[str]:
    """`file:line   code` of each line, or the code below its place where the page is too narrow."""
    found = [(f"{file}:{line}", code) for file, line, code in (find(*each) for each in lines)]
    width = max(len(place) for place, _ in found) + 3
    beside_room, below_room = WIDTH - len(MARGIN) - width, WIDTH - 2 * len(MARGIN)
    if all(len(_uncommented(code, beside_room)) <= beside_room for _, code in found):
        return [place.ljust(width) + _uncommented(code, beside_room) for place, code in found]
    return [line for place, code in found for line in (place, MARGIN + _uncommented(code, below_room))]


def _uncommented(code: str, room: int) -> str:
    """The line without its comment if it is too long with it."""
    return code if len(code) <= room else code.partition("  # ")[0]


def paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - len(MARGIN))
