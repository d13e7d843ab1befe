"""python -m scratchnet.ladder conv2d: one op on every rung, timed forward and backward, beside PyTorch.

Any of the op's sizes can be changed: an option of the same name, such as --batch-size or --kernel-size.
"""

import argparse
import sys

from scratchnet import _cli, backend
from scratchnet.study._ladder_cases import OPS, SIZE_NAMES, sizes_of
from scratchnet.study.ladder import ladder

MAY_BE_ZERO = ("padding",)


def command(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scratchnet.ladder",
        description=__doc__.partition(": ")[2],
        epilog="The ops and their sizes: "
        + "; ".join(f"{name} ({', '.join(f'{k} {v}' for k, v in op.sizes.items())})" for name, op in OPS.items()),
    )
    parser.add_argument("op", choices=list(OPS), metavar="OP", help=", ".join(OPS))
    parser.add_argument(
        "--rungs", default=",".join(backend.CPU_RUNGS), help="in this order, comma-separated (default: %(default)s)"
    )
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument("--threads", type=_cli.positive_int, default=1, help="default: 1")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument(
        "--seconds", type=_cli.positive_float, default=0.3, help="of measuring for each pass (default: 0.3)"
    )
    parser.add_argument("--plot", metavar="FILE", help="write a bar chart: .png, .svg or .pdf")
    parser.add_argument("--json", action="store_true", help="print the numbers for programs")
    group = parser.add_argument_group("sizes")
    for name in SIZE_NAMES:
        kind = _cli.non_negative_int if name in MAY_BE_ZERO else _cli.positive_int
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N")
    options = parser.parse_args(argv)

    changes = {name: value for name in SIZE_NAMES if (value := getattr(options, name)) is not None}
    rungs = tuple(dict.fromkeys(options.rungs.split(",")))
    try:
        sizes_of(options.op, changes)
        for rung in rungs:
            if rung not in backend.CPU_RUNGS:
                raise ValueError(f"rungs: expected some of {', '.join(backend.CPU_RUNGS)}, got {rung!r}")
    except ValueError as error:
        raise _cli.UsageError(error) from None
    result = ladder(options.op, changes, rungs, options.dtype, options.threads, options.seconds, not options.no_torch)
    if options.plot:
        from scratchnet.study.ladder_plot import plot

        plot(result, options.plot)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without × shows a ? and no traceback
    print(_cli.as_json(result.as_json()) if options.json else result)


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
