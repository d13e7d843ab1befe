"""A page as data: blocks of a title, a formula, lines of source, and parts. Text, HTML and JSON are made of it."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy

from scratchnet.ops.shape import Array
from scratchnet.study import _layout as layout

MOST = 640  # numbers in one array: about what a reader can take in, and a few screens


class TooLargeError(ValueError):
    """What was asked for is too large to print."""


class Source(NamedTuple):
    """A line of the library's code. fragment is what it was looked up by: how it starts."""

    file: str
    line: int
    code: str
    fragment: str


def source(function: Callable, fragment: str) -> Source:
    return Source(*layout.find(inspect.unwrap(function), fragment), fragment)  # modules wrap their backward


class Numbers(NamedTuple):
    """An array with its name. rows and columns label a matrix; marks are the index tuples to be highlighted."""

    name: str
    values: Array
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    corner: str = ""
    marks: frozenset[tuple[int, ...]] = frozenset()

    @property
    def shape(self) -> str:
        return "×".join(map(str, self.values.shape)) or "one number"


class Beside(NamedTuple):
    """Arrays side by side, where there is room."""

    numbers: Sequence[Numbers]


class Sum(NamedTuple):
    """One number as what it is made of: (Σ of products of factors) / divisor."""

    name: str
    terms: Sequence[tuple[float, ...]]
    result: float
    divisor: float | None = None

    def value(self) -> float:
        return math.fsum(math.prod(term) for term in self.terms) / (1 if self.divisor is None else self.divisor)


class Equation(NamedTuple):
    """One number by a formula that is no plain sum, such as "√({var} + {eps})"; values fill the braces."""

    name: str
    formula: str
    values: Mapping[str, float]
    result: float


Part = str | Numbers | Beside | Sum | Equation


class Block(NamedTuple):
    title: str
    formula: str  # lines of it; "" for none
    sources: Sequence[Source]
    parts: Sequence[Part]


class Page(NamedTuple):
    """Everything about one op, optimizer or concept. options are what it was made with, and how to call it again."""

    name: str
    kind: str  # "op", "optimizer" or "concept"
    title: str
    options: dict[str, Any]
    introduction: str
    blocks: Sequence[Block]

    def numbers(self) -> dict[str, Array]:
        """Every array of the page by name; of one shown twice, the first."""
        found: dict[str, Array] = {}
        for block in self.blocks:
            for numbers in arrays_of(block):
                found.setdefault(numbers.name, numbers.values)
        return found

    def sums(self) -> list[Sum | Equation]:
        return [part for block in self.blocks for part in block.parts if isinstance(part, Sum | Equation)]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "title": self.title,
            "options": self.options,
            "introduction": self.introduction,
            "blocks": [
                {
                    "title": block.title,
                    "formula": block.formula,
                    "source": [{"file": s.file, "line": s.line, "code": s.code} for s in block.sources],
                    "text": [part for part in block.parts if isinstance(part, str)],
                    "arrays": {numbers.name: as_list(numbers.values) for numbers in arrays_of(block)},
                    "sums": [_sum_as_json(part) for part in block.parts if isinstance(part, Sum | Equation)],
                }
                for block in self.blocks
            ],
        }


def arrays_of(block: Block) -> list[Numbers]:
    found: list[Numbers] = []
    for part in block.parts:
        found += [part] if isinstance(part, Numbers) else part.numbers if isinstance(part, Beside) else []
    return found


def as_list(values: Array) -> Any:
    """Nested lists. JSON knows no infinity and no NaN: these become strings that float() reads."""
    if values.ndim:
        return [as_list(value) for value in values]
    value = values.item()
    return value if math.isfinite(value) else str(value)


def _sum_as_json(part: Sum | Equation) -> dict[str, Any]:
    if isinstance(part, Sum):
        return {
            "name": part.name,
            "terms": [list(t) for t in part.terms],
            "divisor": part.divisor,
            "result": part.result,
        }
    return {"name": part.name, "formula": part.formula, "values": dict(part.values), "result": part.result}


def numbers(name: str, values: Any, **labels: Any) -> Numbers:
    """`Numbers`, unless they are too many to print."""
    values = numpy.asarray(values)
    if values.size > MOST:
        shape = "×".join(map(str, values.shape))
        raise TooLargeError(
            f"explain: {name} would be {shape}, {values.size:,} numbers; a page shows at most {MOST} in one array. "
            "Take a smaller --input or kernel"
        )
    return Numbers(name, values, **labels)


def number_sum(name: str, terms: Any, result: Any, divisor: Any = None) -> Sum:
    """`Sum` of Python floats."""
    plain = [tuple(float(factor) for factor in term) for term in terms]
    return Sum(name, plain, float(result), None if divisor is None else float(divisor))


def equation(name: str, formula: str, result: Any, **values: Any) -> Equation:
    return Equation(name, formula, {key: float(value) for key, value in values.items()}, float(result))


def at(name: str, *index: Any) -> str:
    """at("y", 0, 1) → "y[0,1]"."""
    return f"{name}[{','.join(str(int(i)) for i in index)}]"


def counted(number: int, thing: str) -> str:
    """counted(2, "row") → "2 rows"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def parts(*items: Part) -> list[Part]:
    """A list of parts of different kinds, for a part of a block that is not always there."""
    return list(items)
