"""Images of a dataset with their labels, with what a network takes them for, and those that it gets most wrong."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy

from scratchnet.plots.figure import as_picture, new_figure, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def image_grid(
    images: numpy.ndarray, captions: Sequence[str], columns: int = 10, title: str = "", colours: Sequence[str] = ()
) -> "Figure":
    """Images in rows of `columns`, each under its caption.

    Args:
        images: uint8 (N, C, H, W), grey (C = 1) or RGB (C = 3).
        captions: N texts.
        colours: of the captions; black by default.

    Raises:
        ValueError: no images, or not as many captions as images.
    """
    if not len(images) or len(images) != len(captions):
        raise ValueError(f"image_grid: expected a caption for each of at least one image, got {len(captions)} captions")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = max(caption.count("\n") + 1 for caption in captions)
    cell = 1.25 if columns > 1 else 2.4
    figure = new_figure(cell * max(columns, 2), (cell + 0.17 * lines) * rows + 0.35 * bool(title), title)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        picture, cmap = as_picture(image)
        show(axes[i], picture, cmap)
        axes[i].set_title(caption, fontsize=8, pad=3, color=colours[i] if colours else "black")
    for empty in axes[len(images) :]:
        empty.axis("off")
    return figure


def predictions(
    images: numpy.ndarray, predicted: Sequence[int], labels: Sequence[int], classes: Sequence[str]
) -> "Figure":
    """Images, what they were taken for, and what they are; mistakes in red."""
    captions = [f"{classes[p]}\n({classes[t]})" for p, t in zip(predicted, labels, strict=True)]
    colours = ["black" if p == t else "crimson" for p, t in zip(predicted, labels, strict=True)]
    return image_grid(images, captions, title="predicted (label)", colours=colours)


def mistakes(
    images: numpy.ndarray,
    probabilities: numpy.ndarray,
    labels: numpy.ndarray,
    classes: Sequence[str],
    count: int = 20,
) -> "Figure":
    """The images whose wrong class got the highest probability, worst first.

    Args:
        images: uint8 (N, C, H, W).
        probabilities: (N, classes), rows summing to 1.
        labels: (N,).
    """
    predicted = probabilities.argmax(axis=1)
    wrong = numpy.flatnonzero(predicted != labels)
    if not wrong.size:
        return new_figure(4, 1, f"no mistakes on {len(labels):,} images")
    sure = probabilities[wrong, predicted[wrong]]
    worst = wrong[numpy.argsort(-sure, kind="stable")][:count]
    captions = [
        f"{classes[predicted[i]]} {probabilities[i, predicted[i]]:.0%}\n({classes[labels[i]]} "
        f"{probabilities[i, labels[i]]:.0%})"
        for i in worst
    ]
    title = f"the worst of {len(wrong):,} mistakes on {len(labels):,} images: taken for (label)"
    return image_grid(images[worst], captions, columns=7 if max(map(len, classes)) > 3 else 10, title=title)
