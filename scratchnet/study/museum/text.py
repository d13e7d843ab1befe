"""Exhibits as text of at most 100 columns: the code with what differs marked, the story, what training says."""

import ast
import difflib
import inspect
import textwrap
from collections.abc import Callable, Iterator

from scratchnet.study.museum.curves import text_plot
from scratchnet.study.museum.exhibit import EXHIBITS, FAMILIES, Exhibit
from scratchnet.study.museum.training import Run
from scratchnet.study.report import WIDTH

CONTEXT = 3  # unchanged lines that are shown around a change


def catalogue() -> str:
    lines = []
    for family in FAMILIES:
        lines.append(f"\n{family}")
        lines += [f"  {e.name:<42} {e.title}" for e in EXHIBITS.values() if e.family == family]
    return "\n".join(lines).lstrip()


def code_lines(function: Callable) -> list[str]:
    """The source lines, without decorators and docstrings."""
    source = textwrap.dedent(inspect.getsource(function))
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    skipped = set(range(1, node.lineno))
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(inner) is not None:
            docstring = inner.body[0]
            skipped |= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return [line for number, line in enumerate(source.splitlines(), 1) if number not in skipped]


def difference(exhibit: Exhibit) -> Iterator[str]:
    """Both codes in one: ✗ marks a line that only the wrong one has, ✓ one that only the right one has."""
    wrong, right = code_lines(exhibit.wrong), code_lines(exhibit.right)
    wrong[0] = wrong[0].replace(exhibit.wrong.__name__, exhibit.right.__name__, 1)
    marked = [
        ({"-": "✗", "+": "✓"}.get(line[0], " "), line[2:])
        for line in difflib.ndiff(wrong, right)
        if not line.startswith("?")
    ]
    shown = {0}
    for i, (mark, _) in enumerate(marked):
        if mark != " ":
            shown |= set(range(i - CONTEXT, i + CONTEXT + 1))
    shown |= {i for i in range(len(marked)) if i - 1 in shown and i + 1 in shown}  # no … for a single line
    for i, (mark, line) in enumerate(marked):
        if i in shown:
            yield _fitting(f"  {mark} {line}".rstrip())
        elif i - 1 in shown:
            yield "    …"


def _fitting(line: str) -> str:
    """The line without its comment where that is too long."""
    return line if len(line) <= WIDTH else line.partition("  # ")[0][:WIDTH]


def wrapped(title: str, text: str) -> list[str]:
    return textwrap.wrap(f"{title}: {text}", WIDTH, subsequent_indent="  ", break_long_words=False)


def fitted(told: str) -> str:
    """The lines of a finding; one that is too long goes on in the next."""
    return "\n".join("\n".join(textwrap.wrap(line, WIDTH)) if len(line) > WIDTH else line for line in told.split("\n"))


def page(exhibit: Exhibit) -> str:
    """What `museum show` prints."""
    module = exhibit.right.__module__.replace(".", "/") + ".py"
    line = inspect.getsourcelines(exhibit.right)[1]
    where = f"{exhibit.right.__qualname__} in {module}:{line}"
    parts = [
        [exhibit.title, "─" * len(exhibit.title), f"{exhibit.name}, {exhibit.family}"],
        [f"✗ the mistake   ✓ instead: {where}", "", *difference(exhibit)],
        wrapped("Why it is written", exhibit.why),
        wrapped("What it does", exhibit.effect),
        wrapped("How to notice it", exhibit.notice),
        [f"Found by: {exhibit.check} on {exhibit.case!r}", f"Watch it: scratchnet museum run {exhibit.name}"],
    ]
    if exhibit.seen:
        parts.insert(5, [line for source in exhibit.seen for line in wrapped("Seen in", source)])
    return "\n\n".join("\n".join(part) for part in parts)


def result(run: Run) -> str:
    if run.error:
        return f"stopped at step {len(run.losses) + 1} by {run.error}"
    end = run.losses[-20:]
    return (
        f"loss {sum(end) / len(end):.3f} over the last {len(end)} steps; "
        f"test loss {run.test_loss:.3f}, test accuracy {run.test_accuracy:.1%}"
    )


def comparison(names: tuple[str, str], healthy: Run, wrong: Run, steps: int) -> str:
    """Two runs as a plot and a line each."""
    lines = []
    if wrong.losses:
        lines.append(text_plot({names[0]: healthy.losses, names[1]: wrong.losses}, steps))
    width = max(map(len, names))
    for name, run in zip(names, (healthy, wrong), strict=True):
        lines += textwrap.wrap(f"{name:<{width}}  {result(run)}", WIDTH, subsequent_indent=" " * (width + 2))
    if wrong.losses == healthy.losses:
        lines.append("Both losses are equal, step by step: training does not show this bug.")
    return "\n".join(lines)
