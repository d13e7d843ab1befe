"""python -m scratchnet.museum list: real mistakes of from-scratch libraries, to look at, to run and to hunt.

show NAME prints the wrong code beside the right and its story, run NAME trains with the bug, and quiz hides one.
"""

import argparse
import json
import math
import secrets
import sys
from typing import Any

from scratchnet import _cli
from scratchnet.study import museum
from scratchnet.study.museum import quiz, text
from scratchnet.study.museum.curves import save_plot
from scratchnet.study.museum.exhibit import Exhibit
from scratchnet.study.museum.training import Run

PROG = "python -m scratchnet.museum"
DOES_NOT_APPLY = "no layer computes anything wrong, so neither gradcheck nor parity of a layer can see it"


def command(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(dest="command", required=True)

    listing = commands.add_parser("list", help="all exhibits")
    listing.set_defaults(run=_list)

    show = commands.add_parser("show", help="the wrong code beside the right, and its story")
    show.add_argument("name")
    show.set_defaults(run=_show)

    run = commands.add_parser("run", help="train with the bug, and let the checks loose on it")
    run.add_argument("name")
    run.add_argument("--plot", metavar="FILE", help="write the curves to a .png, .svg or .pdf (needs matplotlib)")
    run.set_defaults(run=_run)

    play = commands.add_parser("quiz", help="find a hidden bug", description="One bug, or none, is hidden: find it.")
    play.add_argument("--check", choices=[*quiz.TOOLS, "curve"], help="a tool; --layer says what to point it at")
    play.add_argument("--layer", metavar="NAME", help="a layer or what else the tool takes")
    play.add_argument("--answer", metavar="EXHIBIT", help=f"the name of an exhibit, or {quiz.HEALTHY_NAME}")
    play.add_argument("--reveal", action="store_true", help="give up")
    play.set_defaults(run=_quiz)

    for training in (run, play):
        training.add_argument("--steps", type=_cli.positive_int, default=200, help="of training (default: 200)")
        training.add_argument("--seed", type=_cli.non_negative_int, help="of the training, or of the quiz")
    for sub in (listing, show, run):
        sub.add_argument("--json", action="store_true", help="print it for programs")
    options = parser.parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    return options.run(options)


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


def _exhibit(name: str) -> Exhibit:
    if name not in museum.EXHIBITS:
        raise _cli.UsageError(f"expected the name of an exhibit (see scratchnet museum list), got {name!r}")
    return museum.EXHIBITS[name]


def _as_json(exhibit: Exhibit) -> dict[str, Any]:
    fields = ("name", "title", "family", "check", "case", "why", "effect", "notice")
    return {field: getattr(exhibit, field) for field in fields} | {"seen": list(exhibit.seen)}


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))


def _list(options: argparse.Namespace) -> int:
    if options.json:
        _print_json([_as_json(exhibit) for exhibit in museum.EXHIBITS.values()])
    else:
        print(f"{text.catalogue()}\n\n{len(museum.EXHIBITS)} exhibits; museum show NAME, museum run NAME, museum quiz")
    return 0


def _show(options: argparse.Namespace) -> int:
    exhibit = _exhibit(options.name)
    if options.json:
        _print_json(_as_json(exhibit) | {"code": list(text.difference(exhibit))})
    else:
        print(text.page(exhibit))
    return 0


def _run(options: argparse.Namespace) -> int:
    exhibit = _exhibit(options.name)
    findings = _findings(exhibit)
    settings = exhibit.network, exhibit.optimizer, options.steps, options.seed or 0
    healthy, wrong = museum.train(museum.HEALTHY, *settings), museum.train(exhibit.bug, *settings)
    if options.plot:
        save_plot({"healthy": healthy.losses, exhibit.name: wrong.losses}, exhibit.title, options.plot)
    if options.json:
        _print_json(
            _as_json(exhibit)
            | {"findings": {name: {"ok": f.ok, "text": f.text} for name, f in findings.items()}}
            | {"healthy": _run_json(healthy), "wrong": _run_json(wrong)}
        )
        return 0
    print(f"{exhibit.title}\n\nThe museum's network ({exhibit.network}) on MNIST with {exhibit.optimizer}:\n")
    print(text.comparison(("healthy", exhibit.name), healthy, wrong, options.steps))
    print("\nWhat the checks say\n")
    if exhibit.case not in museum.CASES:
        print("\n".join(text.wrapped("gradcheck, parity", DOES_NOT_APPLY)) + "\n")
    for name, finding in findings.items():
        verdict = {True: "passes", False: "finds it", None: "cannot judge"}[finding.ok]
        print(f"{name} on {exhibit.case!r}: {verdict}\n{text.fitted(finding.text)}\n")
    if findings.get("gradcheck") and findings["gradcheck"].ok:
        print("gradcheck cannot see this: the backward pass is the derivative of what the forward pass computes.\n")
    print("\n".join(text.wrapped("How to notice it", exhibit.notice)))
    return 0


def _findings(exhibit: Exhibit) -> dict[str, museum.Finding]:
    names = ("gradcheck", "parity") if exhibit.case in museum.CASES else ()
    return {name: museum.run_check(name, exhibit.bug, exhibit.case) for name in dict.fromkeys((*names, exhibit.check))}


def _run_json(run: Run) -> dict[str, Any]:
    """A loss that is not finite is null: JSON has no NaN."""
    numbers = {"test_loss": run.test_loss, "test_accuracy": run.test_accuracy}
    clean = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
    losses = [loss if math.isfinite(loss) else None for loss in run.losses]
    return {"losses": losses, **clean, "error": run.error or None}


def _quiz(options: argparse.Namespace) -> int:
    asked = [name for name in ("check", "answer", "reveal") if getattr(options, name)]
    if len(asked) > 1:
        raise _cli.UsageError(f"expected one of --check, --answer and --reveal, got {' and '.join(asked)}")
    if options.layer and not options.check:
        raise _cli.UsageError("--layer: it says what a tool is pointed at: give --check too")
    if asked and options.seed is None:
        raise _cli.UsageError(f"--{asked[0]}: expected --seed too, the number of the quiz")
    if options.answer:
        return _answer(options.seed, options.answer)
    if options.reveal:
        exhibit = quiz.exhibit_of(options.seed)
        print(text.page(exhibit) if exhibit else "There is no bug: the network is healthy.")
        return 0
    if options.check:
        _tool(options.seed, options.check, options.layer, options.steps)
    else:
        _open_quiz(secrets.randbelow(10_000) if options.seed is None else options.seed)
    return 0


def _open_quiz(seed: int) -> None:
    quizzed = f"scratchnet museum quiz --seed {seed}"
    everything = len(quiz.PARTS)
    print(f"Quiz {seed}: a bug is hidden in this network, in its training or in its data. Or there is none.\n")
    print("A tool takes a small layer like that of the network, in float64. Other mistakes need other tools.\n")
    print("layers: " + ", ".join(quiz.PARTS) + "\n\ntools, and what --layer they take:")
    tools = {check: "any layer" if len(p) == everything else ", ".join(p) for check, p in quiz.TOOLS.items()}
    tools["curve"] = f"{tools['optimizer']}: train with it, with and without the bug"
    for check, takes in tools.items():
        name = f'"{check}"' if " " in check else check
        print(f"  --check {name:<18} {takes}")
    print(f"\nlook:    {quizzed} --check gradcheck --layer conv1")
    print(f"answer:  {quizzed} --answer NAME     a name of museum list, or {quiz.HEALTHY_NAME}")
    print(f"give up: {quizzed} --reveal")


def _tool(seed: int, check: str, part: str | None, steps: int) -> None:
    parts = quiz.TOOLS["optimizer" if check == "curve" else check]
    part = part or (parts[0] if len(parts) == 1 or check == "curve" else None)
    if part not in parts:
        raise _cli.UsageError(f"--layer: {check} expects one of {', '.join(parts)}, got {part!r}")
    if check == "curve":
        healthy = museum.train(museum.HEALTHY, "cnn", part, steps)
        wrong = museum.train(quiz.bug_of(seed), "cnn", part, steps)
        print(text.comparison(("healthy", f"quiz {seed}"), healthy, wrong, steps))
        return
    for case, finding in quiz.examine(seed, check, part):
        verdict = {True: "passes", False: "✗ fails", None: "cannot judge"}[finding.ok]
        print(f"{check}, {case}: {verdict}\n{text.fitted(finding.text)}\n")


def _answer(seed: int, answer: str) -> int:
    if answer not in quiz.candidates():
        raise _cli.UsageError(
            f"--answer: expected {quiz.HEALTHY_NAME} or an exhibit that lives in this network, got {answer!r}"
        )
    if answer != quiz.hidden(seed):
        guess = museum.EXHIBITS.get(answer)
        tip = f"that one fails {guess.check} on {guess.case!r}" if guess else "something here is wrong"
        print(f"No, it is not {answer}: {tip}.")
        return 1
    print(f"Yes, it is {answer}.")
    exhibit = quiz.exhibit_of(seed)
    if exhibit:
        print(f"\n{text.page(exhibit)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
