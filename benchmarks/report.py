"""What all drivers share: their options, the refusal on a busy machine, and the files they write."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import environment

RESULTS = Path(__file__).parent / "results"


def parser_for(name: str, description: str | None, rounds: int, seconds: float) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--threads", type=whole_numbers, default=[1, 2], help="comma-separated (default: 1,2)")
    parser.add_argument("--rounds", type=int, default=rounds, help="of all workers in turn (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=seconds, help="of timing in a worker (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short round, no torch.compile: to see that it works")
    parser.add_argument("--force", action="store_true", help="run though the machine is busy")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for the results (default: results)")
    return parser


def whole_numbers(text: str) -> list[int]:
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or min(values) < 1:
        raise argparse.ArgumentTypeError(f"expected numbers ≥ 1, comma-separated, got {text!r}")
    return values


def chosen(text: str | None, names: Sequence[str], what: str) -> list[str]:
    """Names out of a comma-separated list; None is all of them. A wrong one ends the program."""
    wanted = list(names) if text is None else text.split(",")
    unknown = [name for name in wanted if name not in names]
    if unknown:
        sys.exit(f"error: {what}: expected some of {', '.join(names)}, got {', '.join(unknown)}")
    return wanted


def refuse_if_busy(force: bool) -> list[str]:
    """End the program on a busy machine; with force, the warning that belongs beside the figures."""
    problem = environment.disturbance()
    if problem is None:
        return []
    if not force:
        sys.exit(f"error: {problem}")
    print(f"WARNING: {problem}", file=sys.stderr, flush=True)
    return ["MEASURED ON A BUSY MACHINE (--force): these figures are not to be trusted"]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def write(name: str, folder: Path, text: str, data: Any) -> None:
    """NAME.md and NAME.json; the text is printed too."""
    facts = environment.describe()
    page = "\n".join([text, "", *(f"- {key}: {value}" for key, value in facts.items() if key != "unset"), ""])
    print(page)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(page, encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps({"environment": facts, **data}, indent=1) + "\n", encoding="utf-8")
