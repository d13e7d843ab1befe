"""python -m scratchnet.predict runs/mnist-cnn-1 three.png: what a trained network takes pictures of yours for."""

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from scratchnet import _cli
from scratchnet._trained import Trained, add_options, open_trained, softmax
from scratchnet.data import in_shades
from scratchnet.datasets.picture import INVERT, Picture, PictureError, read_picture

TOP = 3
WIDTH = 100  # characters of a line
NAME = 40  # characters of a file's name that a line has room for


class Prediction(NamedTuple):
    """What a file was taken for, or why it could not be used."""

    file: str
    picture: Picture | None
    error: str = ""
    probabilities: np.ndarray | None = None  # (classes,)


def predict(trained: Trained, files: Sequence[str], invert: str = "auto") -> list[Prediction]:
    """A prediction for each file, in their order."""
    restored = trained.restored
    read = [_read(file, restored.recipe.dataset, restored.image_shape, invert) for file in files]
    pictures = [each.picture.pixels for each in read if each.picture]
    if not pictures:
        return read
    rows = iter(softmax(trained.logits(np.stack(pictures))))
    return [each._replace(probabilities=next(rows)) if each.picture else each for each in read]


def _read(file: str, dataset: str, shape: tuple[int, int, int], invert: str) -> Prediction:
    try:
        return Prediction(file, read_picture(file, dataset, shape, invert))
    except PictureError as error:
        return Prediction(file, None, str(error))


def as_json(prediction: Prediction, classes: tuple[str, ...], top: int) -> dict[str, Any]:
    if prediction.picture is None:
        return {"file": prediction.file, "error": prediction.error}
    assert prediction.probabilities is not None
    ranked = [
        {"class": classes[i], "index": i, "probability": float(prediction.probabilities[i])}
        for i in _ranked(prediction.probabilities, top)
    ]
    picture = prediction.picture
    return {
        "file": prediction.file,
        **ranked[0],
        "top": ranked,
        "size": list(picture.size),
        "inverted": picture.inverted,
        "changes": list(picture.changes),
    }


def table(predictions: Sequence[Prediction], classes: tuple[str, ...], top: int, show: bool) -> str:
    """A line for each picture that could be used: class, probability, runners-up, what was done to it."""
    used = [each for each in predictions if each.probabilities is not None]
    files = [_shortened(each.file) for each in used]
    width, name = max(7, *map(len, files)), max(5, *map(len, classes))
    lines = [f"{'picture':<{width}}  {'class':<{name}}  probability" + ("  next" if top > 1 else "")]
    for file, each in zip(files, used, strict=True):
        assert each.picture is not None
        assert each.probabilities is not None
        first, *others = _ranked(each.probabilities, top)
        line = f"{file:<{width}}  {classes[first]:<{name}}  {each.probabilities[first]:>11.2%}  "
        parts = [f"{classes[i]} {each.probabilities[i]:.2%}" for i in others]
        parts += [f"({', '.join(each.picture.changes)})"] if each.picture.changes else []
        lines += _wrapped(line, parts) or [line.rstrip()]
        if show:
            lines.append(in_shades(each.picture.pixels))
    return "\n".join(lines)


def _wrapped(start: str, parts: list[str]) -> list[str]:
    """The parts behind the start, on lines of at most WIDTH characters; a part is never divided."""
    whole = "  ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts)
    indent = " " * len(start)
    lines = textwrap.wrap(whole, WIDTH, initial_indent=start, subsequent_indent=indent, break_long_words=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _ranked(probabilities: np.ndarray, top: int) -> list[int]:
    return np.argsort(-probabilities, kind="stable")[:top].tolist()


def _shortened(file: str) -> str:
    return file if len(file) <= NAME else "…" + file[1 - NAME :]


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scratchnet.predict", description=__doc__)
    add_options(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a picture file, of any size")
    parser.add_argument(
        "--top", type=_cli.positive_int, default=TOP, metavar="K", help=f"classes named (default: {TOP})"
    )
    parser.add_argument(
        "--invert", choices=INVERT, default="auto", help="exchange light and dark (auto: digits on a light ground)"
    )
    parser.add_argument("--show", action="store_true", help="print what the network gets to see")
    parser.add_argument("--json", action="store_true", help="print a list with an object for each picture")
    return parser


def command(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    trained = open_trained(options)
    predictions = predict(trained, options.images, options.invert)
    classes = trained.restored.classes
    if options.json:
        print(json.dumps([as_json(each, classes, options.top) for each in predictions], indent=2))
    elif any(each.picture for each in predictions):
        print(table(predictions, classes, options.top, options.show))
    failed = [each for each in predictions if each.error]
    for each in failed:
        print(f"error: {each.file}: {each.error}", file=sys.stderr)
    return 1 if failed else 0


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
