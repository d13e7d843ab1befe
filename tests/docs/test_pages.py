"""Every example of the documentation runs, in the order of its page, as it does when the pages are built."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
CELL = re.compile(r"^```\{code-cell\}.*?\n(.*?)^```$", re.M | re.S)
PAGES = sorted(path for path in DOCS.glob("l*/*.md") if "{code-cell}" in path.read_text(encoding="utf-8"))


def cells(page: Path) -> list[str]:
    """The code of a page's cells, without the options in front (":tags: […]") and IPython's own commands (%…)."""
    found = CELL.findall(page.read_text(encoding="utf-8"))
    return [re.sub(r"\A(:.*\n)+|^%.*$", "", code, flags=re.M) for code in found]


def test_the_pages_are_there():
    assert sum("learn" in page.parts for page in PAGES) == 8
    assert sum("layers" in page.parts for page in PAGES) >= 8
    for page in PAGES:
        assert len(cells(page)) == page.read_text(encoding="utf-8").count("```{code-cell}"), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_the_examples_run(page, tmp_path):
    """In a process of its own, as when the pages are built: a page may change what it likes."""
    script = tmp_path / f"{page.stem}.py"
    script.write_text("\n".join(f"# cell {number}\n{code}" for number, code in enumerate(cells(page), 1)), "utf-8")
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(DOCS.parent)}
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


def test_every_exercise_and_exhibit_that_a_chapter_names_exists():
    from scratchnet.study.exercises import EXERCISES
    from scratchnet.study.museum import EXHIBITS

    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "learn").glob("*.md"))
    checked = {int(number) for number in re.findall(r"exercise check (\d+)", text)}
    assert checked == set(range(1, len(EXERCISES) + 1))
    known = set(EXHIBITS)
    named = set(re.findall(r"museum (?:run|show) ([a-z][a-z0-9-]+)", text))
    assert len(named) >= 8
    assert named <= known, named - known


def test_every_op_has_a_page_with_its_source():
    """The page whose title names the op shows its forward and its backward pass."""
    from scratchnet.backend import FILES

    pages = {}
    for page in (DOCS / "layers").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        title = re.search(r"^# .*: (.*)$", text, re.M)
        shown = re.findall(r"^```\{literalinclude\} \.\./\.\./scratchnet/(\S+)\.py\n:pyobject: (\w+)$", text, re.M)
        for op in title[1].split(", ") if title else ():
            assert op not in pages, op
            pages[op] = set(shown)
    assert pages.keys() >= FILES.keys(), FILES.keys() - pages.keys()
    for op, file in FILES.items():
        assert {(f"ops/{file}", op), (f"ops/{file}", f"{op}_backward")} <= pages[op], op
    for optimizer in ("SGD", "RMSprop", "Adagrad", "Adam"):
        assert (f"optim/{optimizer.lower()}", f"{optimizer.lower()}_update") in pages[optimizer]


def test_every_derivation_is_in_the_table_of_contents():
    listed = (DOCS / "layers/index.md").read_text(encoding="utf-8").split("{toctree}")[1].split()
    for page in (DOCS / "layers").glob("*.md"):
        assert page.stem in {*listed, "index"}, page


def test_no_derivation_prints_the_none_of_check():
    for page in PAGES:
        assert not re.search(r"print\(.*\.check\(\)\)", "".join(cells(page))), page


def test_formulas_are_closed_by_what_opened_them():
    """$$ amid a paragraph becomes $…$ between two stray dollars, unless it starts a line after an empty one."""
    for page in DOCS.glob("l*/*.md"):
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False):
            assert not (before.endswith("*") and line.startswith("$$")), f"{page}: {line}"


def test_every_exhibit_that_a_derivation_names_exists():
    from scratchnet.study.museum import EXHIBITS

    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "layers").glob("*.md"))
    named = set(re.findall(r"^- `([a-z]+(?:-[a-z]+)+)`", text, re.M))
    assert len(named) >= 25
    assert named <= set(EXHIBITS), named - set(EXHIBITS)
