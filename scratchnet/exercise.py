"""python -m scratchnet.exercise list: backward passes to write yourself, judged by gradcheck, by ops and by the museum.

show N prints the task, start N FILE writes a file to fill in, check N FILE judges it, solution N gives up.
"""

import argparse
import json
import sys
import textwrap
from pathlib import Path

from scratchnet import _cli
from scratchnet.study.exercises import CHAPTERS, EXERCISES, Exercise, Judgement, judge
from scratchnet.study.report import WIDTH

PROG = "python -m scratchnet.exercise"


def command(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="all exercises")
    listing.add_argument("--json", action="store_true", help="print it for programs")
    for name, purpose in (("show", "the task"), ("start", "write a file to fill in"), ("check", "judge a file")):
        sub = commands.add_parser(name, help=purpose)
        sub.add_argument("number", type=_cli.positive_int, metavar="N")
        if name != "show":
            sub.add_argument("file", type=Path, metavar="FILE")
        if name == "start":
            sub.add_argument("--force", action="store_true", help="overwrite the file")
        if name == "check":
            sub.add_argument("--json", action="store_true", help="print it for programs")
    commands.add_parser("solution", help="give up").add_argument("number", type=_cli.positive_int, metavar="N")
    options = parser.parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    return _COMMANDS[options.command](options)


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


def _exercise(number: int) -> Exercise:
    if number > len(EXERCISES):
        raise _cli.UsageError(f"expected an exercise from 1 to {len(EXERCISES)}, got {number}")
    return EXERCISES[number - 1]


def _list(options: argparse.Namespace) -> int:
    if options.json:
        rows = [
            {"number": n, "chapter": e.chapter, "title": e.title, "functions": list(e.functions)}
            for n, e in enumerate(EXERCISES, 1)
        ]
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return 0
    for chapter, title in enumerate(CHAPTERS, 1):
        print(f"Chapter {chapter}. {title}")
        for n, exercise in enumerate(EXERCISES, 1):
            if exercise.chapter == chapter:
                print(f"  {n:>2}  {exercise.title}")
    print(
        "\nscratchnet exercise start N FILE     write a file to fill in\nscratchnet exercise check N FILE     judge it"
    )
    return 0


def _show(options: argparse.Namespace) -> int:
    exercise = _exercise(options.number)
    title, _, text = exercise.text.partition("\n")
    print(f"Exercise {options.number}. {title}\nChapter {exercise.chapter}: {CHAPTERS[exercise.chapter - 1]}\n")
    for paragraph in text.strip().split("\n\n"):
        print(
            paragraph if paragraph.startswith("    ") else textwrap.fill(" ".join(paragraph.split()), WIDTH), end="\n\n"
        )
    for name in exercise.functions:
        print(f"{name}{exercise.signature(name)}\n    {exercise.returns(name)}")
    return 0


def _start(options: argparse.Namespace) -> int:
    exercise = _exercise(options.number)
    if options.file.exists() and not options.force:
        raise ValueError(f"{options.file}: there is such a file already; --force overwrites it")
    options.file.write_text(exercise.skeleton(), encoding="utf-8")
    print(f"{options.file}: write {', '.join(exercise.functions)}, then")
    print(f"scratchnet exercise check {options.number} {options.file}")
    return 0


def _check(options: argparse.Namespace) -> int:
    exercise = _exercise(options.number)
    if not options.file.is_file():
        raise _cli.UsageError(f"{options.file}: expected a Python file, got no such file")
    judgement = judge(exercise, options.file.resolve())
    if options.json:
        print(json.dumps({"ok": judgement.ok, **vars(judgement)}, ensure_ascii=False, indent=1))
    else:
        _print(judgement)
    return 0 if judgement.ok else 1


def _print(judgement: Judgement) -> None:
    for line in judgement.passed:
        print(f"✓ {line}")
    if judgement.ok:
        print("\nAll right: the numbers are those of scratchnet's own op.")
        return
    print("\n".join(textwrap.wrap(f"✗ {judgement.problem}", WIDTH, subsequent_indent="  ")))
    for advice in judgement.advice:
        print("\n".join(textwrap.wrap(advice, WIDTH, initial_indent="  → ", subsequent_indent="    ")))
    if judgement.report:
        print(f"\n{judgement.report}")


def _solution(options: argparse.Namespace) -> int:
    print(_exercise(options.number).solution, end="")
    return 0


_COMMANDS = {"list": _list, "show": _show, "start": _start, "check": _check, "solution": _solution}


if __name__ == "__main__":
    sys.exit(main())
