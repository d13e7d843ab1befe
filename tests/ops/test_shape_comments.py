"""The comments in scratchnet/ops that say a shape say the right one: the code is run and each is compared.

A line such as `cols = cols.reshape(n, groups, k, p)  # (N, G, K, P)` is followed while the op runs, and what `cols`
then is must have that shape; so must the fields of the caches (`cols: Array  # (N, G, K, P)`). The letters have a value
in each case below, and no two axes that the comments of a case name have the same one; … stands for any number of axes.
"""

import ast
import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from scratchnet import ops

FOLDER = Path(ops.__file__).parent
COMMENT = re.compile(r"# \(([^)]*)\)")


class Line(NamedTuple):
    file: str
    number: int
    name: str  # of the variable that is assigned
    shape: str


def lines_of(path: Path, source: str) -> dict[int, Line]:
    """The assignments with a shape comment, by the number of the statement's first line."""
    text, found = source.splitlines(), {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign | ast.AugAssign):
            comment = COMMENT.search(text[node.end_lineno - 1])
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            target = target.elts[0] if isinstance(target, ast.Tuple) else target
            if comment and isinstance(target, ast.Name):
                found[node.lineno] = Line(path.name, node.lineno, target.id, comment[1])
    return found


def fields_of(path: Path) -> list[Line]:
    """The fields of the caches with a shape comment; `name` is Cache.field."""
    source = path.read_text(encoding="utf-8")
    text, found = source.splitlines(), []
    for owner in ast.walk(ast.parse(source)):
        for node in owner.body if isinstance(owner, ast.ClassDef) else ():
            comment = COMMENT.search(text[node.end_lineno - 1]) if isinstance(node, ast.AnnAssign) else None
            if comment:
                found.append(Line(path.name, node.lineno, f"{owner.name}.{node.target.id}", comment[1]))
    return found


FIELDS = [line for path in sorted(FOLDER.glob("*.py")) for line in fields_of(path)]
LINES = {str(path): lines_of(path, path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.py"))}


def fits(shape: tuple[int, ...], comment: str, letters: dict[str, int]) -> bool:
    axes = [axis.strip() for axis in comment.split(",") if axis.strip()]
    values = [None if a == "…" else eval(a.replace("·", "*").replace("/", "//"), {}, letters) for a in axes]
    if None not in values:
        return list(shape) == values
    at = values.index(None)
    before, after = values[:at], values[at + 1 :]
    rest = list(shape)[len(shape) - len(after) :]
    return len(shape) >= len(values) - 1 and list(shape[:at]) == before and rest == after


class Follower:
    """Looks at each assigned variable after its line has run."""

    def __init__(self, letters: dict[str, int], lines: dict[str, dict[int, Line]]) -> None:
        self.letters, self.lines = letters, lines
        self.compared: set[Line] = set()
        self.wrong: list[str] = []
        self._last: dict[int, int] = {}  # frame → the line that runs

    def __call__(self, frame, event, argument):
        known = self.lines.get(frame.f_code.co_filename)
        if known is None:
            return None
        before = self._last.get(id(frame))
        if event in ("line", "return") and before in known:
            self._compare(known[before], frame.f_locals)
        self._last[id(frame)] = frame.f_lineno if event == "line" else -1
        return self

    def _compare(self, line: Line, names: dict) -> None:
        value = names.get(line.name)
        if value is None or not hasattr(value, "shape"):
            return
        self.compared.add(line)
        if not fits(value.shape, line.shape, self.letters):
            self.wrong.append(
                f"{line.file}:{line.number}: {line.name} is {value.shape}, the comment says ({line.shape})"
            )


def follow(run, letters: dict[str, int], lines=LINES) -> Follower:
    follower = Follower(letters, lines)
    old = sys.gettrace()
    sys.settrace(follower)
    try:
        run()
    finally:
        sys.settrace(old)
    return follower


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def both(op, *arguments):
    """Run forward, then backward on a dy of y's shape. → the cache"""

    def run():
        y, cache = getattr(ops, op)(*arguments)
        y = y[0] if isinstance(y, tuple) else y
        getattr(ops, f"{op}_backward")(np.ones_like(y), cache)
        return cache

    return run


def images(n, c, h, w, **others):
    return {"N": n, "C": c, "H": h, "W": w, **others}


X = normal(3, 4, 12, 17)
IMAGES = images(3, 4, 12, 17)
POOL = images(3, 4, 12, 17, OH=7, OW=18, top=1, bottom=1, left=2, right=2)
# Groups of C/G = 3 and O/G = 7 channels; y of the transposed convolution is (N, 14, 24, 37) inside its padding
CONV = images(5, 6, 25, 31, O=14, G=2, KH=4, KW=11, PH=1, PW=4, OH=12, OW=29, K=3 * 4 * 11, P=12 * 29)
TRANSPOSED = images(5, 6, 12, 19, O=14, G=2, KH=4, KW=11, PH=1, PW=4, OH=24, OW=21, K=7 * 4 * 11, P=12 * 19)
CLASSES = {"N": 3, "C": 5}
TARGET = np.array([[0, 4, 2, 1, 3, 0, 1]] * 3)
CASES = {
    "conv2d": (both("conv2d", normal(5, 6, 25, 31), normal(14, 3, 4, 11), normal(14), (2, 1), (1, 4), 1, 2), CONV),
    "conv_transpose2d": (
        both("conv_transpose2d", normal(5, 6, 12, 19), normal(6, 7, 4, 11), normal(14), (2, 1), (1, 4), 0, 2, 1),
        TRANSPOSED,
    ),
    "max_pool2d": (both("max_pool2d", X, (2, 4), (2, 1), (1, 2)), POOL),
    "avg_pool2d": (both("avg_pool2d", X, (2, 4), (2, 1), (1, 2)), POOL),
    "batch_norm": (both("batch_norm", X, normal(4), normal(4), None, None, True, 0.1, 1e-5), IMAGES),
    "linear": (both("linear", normal(3, 5), normal(7, 5), normal(7)), {"N": 3, "I": 5, "O": 7}),
    "cross_entropy": (both("cross_entropy", normal(3, 5, 7), TARGET), CLASSES),
    "cross_entropy of probabilities": (both("cross_entropy", normal(3, 5, 7), abs(normal(3, 5, 7))), CLASSES),
    "nll_loss": (both("nll_loss", normal(3, 5, 7), TARGET, normal(5)), CLASSES),
    "dropout": (both("dropout", X, 0.5, (0, 0), 0), IMAGES),
    "softmax": (both("softmax", X, 1), IMAGES),
}


def wrong_fields(run, letters: dict[str, int], fields=FIELDS) -> tuple[set[Line], list[str]]:
    """The fields of the cache that were compared, and those whose comment is wrong."""
    cache = run()
    own = [line for line in fields if line.name.startswith(f"{type(cache).__name__}.")]
    shapes = {line: getattr(cache, line.name.split(".")[1]).shape for line in own}
    wrong = [f"{line.name} is {shapes[line]}" for line in own if not fits(shapes[line], line.shape, letters)]
    return set(own), wrong


@pytest.mark.parametrize("case", CASES)
def test_the_comments_are_true(case):
    assert follow(*CASES[case]).wrong == []
    assert wrong_fields(*CASES[case])[1] == []


def test_every_comment_is_compared():
    compared = set().union(*(follow(*case).compared for case in CASES.values()))
    compared |= set().union(*(wrong_fields(*case)[0] for case in CASES.values()))
    known = {line for lines in LINES.values() for line in lines.values()} | set(FIELDS)
    assert compared == known, known - compared
    written = sum(len(COMMENT.findall(path.read_text(encoding="utf-8"))) for path in FOLDER.glob("*.py"))
    assert len(known) == written  # no comment stands where nobody looks
    assert written >= 61


@pytest.mark.parametrize(
    "wrong", ["N, G, P, K", "N, G, K", "N, O, OH, OW, P", "…, K", "N, G, K + 1, P", "N, C/G, K, P", "O/G, G, K, P"]
)
def test_a_wrong_comment_is_seen(wrong):
    file, line = next((f, x) for f, of in LINES.items() for x in of.values() if (x.file, x.name) == ("conv.py", "cols"))
    found = follow(*CASES["conv2d"], {file: {line.number: line._replace(shape=wrong)}})
    assert len(found.wrong) == 1
    assert wrong in found.wrong[0]
    field = next(x for x in FIELDS if x.name == "Conv2dCache.cols")._replace(shape=wrong)
    assert len(wrong_fields(*CASES["conv2d"], [field])[1]) == 1


@pytest.mark.parametrize("case", CASES)
def test_no_two_axes_of_a_case_are_alike(case):
    run, letters = CASES[case]
    lines = follow(run, letters).compared | wrong_fields(run, letters)[0]
    axes = {axis.strip() for line in lines for axis in line.shape.split(",")} - {"", "…", "1"} | {"H", "W"} & {*letters}
    values = [eval(axis.replace("·", "*").replace("/", "//"), {}, letters) for axis in sorted(axes)]
    assert len(set(values)) == len(values), dict(zip(sorted(axes), values, strict=True))
