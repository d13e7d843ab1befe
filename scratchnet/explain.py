"""python -m scratchnet.explain conv2d: the whole story of one op, optimizer or concept, with real small numbers."""

import argparse
import inspect
import json
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from scratchnet import _cli
from scratchnet.functional.conv import PADDING_MODES
from scratchnet.functional.loss import REDUCTIONS
from scratchnet.study import explain as study


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's usage and message."""
        raise _cli.UsageError(message)


def shape(text: str) -> tuple[int, ...]:
    """1x1x4x4 → (1, 1, 4, 4)"""
    try:
        sizes = tuple(int(part) for part in text.replace("×", "x").lower().split("x"))
    except ValueError:
        sizes = (0,)
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"expected sizes ≥ 1 joined by x, such as 1x1x4x4, got {text!r}")
    return sizes


def window(text: str) -> int | tuple[int, int]:
    """3, or 3x2 for height and width"""
    try:
        sizes = tuple(_cli.non_negative_int(part) for part in text.replace("×", "x").lower().split("x"))
    except argparse.ArgumentTypeError:
        sizes = ()
    if len(sizes) not in (1, 2):
        raise argparse.ArgumentTypeError(f"expected a number such as 3, or height x width such as 3x2, got {text!r}")
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def padding(text: str) -> int | tuple[int, int] | str:
    return text if text in ("same", "valid") else window(text)


def pads(text: str) -> tuple[int, ...]:
    """1x1x0x0: left, right, top, bottom"""
    try:
        sizes = tuple(_cli.non_negative_int(part) for part in text.replace("×", "x").lower().split("x"))
    except argparse.ArgumentTypeError:
        sizes = ()
    if len(sizes) != 4:
        raise argparse.ArgumentTypeError(f"expected left x right x top x bottom, such as 1x1x1x1, got {text!r}")
    return sizes


def number(text: str) -> float:
    return _cli._number(float, text, "a finite number", lambda value: abs(value) < float("inf"))


def whole(text: str) -> int:
    return _cli._number(int, text, "a whole number", lambda value: True)


HELP = {
    "input": "shape of the input, such as {}",
    "kernel": "size of the window, 3 or 3x2",
    "padding": "a number, or same, or valid",
    "output": "size of the output, 2 or 3x2",
    "pads": "left x right x top x bottom",
    "seed": "of the numbers chosen",
    "p": "probability of dropping",
    "steps": "how many steps are shown",
    "ties": "an input with equal pixels in its windows",
    "exclude_pad": "count_include_pad=False: the padding does not count",
    "eval": "as in evaluation, by the running statistics",
}
CHOICES = {"mode": PADDING_MODES, "reduction": REDUCTIONS, "approximate": ("none", "tanh")}
KINDS: dict[str, Callable] = {
    "input": shape, "padding": padding, "pads": pads, "seed": _cli.non_negative_int, "stream": _cli.non_negative_int,
    "call": _cli.non_negative_int, "start_dim": whole, "end_dim": whole, "dim": whole, "divisor_override": whole,
}  # fmt: skip


def _add_options(parser: argparse.ArgumentParser, write: Callable) -> None:
    """The keyword arguments of the function that writes the page, as flags."""
    hints = typing.get_type_hints(write)
    for name, parameter in inspect.signature(write).parameters.items():
        flag, default, hint = f"--{name.replace('_', '-')}", parameter.default, hints[name]
        flags = ["-p", "--p"] if name == "p" else [flag]
        shown = "x".join(map(str, default)) if isinstance(default, tuple) else default
        text = HELP.get(name, "").format(shown)
        if hint is bool:
            parser.add_argument(*flags, action="store_true", help=text)
            continue
        note = "" if default is None else f"(default: {shown})"
        kind = KINDS.get(name) or (number if hint is float else _cli.positive_int if hint is int else window)
        if name in CHOICES:
            kind = str
        metavar = None if name in CHOICES else "SHAPE" if name == "input" else "N"
        parser.add_argument(
            *flags,
            dest=name,
            type=kind,
            default=default,
            choices=CHOICES.get(name),
            metavar=metavar,
            help=f"{text} {note}",
        )


def _parser(name: str, concept: bool, write: Callable) -> argparse.ArgumentParser:
    words = f"concept {name}" if concept else name
    parser = _Parser(prog=f"python -m scratchnet.explain {words}", description=write.__doc__, allow_abbrev=False)
    _add_options(parser, write)
    parser.add_argument("--digits", type=_digits, default=4, help="decimals, 1 to 10 (default: 4)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page as HTML instead of printing it")
    parser.add_argument("--json", action="store_true", help="print every number by name, for programs")
    return parser


def _digits(text: str) -> int:
    return _cli._number(int, text, "1 to 10 decimals", lambda value: 1 <= value <= 10)


def listing() -> str:
    lines = []
    for title, group in (("ops", study.OPS), ("optimizers", study.OPTIMIZERS), ("concepts", study.CONCEPTS)):
        lines += [title, *(f"  {name:<20} {write.__doc__}" for name, write in group.items()), ""]
    lines += ["explain NAME, or explain concept NAME where an op has that name too; --help behind it lists options."]
    return "\n".join(lines)


def command(argv: list[str] | None = None) -> None:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Σ shows a ? and no traceback
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: python -m scratchnet.explain NAME [options]\n\n{__doc__.partition(': ')[2]}\n\n{listing()}")
        return
    if arguments == ["--list"]:
        print(listing())
        return
    concept = arguments[0] == "concept"
    if concept:
        arguments.pop(0)
    if not arguments or arguments[0].startswith("-"):
        raise _cli.UsageError("expected the name of an op, optimizer or concept first; --list shows them")
    name = arguments.pop(0).replace("-", "_")
    try:
        write = study.writer(name, concept)
        options = vars(_parser(name, concept, write).parse_args(arguments))
        digits, file, as_json = (options.pop(key) for key in ("digits", "html", "json"))
        page = study.explain(name, concept, **options)
    except (ValueError, TypeError) as error:  # the op's own checks tell what does not fit
        raise _cli.UsageError(error) from None
    _show(page, digits, file, as_json)


def _show(page: Any, digits: int, file: Path | None, as_json: bool) -> None:
    if file is not None:
        file.write_text(study.html(page, digits), encoding="utf-8")
    if as_json:
        print(json.dumps(page.as_json(), allow_nan=False))
    elif file is None:
        print(study.text(page, digits))
    else:
        print(f"wrote {file}")


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
