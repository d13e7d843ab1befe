"""python -m scratchnet.gradcheck mnist: is a network's backward pass the derivative of its forward pass?

In float64, by finite differences, for the input and every parameter: the worst error and where it is. In place of a
dataset's name, for its network untrained, a checkpoint or a run folder. Exit code 1 if a gradient is wrong.
"""

import argparse
import sys
from typing import Any

from scratchnet import _cli, backend
from scratchnet.study import gradcheck
from scratchnet.study.gradcheck import GradcheckReport, TensorCheck
from scratchnet.study.opened import open_model, random_batch


def command(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scratchnet.gradcheck", description=(__doc__ or "").partition("\n\n")[2]
    )
    parser.add_argument("model_of", metavar="CHECKPOINT|DATASET", help="a checkpoint, a run folder, or such as mnist")
    parser.add_argument("--model", help="which network of the dataset")
    parser.add_argument("--exhaustive", action="store_true", help="every element, two forward passes each")
    parser.add_argument("--directions", type=_cli.positive_int, default=8, help="of each tensor (default: 8)")
    parser.add_argument("--eval", action="store_true", help="in evaluation mode (default: training)")
    parser.add_argument("--batch-size", type=_cli.positive_int, default=4, help="images of random noise (default: 4)")
    relative = "allowed relative deviation (default: 1e-7)"
    parser.add_argument("--tolerance", "--tol", dest="tol", type=_cli.fraction, default=1e-7, help=relative)
    parser.add_argument("--seed", type=_cli.non_negative_int, default=0, help="of weights, images and directions")
    parser.add_argument("--rung", choices=backend.CPU_RUNGS, default="im2col", help="default: im2col, the textbook")
    parser.add_argument("--json", action="store_true", help="the table for programs")
    options = parser.parse_args(argv)
    opened = open_model(options.model_of, options.model, options.seed, "float64")
    opened.model.train(not options.eval)
    x = random_batch(opened.image_shape, options.batch_size, options.seed, "float64")
    with backend.use(options.rung), _cli.tutorials_dropout2d():
        report = gradcheck(
            opened.model, x, mode="elements" if options.exhaustive else "directions",
            directions=options.directions, tol=options.tol, seed=options.seed,
        )  # fmt: skip
    mode = "evaluation" if options.eval else "training"
    if options.json:
        print(_cli.as_json({"model": opened.title, "mode": mode, "rung": options.rung, **as_json(report)}))
    else:
        print(f"{opened.title}; {mode} mode, rung {options.rung}\n{report}")
    return 0 if report.ok else 1


def as_json(report: GradcheckReport) -> dict[str, Any]:
    return {"ok": report.ok, "checked_by": report.mode, "tensors": [_tensor(result) for result in report]}


def _tensor(result: TensorCheck) -> dict[str, Any]:
    return {
        "name": result.name,
        "shape": list(result.shape),
        "ok": result.ok,
        "error": result.error,
        "index": list(result.index) if result.index is not None else None,
        "analytic": result.analytic,
        "numeric": result.numeric,
        "checked": result.checked,
        "wrong": result.wrong,
        "kinks": result.kinks,
        "note": result.note,
    }


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
