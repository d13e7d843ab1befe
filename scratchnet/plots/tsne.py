"""A map of what a layer has learned: t-SNE puts images with like features side by side.

Source: L. van der Maaten, G. Hinton, "Visualizing Data using t-SNE", JMLR 2008; scikit-learn's implementation.
Distances between clusters, and their sizes, mean little.
"""

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from scratchnet.plots.figure import new_figure, plain, short

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

    It begins at the features' two principal components, and first exaggerates attraction twelvefold, which shakes every
    point into place. Given the points of an earlier call for the same images, it begins at these, exaggerates twofold,
    and is in the end turned to lie as they do. So in a series of maps points move as far as their features have
    changed; begun anew, whole classes would change places between maps that are equally good. Without any exaggeration
    a class that is in two places stays there. perplexity is at most (N − 1) / 3.

    Raises:
        RuntimeError: scikit-learn is not installed.
        ValueError: fewer than 4 images, or features that are not finite or all the same.
    """
    TSNE = estimator()
    if len(features) < 4:
        raise ValueError(f"embed: expected at least 4 images, got {len(features)}")
    if not mappable(features):
        raise ValueError("embed: expected finite features that differ from image to image")
    perplexity = min(perplexity, (len(features) - 1) / 3)
    options = {"perplexity": perplexity, "max_iter": iterations, "random_state": seed}
    rows = features.reshape(len(features), -1).astype("float32")
    if previous is None:
        return TSNE(init="pca", **options).fit_transform(rows)
    start = (previous - previous.mean(axis=0)).astype("float32")
    return _turned(TSNE(init=start, early_exaggeration=2.0, **options).fit_transform(rows), previous)


def estimator() -> Any:
    """scikit-learn's TSNE, or a RuntimeError that says what to install."""
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise RuntimeError(f"t-SNE needs scikit-learn ({error}): pip install 'scratchnet[plots]'") from None
    return TSNE


def mappable(features: numpy.ndarray) -> bool:
    """Whether there is something to map: finite features that are not the same for all images."""
    return bool(numpy.isfinite(features).all() and (features != features[:1]).any())


def _turned(points: numpy.ndarray, previous: numpy.ndarray) -> numpy.ndarray:
    """The points about their centre, rotated and mirrored to lie as near as they can to the previous ones. To t-SNE,
    which looks at distances alone, all these maps are the same."""
    points = points - points.mean(axis=0)
    u, _, v = numpy.linalg.svd(points.T @ (previous - previous.mean(axis=0)))  # orthogonal Procrustes
    return points @ (u @ v)


def scatter(
    points: numpy.ndarray, labels: numpy.ndarray, classes: Sequence[str], title: str = "", box: Box | None = None
) -> "Figure":
    """Points drawn as the number of their class, in its colour; where all names are single characters, as these.

    Args:
        points: (N, 2).
        labels: (N,).
        box: what the axes show; by default all points.
    """
    import matplotlib

    points = numpy.asarray(points, dtype="float64")
    digits = all(len(name) == 1 for name in classes)
    figure = new_figure(6.2 if digits else 8, 6.2, title)
    axes = figure.add_subplot()
    colours = matplotlib.colormaps["tab10" if len(classes) <= 10 else "tab20"]
    for (x, y), label in zip(points, labels, strict=True):
        mark = plain(classes[label]) if digits else str(label)
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
        names = [plain(f"{i} {short(name)}") for i, name in enumerate(classes)]
        figure.legend(handles, names, loc="outside right center", fontsize=8, ncols=-(-len(names) // 25))
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
    """Maps (title, points) of the same images as a GIF that repeats.

    All are on the same axes. Each stays for so many seconds, the last for three, and from one to the next the points
    glide, so that each can be followed; of more than 50 maps they jump.
    """
    from PIL import Image

    from scratchnet.training.checkpoint import write_atomically

    if not frames:
        raise ValueError("animate: expected at least one frame, got none")
    box = square_around(numpy.concatenate([points for _, points in frames]))
    figure = scatter(frames[0][1], labels, classes, frames[0][0], box)
    heading = figure.suptitle(plain(frames[0][0]), fontsize="medium")
    pictures, durations = [], []
    for title, points, milliseconds in _glide(frames, int(1000 * seconds)):
        heading.set_text(plain(title))
        for mark, place in zip(figure.axes[0].texts, points, strict=True):
            mark.set_position(place)
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=80)
        figure.set_layout_engine("none")  # as the first is laid out
        pictures.append(Image.open(data).convert("P", palette=Image.Palette.ADAPTIVE, colors=64))
        durations.append(milliseconds)
    durations[-1] = 3000
    data = io.BytesIO()
    pictures[0].save(data, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    write_atomically(Path(path), data.getvalue())
    return Path(path)


def _glide(maps: Sequence[tuple[str, numpy.ndarray]], milliseconds: int) -> Iterator[tuple[str, numpy.ndarray, int]]:
    """The maps and, between two, some points on the way: (title, points, how long it is shown)."""
    between = 5 if len(maps) <= 50 else 0
    for i, (title, points) in enumerate(maps):
        yield title, points, milliseconds
        if i + 1 == len(maps):
            return
        for k in range(1, between + 1):
            t = k / (between + 1)
            share = t * t * (3 - 2 * t)  # slow, fast, slow
            yield title, points + share * (maps[i + 1][1] - points), 60
