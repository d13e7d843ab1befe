"""A page as text of at most 100 columns."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy

from scratchnet.ops.shape import Array
from scratchnet.study import _layout as layout
from scratchnet.study.explain.page import Beside, Block, Equation, Numbers, Page, Part, Source, Sum

ROOM = layout.WIDTH - len(layout.MARGIN)


def decimals(values: Array, digits: int) -> int:
    """How many decimals show the values, 0 for whole numbers and at most `digits`."""
    finite = values[numpy.isfinite(values)]
    for d in range(digits):
        if (abs(finite - finite.round(d)) <= 1e-14 * abs(finite).clip(1)).all():
            return d
    return digits


def number(value: float, d: int) -> str:
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "NaN")
    if abs(value) >= 1e9:
        return f"{value:.0f}" if d == 0 else f"{value:.{d}e}"
    text = f"{value:.{d}f}"
    if float(text) == 0:
        return text.lstrip("-") if value and d else "0" + " " * (d + 1 if d else 0)
    return text


def plain(value: float, digits: int) -> str:
    """One value within a sum; a small one such as 1e-08 keeps its first digits."""
    text = number(value, decimals(numpy.asarray(value), digits)).strip()
    if abs(value) < 1e-12:  # 0, or 0 but for rounding
        return text
    return f"{value:.2g}" if value and abs(value) < 0.5 * 10 ** (1 - digits) else text


def cells(values: Array, digits: int, marks: frozenset = frozenset()) -> Array:
    """The numbers of an array as strings of one width, in its shape; marked ones stand in [ ]."""
    d = decimals(values, digits)
    text: Any = numpy.empty(values.shape, object)
    for index in numpy.ndindex(values.shape):
        text[index] = number(float(values[index]), d)
        if marks:
            core = text[index].rstrip()
            blanks = text[index][len(core) :]
            text[index] = f"[{core}]{blanks}" if index in marks else f" {core} {blanks}"
    width = max(map(len, text.flat), default=0)
    for index in numpy.ndindex(values.shape):
        text[index] = text[index].rjust(width)
    return text


def spelled(part: Sum | Equation, digits: int) -> list[str]:
    """name = 3·1 − 2·(−1) + … = result, broken before a sign where the page ends."""
    result = plain(part.result, digits)
    if isinstance(part, Equation):
        filled = part.formula.format(**{key: _factor(value, digits) for key, value in part.values.items()})
        return textwrap.wrap(
            f"{part.name} = {filled} = {result}", ROOM, subsequent_indent="    ", break_on_hyphens=False
        )
    terms = [(term[0] < 0, _product(term, digits)) for term in part.terms]
    words = [
        ("−" if negative else "") + text if i == 0 else ("− " if negative else "+ ") + text
        for i, (negative, text) in enumerate(terms)
    ] or ["0"]
    if part.divisor is not None and (len(words) > 1 or words[0].startswith("−")):
        words[0], words[-1] = f"({words[0]}", f"{words[-1]})"
    if part.divisor is not None:
        words[-1] += f" / {plain(part.divisor, digits)}"
    indent = " " * (len(part.name) + 3)
    lines = [f"{part.name} ="]
    alone = len(part.terms) == 1 and len(part.terms[0]) == 1 and part.divisor is None
    for word in words if alone else [*words, f"= {result}"]:
        if len(lines[-1]) + 1 + len(word) > ROOM:
            lines.append(indent + word)
        else:
            lines[-1] += " " + word
    return lines


def _factor(value: float, digits: int) -> str:
    text = plain(value, digits)
    return f"({text.replace('-', '−')})" if text.startswith("-") else text


def _product(term: Sequence[float], digits: int) -> str:
    """The factors, without the sign of the first: it stands before the term."""
    return "·".join([plain(abs(term[0]), digits), *(_factor(value, digits) for value in term[1:])])


def draw(part: Numbers, digits: int) -> list[str]:
    """An array under its name and shape: a matrix with its labels, or maps of it side by side."""
    values, title = part.values, f"{part.name}   {part.shape}"
    if values.ndim == 0:
        return [f"{part.name} = {plain(float(values), digits)}"]
    if values.size == 0:
        return [title, "(empty)"]
    text = cells(values, digits, part.marks)
    if values.ndim == 1:
        text = text[None]
    if part.rows or part.columns:
        return [title, *_labelled(part, text)]
    if values.ndim <= 2:
        return [title, *_grid(text)]
    maps = [[f"{part.name}[{','.join(map(str, i))}]", *_grid(text[i])] for i in numpy.ndindex(text.shape[:-2])]
    if len(maps) == 1 and values.ndim > 2:
        return [title, *maps[0][1:]]
    return [title, *in_rows(maps)]


def in_rows(blocks: list[list[str]], gap: int = 4) -> list[str]:
    """Blocks side by side, as many as there is room for, and the rest below."""
    rows: list[list[list[str]]] = [[]]
    for block in blocks:
        width = sum(max(map(len, b)) + gap for b in [*rows[-1], block]) - gap
        if rows[-1] and width > ROOM:
            rows.append([])
        rows[-1].append(block)
    return layout.stacked(layout.beside(*row, gap=gap) for row in rows)


def _grid(text: Array) -> list[str]:
    lines = ["  ".join(row) for row in text]
    if max(map(len, lines), default=0) <= ROOM:
        return lines
    header = ["", *map(str, range(text.shape[1]))]
    return layout.table(header, [[str(i), *row] for i, row in enumerate(text)])


def _labelled(part: Numbers, text: Array) -> list[str]:
    rows = list(part.rows) or ([""] if part.values.ndim == 1 else [str(i) for i in range(len(text))])
    columns = list(part.columns) or [str(j) for j in range(text.shape[-1])]
    body = text if text.ndim == 2 else text.reshape(len(rows), -1)
    if part.marks:
        columns = [f"{name} " for name in columns]
    return layout.table([part.corner, *columns], [[label, *row] for label, row in zip(rows, body, strict=True)])


def quoted(sources: Sequence[Source]) -> list[str]:
    """`file:line   code`, or the code below its place where the page is too narrow."""
    places = [f"{s.file}:{s.line}" for s in sources]
    width = max(map(len, places)) + 3
    codes = [_uncommented(s.code, ROOM - width) for s in sources]
    if max(map(len, codes)) <= ROOM - width:
        return [place.ljust(width) + code for place, code in zip(places, codes, strict=True)]
    below = ROOM - 2 * len(layout.MARGIN)
    lines = []
    for place, s in zip(places, sources, strict=True):
        wrapped = textwrap.wrap(_uncommented(s.code, below), below, subsequent_indent=layout.MARGIN)
        lines += [place, *(layout.MARGIN + line for line in wrapped)]
    return lines


def _uncommented(code: str, room: int) -> str:
    """The line without its comment if it is too long with it."""
    return code if len(code) <= room else code.partition("  # ")[0]


def _part(part: Part, digits: int) -> list[str]:
    if isinstance(part, str):
        return textwrap.wrap(part, ROOM)
    if isinstance(part, Numbers):
        return draw(part, digits)
    if isinstance(part, Beside):
        return in_rows([draw(numbers, digits) for numbers in part.numbers])
    return spelled(part, digits)


def _fitted(line: str) -> list[str]:
    """A line that keeps its blanks if it fits, and is wrapped if it does not."""
    return [line] if len(line) <= ROOM else textwrap.wrap(line, ROOM, subsequent_indent=layout.MARGIN)


def _block(number: int, block: Block, digits: int) -> list[str]:
    parts = [[line for row in block.formula.split("\n") for line in _fitted(row)]] if block.formula else []
    parts += [quoted(block.sources)] if block.sources else []
    parts += [_part(part, digits) for part in block.parts]
    return [f"{number}. {block.title}", *(layout.MARGIN + line for line in layout.stacked(parts))]


def called(page: Page) -> str:
    """The command that makes the page again."""
    words = ["explain", *(["concept"] if page.kind == "concept" else []), page.name]
    for name, value in page.options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words.append(f"{flag} {'x'.join(map(str, value)) if isinstance(value, tuple | list) else value}")
    return " ".join(words)


def text(page: Page, digits: int = 4) -> str:
    head = [
        page.title.upper(),
        *textwrap.wrap(
            called(page),
            ROOM,
            initial_indent=layout.MARGIN,
            subsequent_indent=layout.MARGIN * 2,
            break_on_hyphens=False,
        ),
        "",
        *textwrap.wrap(page.introduction, ROOM, initial_indent=layout.MARGIN, subsequent_indent=layout.MARGIN),
    ]
    blocks = [_block(i, block, digits) for i, block in enumerate(page.blocks, 1)]
    return "\n\n".join("\n".join(line.rstrip() for line in lines) for lines in [head, *blocks])
