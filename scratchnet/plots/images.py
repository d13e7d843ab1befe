"""Images of a dataset with their labels, with what a network takes them for, and those that it gets most wrong."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy

from scratchnet.plots.figure import MISTAKE, as_picture, new_figure, percent, plain, short, show

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
    lines = [caption.split("\n") for caption in captions]
    longest = max(len(line) for caption in lines for line in caption)
    cell = max(1.25 if columns > 1 else 2.4, 0.072 * longest + 0.1)  # inches; captions do not meet
    tall = cell * min(max(images.shape[2] / images.shape[3], 0.4), 2.5)
    above = 0.17 * max(map(len, lines))
    head = 0.3 * (title.count("\n") + 1) if title else 0.0
    figure = new_figure(cell * max(columns, 2), (tall + above) * rows + head, title)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        picture, cmap = as_picture(image)
        show(axes[i], picture, cmap)
        axes[i].set_title(plain(caption), fontsize=8, pad=3, color=colours[i] if colours else "black")
    for empty in axes[len(images) :]:
        empty.axis("off")
    return figure


def predictions(
    images: numpy.ndarray, predicted: Sequence[int], labels: Sequence[int], classes: Sequence[str]
) -> "Figure":
    """Images, what they were taken for, and below it in brackets what they are; a ✗ marks mistakes."""
    right = [p == t for p, t in zip(predicted, labels, strict=True)]
    names = [(short(classes[p]), short(classes[t])) for p, t in zip(predicted, labels, strict=True)]
    captions = [f"{p}{'' if ok else ' ✗'}\n({t})" for (p, t), ok in zip(names, right, strict=True)]
    colours = ["black" if ok else MISTAKE for ok in right]
    title = f"prediction, and in brackets the label: {sum(right)} of {len(right)} agree"
    return image_grid(images, captions, title=title, colours=colours)


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
        f"{short(classes[predicted[i]])}: {percent(probabilities[i, predicted[i]])}\n"
        f"({short(classes[labels[i]])}: {percent(probabilities[i, labels[i]])})"
        for i in worst
    ]
    title = (
        f"the worst {len(worst)} of {len(wrong):,} mistakes on {len(labels):,} images\n"
        "prediction and its probability, in brackets the label and its probability"
    )
    return image_grid(images[worst], captions, columns=5 if max(map(len, classes)) > 3 else 10, title=title)
