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
    from scratchnet.backend import FILES

    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "layers").glob("*.md"))
    shown = set(re.findall(r"^:pyobject: (\w+)$", text, re.M))
    named = {name for line in re.findall(r"^# .*", text, re.M) for name in re.findall(r"\w+", line)}
    assert named >= set(FILES)
    assert shown >= {f"{op}_backward" for op in FILES}


def test_every_exhibit_that_a_derivation_names_exists():
    from scratchnet.study.museum import EXHIBITS

    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "layers").glob("*.md"))
    named = set(re.findall(r"^- `([a-z]+(?:-[a-z]+)+)`", text, re.M))
    assert len(named) >= 25
    assert named <= set(EXHIBITS), named - set(EXHIBITS)
