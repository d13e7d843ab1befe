"""A map of what a layer has learned: t-SNE puts images with like features side by side.

Source: L. van der Maaten, G. Hinton, "Visualizing Data using t-SNE", JMLR 2008; scikit-learn's implementation.
Distances between clusters, and their sizes, mean little.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from scratchnet.plots.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Box = tuple[float, float, float]  # left, bottom, side


def embed(
    features: numpy.ndarray,
    previous: numpy.ndarray | None = None,
    perplexity: float = 30.0,
    iterations: int = 5000,
    seed: int = 0,
) -> numpy.ndarray:
    """Features (N, …) → points (N, 2).

    It begins at the features' two principal components, or at the points that an earlier call gave for the same images,
    and is then turned to lie as they do, so that a series of maps can be followed. perplexity is at most (N − 1) / 3.

    Raises:
        RuntimeError: scikit-learn is not installed.
        ValueError: fewer than 4 images.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise RuntimeError(f"t-SNE needs scikit-learn ({error}): pip install 'scratchnet[plots]'") from None
    if len(features) < 4:
        raise ValueError(f"embed: expected at least 4 images, got {len(features)}")
    start = "pca"
    if previous is not None:  # as small as scikit-learn makes the principal components
        start = ((previous - previous.mean(axis=0)) / previous.std() * 1e-4).astype("float32")
    perplexity = min(perplexity, (len(features) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init=start, max_iter=iterations, random_state=seed)
    points = tsne.fit_transform(features.reshape(len(features), -1).astype("float32"))
    return points if previous is None else _turned(points, previous)


def _turned(points: numpy.ndarray, previous: numpy.ndarray) -> numpy.ndarray:
    """The points about their centre, rotated and mirrored to lie as near as they can to the previous ones. To t-SNE,
    which looks at distances alone, all these maps are the same."""
    points = points - points.mean(axis=0)
    u, _, v = numpy.linalg.svd(points.T @ (previous - previous.mean(axis=0)))  # orthogonal Procrustes
    return points @ (u @ v)


def scatter(
    points: numpy.ndarray, labels: numpy.ndarray, classes: Sequence[str], title: str = "", box: Box | None = None
) -> "Figure":
    """Points drawn as the number of their class, in its colour. box: what the axes show, by default all points."""
    import matplotlib

    digits = all(len(name) == 1 for name in classes)
    figure = new_figure(6.2 if digits else 8, 6.2, title)
    axes = figure.add_subplot()
    colours = matplotlib.colormaps["tab10" if len(classes) <= 10 else "tab20"]
    for (x, y), label in zip(points, labels, strict=True):
        mark = classes[label] if digits else str(label)
        axes.text(
            x, y, mark, color=colours(int(label) % colours.N), ha="center", va="center", fontsize=9, weight="bold"
        )
    left, bottom, side = box or square_around(points)
    axes.set_xlim(left, left + side)
    axes.set_ylim(bottom, bottom + side)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    if not digits:
        handles = [axes.plot([], [], "o", color=colours(i % colours.N))[0] for i in range(len(classes))]
        names = [f"{i} {name}" for i, name in enumerate(classes)]
        figure.legend(handles, names, loc="outside right center", fontsize=8)
    return figure


def square_around(points: numpy.ndarray) -> Box:
    """The smallest square (left, bottom, side) around the points, with a margin."""
    low, high = points.min(axis=0), points.max(axis=0)
    side = 1.08 * float((high - low).max()) or 1.0
    left, bottom = (low + high - side) / 2
    return float(left), float(bottom), side


def animate(
    frames: Sequence[tuple[str, numpy.ndarray]],
    labels: numpy.ndarray,
    classes: Sequence[str],
    path: str | os.PathLike[str],
    seconds: float = 0.7,
) -> Path:
    """Maps (title, points) one after the other, on the same axes, as a GIF that repeats; the last stays longer."""
    from PIL import Image

    from scratchnet.training.checkpoint import write_atomically

    if not frames:
        raise ValueError("animate: expected at least one frame, got none")
    box = square_around(numpy.concatenate([points for _, points in frames]))
    pictures = []
    for title, points in frames:
        data = io.BytesIO()
        scatter(points, labels, classes, title, box).savefig(data, format="png", dpi=80)
        pictures.append(Image.open(data).convert("P", palette=Image.Palette.ADAPTIVE))
    durations = [int(1000 * seconds)] * (len(frames) - 1) + [3000]
    data = io.BytesIO()
    pictures[0].save(data, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    write_atomically(Path(path), data.getvalue())
    return Path(path)
