"""The chapters for learners: their parts, their exercises, the commands and figures that they quote.

That their cells run is tested with those of all pages, in test_pages.py.
"""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from scratchnet import recipes
from scratchnet.study.exercises import CHAPTERS, EXERCISES
from scratchnet.study.museum import EXHIBITS

ROOT = Path(__file__).parents[2]
LEARN = ROOT / "docs" / "learn"
TEXT = {page.stem: page.read_text(encoding="utf-8") for page in sorted(LEARN.glob("*.md"))}
PAGES = [stem for stem in TEXT if stem != "index"]

FOLDED = re.compile(r"<details>\n<summary>(.+?)</summary>\n\n(.*?)\n</details>", re.S)
QUOTED = re.compile(r"^```sh\n(.*?)^```|`(python -m [^`]+)`", re.M | re.S)
PLACEHOLDERS = {"NAME": "softmax-twice"}


class Parsed(BaseException):
    """Stops a command when its arguments have been parsed."""


def commands(text: str) -> list[str]:
    lines = "\n".join(block or inline.replace("\n", " ") for block, inline in QUOTED.findall(text)).splitlines()
    return [line for line in lines if line.startswith("python ")]


def options(line: str, monkeypatch) -> argparse.Namespace:
    """What the command's own parser makes of the arguments; the command itself does not run."""
    python, flag, module, *arguments = (PLACEHOLDERS.get(word, word) for word in shlex.split(line))
    assert (python, flag) == ("python", "-m")
    parse = argparse.ArgumentParser.parse_args

    def parse_only(self, *args, **kwargs):
        raise Parsed(parse(self, *args, **kwargs))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    with pytest.raises(Parsed) as stop:
        importlib.import_module(module).main(arguments)
    return stop.value.args[0]


def numbers(text: str) -> set[int]:
    """The exercises that "[Exercises 8, 9 and 10](" names."""
    return {int(n) for words in re.findall(r"\[Exercises? ([\d, and]+)\]", text) for n in re.findall(r"\d+", words)}


def of_chapter(chapter: int) -> dict[int, str]:
    """number → module, as `exercise list` has them"""
    return {n: exercise.module for n, exercise in enumerate(EXERCISES, 1) if exercise.chapter == chapter}


def test_eight_chapters_and_an_index():
    assert [stem[:3] for stem in PAGES] == [f"0{n}-" for n in range(1, 9)]
    assert re.findall(r"^(0\d-\S+)$", TEXT["index"], re.M) == PAGES  # the toctree


@pytest.mark.parametrize("stem", PAGES)
def test_a_chapter_predicts_runs_breaks_and_writes(stem):
    text = TEXT[stem]
    assert [text.count(f"## {part} it\n") for part in ("Run", "Break", "Write")] == [1, 1, 1]
    run, broken, written = (text.index(f"## {part} it\n") for part in ("Run", "Break", "Write"))
    assert run < broken < written
    assert "{code-cell}" in text[broken:written]
    # every question is followed by its folded answer before the next one is asked
    asked = text.split("**Predict.**")[1:]
    assert len(asked) >= 2
    assert all(part.count("<summary>Answer</summary>") == 1 for part in asked)
    assert text.count("<details>") == text.count("</details>") == len(FOLDED.findall(text))


@pytest.mark.parametrize("stem", PAGES)
def test_a_chapter_has_the_exercises_of_the_list_and_hides_their_solutions(stem):
    text, chapter = TEXT[stem], int(stem[:2])
    modules = of_chapter(chapter)
    assert numbers(text) == set(modules)
    folded = {title: body for title, body in FOLDED.findall(text) if title.startswith("Solution")}
    if not modules:
        assert list(folded) == ["Solution"]
        assert "{code-cell}" in folded["Solution"]
        return
    assert list(folded) == [f"Solution of exercise {n}" for n in modules]
    for n, module in modules.items():
        source = re.fullmatch(
            r"```\{literalinclude\} (\S+)\n:language: python\n:start-at: (def \w+)\n```\n",
            folded[f"Solution of exercise {n}"],
        )
        assert source, n
        file = (LEARN / source[1]).resolve()
        assert file == ROOT / "scratchnet" / "study" / "exercises" / "solutions" / f"{module}.py"
        code = file.read_text(encoding="utf-8")
        assert re.search(r"^def \w+", code, re.M)[0] == source[2]  # nothing of the solution is left out
    visible = FOLDED.sub("", text)
    assert "literalinclude" not in visible
    for n, module in modules.items():
        assert f"python -m scratchnet.exercise start {n} {module}.py\n" in visible
        assert f"python -m scratchnet.exercise check {n} {module}.py\n" in visible


def test_every_exercise_has_its_chapter():
    assert set().union(*map(numbers, TEXT.values())) == set(range(1, len(EXERCISES) + 1))
    for chapter, title in enumerate(CHAPTERS, 1):
        assert f"# {chapter}. {title}\n" in TEXT[PAGES[chapter - 1]]


@pytest.mark.parametrize("stem", PAGES)
def test_the_index_names_a_chapter_as_it_names_itself(stem):
    heading = re.search(r"^# (.+)$", TEXT[stem], re.M)[1]
    row = re.search(rf"^\| \[{re.escape(heading)}\]\({stem}\.md\) \| .+ \| (.+) \| .+ \|$", TEXT["index"], re.M)
    assert row, heading
    assert {int(n) for n in re.findall(r"\d+", row[1])} == set(of_chapter(int(stem[:2])))


@pytest.mark.parametrize(("stem", "line"), [(stem, line) for stem, text in TEXT.items() for line in commands(text)])
def test_a_quoted_command_parses(stem, line, monkeypatch):
    found = options(line, monkeypatch)
    if "scratchnet.museum" in line and "name" in found:
        assert found.name in EXHIBITS
    if "scratchnet.exercise" in line and "number" in found:
        assert found.number <= len(EXERCISES)
    if "scratchnet.train" in line:
        recipes.find(found.dataset, found.model, found.recipe)


def test_the_commands_are_found():
    every = [line for text in TEXT.values() for line in commands(text)]
    assert len(every) == sum(text.count("python -m scratchnet.") for text in TEXT.values()) >= 60


def test_a_quoted_accuracy_stands_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    quoted = re.findall(r"\d+\.\d+ %", TEXT["08-cifar10"])
    assert quoted == ["76.61 %", "94.69 %"]
    row = next(line for line in readme.splitlines() if line.startswith("| `train cifar10` |"))
    assert all(figure in row for figure in quoted)


@pytest.mark.parametrize("stem", list(TEXT))
def test_a_named_file_of_the_sources_exists(stem):
    for name in re.findall(r"`(scratchnet/[\w/]+\.py)`", TEXT[stem]):
        assert (ROOT / name).is_file(), name
