"""python -m scratchnet.step: one training step of a tiny network, with every number."""

import argparse
import contextlib
import math
import sys
from typing import NoReturn

from scratchnet import _cli, backend
from scratchnet.study import step as study
from scratchnet.study.step_page import page


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's usage and message."""
        raise _cli.UsageError(message)


def _digits(text: str) -> int:
    value = _cli.positive_int(text)
    if value > 10:
        raise argparse.ArgumentTypeError(f"expected 1 to 10 decimals, got {value}")
    return value


def command(argv: list[str] | None = None) -> None:
    parser = _Parser(prog="python -m scratchnet.step", description=__doc__.partition(": ")[2])
    parser.add_argument("--seed", type=_cli.non_negative_int, default=0, help="of the weights and the random image")
    parser.add_argument("--lr", type=_cli.non_negative_float, default=0.1, help="learning rate (default: 0.1)")
    parser.add_argument("--image", choices=study.IMAGES, default="digit", help="a drawn 7, or noise (default: digit)")
    parser.add_argument("--digits", type=_digits, default=4, help="decimals, 1 to 10 (default: 4)")
    parser.add_argument("--rung", choices=backend.CPU_RUNGS, help="which implementation (default: the fastest)")
    parser.add_argument("--json", action="store_true", help="print every array by name, for programs")
    options = parser.parse_args(argv)
    with backend.use(options.rung) if options.rung else contextlib.nullcontext():
        step = study.run(options.seed, options.lr, options.image)
    if not math.isfinite(step.loss_after):
        raise RuntimeError(f"the loss after the step is {step.loss_after}: --lr {options.lr:g} is too large")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without → shows a ? and no traceback
    print(_cli.as_json(step.as_json()) if options.json else page(step, options.digits))


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
