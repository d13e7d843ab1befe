"""python -m scratchnet.evaluate runs/mnist-cnn-1: what a trained network gets right, and what it confuses."""

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scratchnet import _cli, nn
from scratchnet._trained import Trained, add_options, open_trained, softmax
from scratchnet.datasets import ArrayDataset
from scratchnet.training.classification_report import ClassificationReport
from scratchnet.training.restore import open_split
from scratchnet.training.setup import EVAL_BATCH

MISTAKES = 10  # how many are listed
PICTURES = 20  # how many are drawn


@dataclass
class Result:
    """What was measured on one split."""

    trained: Trained
    dataset: ArrayDataset
    loss: float
    report: ClassificationReport
    probabilities: np.ndarray  # (N, classes)

    @property
    def predictions(self) -> np.ndarray:
        return self.probabilities.argmax(axis=1)

    def mistakes(self) -> np.ndarray:
        """The images that were taken for another class, those first where that class got the highest probability."""
        wrong = np.flatnonzero(self.predictions != self.dataset.labels)
        return wrong[np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")]


def measure(trained: Trained, dataset: ArrayDataset) -> Result:
    """Loss (the one that was trained, its label smoothing included) and predictions on all images of the dataset."""
    logits = trained.logits(dataset.images)
    criterion = nn.CrossEntropyLoss(label_smoothing=trained.restored.recipe.label_smoothing)
    loss = float(criterion.forward(logits, dataset.labels)[0])
    probabilities = softmax(logits)
    report = ClassificationReport.of(dataset.labels, probabilities.argmax(axis=1), dataset.classes)
    return Result(trained, dataset, loss, report, probabilities)


def as_text(result: Result, mistakes: int) -> str:
    dataset, report, recipe = result.dataset, result.report, result.trained.restored.recipe
    smoothing = f" (label smoothing {recipe.label_smoothing:g})" if recipe.label_smoothing else ""
    parts = [
        f"{_source(result)}: {recipe.dataset} {recipe.model} on {len(dataset):,} {dataset.split} images",
        f"loss {result.loss:.4f}{smoothing}  accuracy {report.accuracy:.2%} "
        f"({report.correct.sum():,} of {report.total.sum():,})",
        report.table(),
    ]
    matrix = report.matrix()
    if matrix is not None:
        parts.append(f"rows: what it is; columns: what it was taken for\n{matrix}")
    confused = [f"  {count:>5}  {true} taken for {taken}" for true, taken, count in report.confused()]
    parts.append("most often confused\n" + "\n".join(confused[:5]) if confused else "no mistakes")
    worst = result.mistakes()[:mistakes]
    if len(worst):
        parts.append(_worst(result, worst))
    return "\n\n".join(parts)


def _worst(result: Result, worst: np.ndarray) -> str:
    """A line for each mistake, with how likely the true class and the predicted one were thought."""
    names, labels = result.dataset.classes, result.dataset.labels
    width = max(8, *(len(names[c]) for c in (*labels[worst], *result.predictions[worst])))
    lines = [f"worst mistakes\n  image  {'true':<{width}}  probability  {'taken for':<{width + 1}}  probability"]
    for i in worst:
        true, predicted = labels[i], result.predictions[i]
        shares = [f"{result.probabilities[i, c]:.4%}" for c in (true, predicted)]
        lines.append(
            f"  {i:>5}  {names[true]:<{width}}  {shares[0]:>11}  {names[predicted]:<{width + 1}}  {shares[1]:>11}"
        )
    return "\n".join(lines)


def as_json(result: Result, mistakes: int) -> dict[str, Any]:
    """NaN, which JSON lacks, becomes null."""
    report, recipe = result.report, result.trained.restored.recipe
    columns = zip(report.classes, report.precision, report.recall, report.f1, report.correct, report.total, strict=True)
    return {
        "checkpoint": _source(result),
        "dataset": recipe.dataset,
        "model": recipe.model,
        "split": result.dataset.split,
        "images": len(result.dataset),
        "loss": _finite(result.loss),
        "accuracy": _finite(report.accuracy),
        "classes": [
            {"name": name, **{key: _finite(share) for key, share in shares.items()}, "correct": int(c), "total": int(t)}
            for name, p, r, f, c, t in columns
            for shares in [{"precision": p, "recall": r, "f1": f}]
        ],
        "confusion": report.confusion.tolist(),
        "mistakes": [_mistake(result, int(i)) for i in result.mistakes()[:mistakes]],
    }


def _mistake(result: Result, i: int) -> dict[str, Any]:
    names = result.dataset.classes
    true, predicted = int(result.dataset.labels[i]), int(result.predictions[i])
    probability = result.probabilities[i]
    return {
        "index": i,
        "true": names[true],
        "true_probability": float(probability[true]),
        "predicted": names[predicted],
        "probability": float(probability[predicted]),
    }


def _source(result: Result) -> str:
    return str(result.trained.restored.checkpoint.path)


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def save_pictures(result: Result, folder: Path) -> list[Path]:
    """The confusion matrix and the worst mistakes, as DIR/confusion.png and DIR/mistakes.png."""
    from scratchnet import plots

    dataset, report = result.dataset, result.report
    figures = {
        "confusion": plots.confusion_matrix(report.confusion, report.classes),
        "mistakes": plots.mistakes(dataset.images, result.probabilities, dataset.labels, dataset.classes, PICTURES),
    }
    return [plots.save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def command(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scratchnet.evaluate", description=__doc__)
    add_options(parser)
    parser.add_argument("--split", choices=["test", "train"], default="test")
    parser.add_argument("--limit", type=_cli.positive_int, metavar="N", help="the first N images alone")
    parser.add_argument("--batch-size", type=_cli.positive_int, default=EVAL_BATCH, help="images at a time")
    parser.add_argument("--data-dir", metavar="DIR", help="where datasets lie (default: where they lay in training)")
    parser.add_argument(
        "--mistakes", type=_cli.non_negative_int, default=MISTAKES, metavar="N", help="how many to list"
    )
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="write the confusion matrix and the worst mistakes as pictures"
    )
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    options = parser.parse_args(argv)
    trained = open_trained(options, options.batch_size)
    dataset = open_split(trained.restored, options.split, options.data_dir)
    dataset = dataset.subset(min(options.limit or len(dataset), len(dataset)))
    result = measure(trained, dataset)
    if options.json:
        print(json.dumps(as_json(result, options.mistakes), indent=2))
    else:
        print(as_text(result, options.mistakes))
    if options.plots:
        paths = save_pictures(result, options.plots)
        print(f"pictures: {', '.join(map(str, paths))}", file=sys.stderr if options.json else sys.stdout)


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
