"""python -m scratchnet.trace CHECKPOINT --tensor conv1.weight --index 3,0,2,2: the terms that sum to a gradient.

For one element of any gradient (of a parameter, an activation or the input) it lists the terms that it is the sum of,
and follows the largest term from sum to sum up to the loss. In place of a checkpoint a dataset's name stands for its
network untrained.
"""

import argparse
import sys

from scratchnet import _cli, backend
from scratchnet.study.opened import open_model
from scratchnet.study.trace import trace
from scratchnet.study.trace_terms import UnknownLayer
from scratchnet.study.trace_text import TOP, as_json, page


def numbers(text: str) -> list[int]:
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = [-1]
    if min(values) < 0:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers ≥ 0 with commas between, such as 3,0,2,2, got {text!r}"
        )
    return values


def command(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scratchnet.trace", description=__doc__.partition(": ")[2])
    parser.add_argument("model_of", metavar="CHECKPOINT|DATASET", help="a checkpoint, a run folder, or such as mnist")
    parser.add_argument("--tensor", help="a parameter, an activation or input (default: the model's first weight)")
    parser.add_argument("--index", type=numbers, help="of the element (default: the one with the largest gradient)")
    parser.add_argument("--image", type=numbers, default=[0], metavar="N[,N…]", help="the batch (default: 0)")
    parser.add_argument("--split", choices=["train", "test"], default="test", help="default: test")
    parser.add_argument("--train", action="store_true", help="in training mode: batch statistics, dropout")
    parser.add_argument("--top", type=_cli.positive_int, default=TOP, help="terms to show (default: %(default)s)")
    parser.add_argument("--model", help="which network of the dataset")
    parser.add_argument("--seed", type=_cli.non_negative_int, default=0, help="of an untrained network (default: 0)")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64", help="default: float64")
    parser.add_argument("--rung", choices=backend.CPU_RUNGS, default="im2col", help="default: im2col, the textbook")
    parser.add_argument("--data-dir", metavar="DIR", help="where datasets lie, in torchvision's layout")
    parser.add_argument("--json", action="store_true", help="every term, for programs")
    options = parser.parse_args(argv)
    opened = open_model(options.model_of, options.model, options.seed, options.dtype)
    x, target = opened.images(options.split, options.image, options.data_dir)
    opened.model.train(options.train)
    tensor = options.tensor or next(name for name, _ in opened.model.named_parameters())
    with backend.use(options.rung), _cli.tutorials_dropout2d():
        try:
            result = trace(opened.model, x, target, tensor, options.index)
        except (ValueError, UnknownLayer) as error:
            raise _cli.UsageError(error) from None
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ∂ shows a ? and no traceback
    images = ", ".join(f"{number} (label {label})" for number, label in zip(options.image, target, strict=True))
    if options.json:
        print(_cli.as_json({"model": opened.title, "images": options.image, "split": options.split, **as_json(result)}))
    else:
        print(f"{opened.title}; {options.split} image {images}\n{page(result, options.top)}")
    return 0 if result.agrees else 1


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
