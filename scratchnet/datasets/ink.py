"""A drawn character as the images of MNIST show it: light on dark, of one size, in one place.

MNIST's digits were scaled to 20 × 20 pixels with their aspect kept, antialiased, and put into 28 × 28 so that their
centre of mass is in the middle (Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998,
section III). All 70,000 images are like that to the pixel, which `is_mnist_like` tests. Networks trained on them
expect it: a digit in a corner, or dark on light, is something that they have never seen.
"""

from typing import NamedTuple

import numpy as np

MIDDLE = 14  # the row and the column in which the centre of mass of every image of MNIST lies
MIN_CONTRAST = 20  # of 255: less is an empty page
EMPTY = "there is nothing to recognise: all of it has nearly the same brightness"
BOX_THRESHOLD = 0.2  # of the strongest ink: fainter pixels do not count for the bounding box


class Layout(NamedTuple):
    """How large a character is within 28 × 28, and what is put in the middle: its mass, or its bounding box."""

    side: int
    by_mass: bool


LAYOUTS = {
    "mnist": Layout(20, by_mass=True),
    "fashion_mnist": Layout(28, by_mass=False),
    "kmnist": Layout(28, by_mass=False),
}


def is_dark_on_light(grey: np.ndarray) -> bool:
    """Whether most of the border is on the light side: the border is background. grey: uint8 (H, W)."""
    border = grey[_is_border(grey.shape)]
    return bool(np.mean(border > _threshold(grey)) > 0.5)


def is_mnist_like(grey: np.ndarray) -> bool:
    """Whether a light character on dark, uint8 (H, W), has MNIST's size, and its place to within a pixel."""
    if grey.shape != (28, 28) or not grey.any() or np.median(grey[_is_border(grey.shape)]) > 0:
        return False
    rows, columns = _bounding_box(grey > 0)
    longest = max(rows.stop - rows.start, columns.stop - columns.start)
    row, column = _centre_of_mass(grey)
    return longest in (19, 20) and max(abs(row - MIDDLE - 0.5), abs(column - MIDDLE - 0.5)) <= 1.5


def fit(grey: np.ndarray, layout: Layout) -> np.ndarray:
    """A light character on dark, uint8 (H, W) of any size, cut out, scaled and placed as the layout says.

    Returns uint8 (28, 28). Raises ValueError for an empty page.
    """
    from PIL import Image

    ink, noise = _ink(grey)
    ink = ink[_bounding_box(ink > min(max(BOX_THRESHOLD, 6 * noise), 0.5))]
    scale = layout.side / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    scaled = Image.fromarray(ink.astype(np.float32)).resize((width, height), Image.Resampling.LANCZOS)
    small = np.asarray(scaled).clip(0, 1)
    small = np.rint(small * (255 / small.max())).astype(np.uint8)  # thin strokes are grey once they are small
    return _place(small, layout)


def _place(small: np.ndarray, layout: Layout) -> np.ndarray:
    """Put it on (28, 28)."""
    if layout.by_mass:
        corner = [MIDDLE - int(centre) for centre in _centre_of_mass(small)]
    else:
        corner = [(28 - side) // 2 for side in small.shape]
    top, left = (min(max(at, 0), 28 - side) for at, side in zip(corner, small.shape, strict=True))
    image = np.zeros((28, 28), np.uint8)
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return image


def _ink(grey: np.ndarray) -> tuple[np.ndarray, float]:
    """How much ink there is, (H, W) in 0 … 1 with 0 for the paper, and the paper's noise in the same unit.

    The paper is what the border shows. A photo's is brighter on one side, so that a plane is laid through it. The
    noise is half the distance between its quartiles: some two thirds of a standard deviation.
    """
    if np.ptp(grey) < MIN_CONTRAST:
        raise ValueError(EMPTY)
    is_paper = _is_border(grey.shape) & (grey <= _threshold(grey))
    if not is_paper.any():
        is_paper = grey <= _threshold(grey)
    plane = np.stack([np.ones(grey.shape), *np.indices(grey.shape) / max(grey.shape)], axis=-1)  # (H, W, 3)
    coefficients, *_ = np.linalg.lstsq(plane[is_paper], grey[is_paper].astype(np.float64))
    above = grey - plane @ coefficients
    if above.max() < MIN_CONTRAST:
        raise ValueError(EMPTY)
    noise = min(np.subtract(*np.percentile(above[is_paper], [75, 25])) / 2, above.max() / 4)
    ink = np.maximum(above - 2 * noise, 0)
    return ink / ink.max(), noise / ink.max()


def _is_border(shape: tuple[int, ...]) -> np.ndarray:
    """A frame that is one of 28 parts wide, as a mask."""
    mask = np.ones(shape, bool)
    rows, columns = (max(1, side // 28) for side in shape)
    mask[rows:-rows, columns:-columns] = False
    return mask


def _threshold(grey: np.ndarray) -> int:
    """The brightness up to which a pixel is dark, chosen so that the means of dark and light lie far apart.

    Source: N. Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979.
    """
    counts = np.bincount(grey.ravel(), minlength=256).astype(np.float64)
    sums = np.cumsum(counts * np.arange(256))
    dark, dark_sum = np.cumsum(counts)[:-1], sums[:-1]  # (255,) for the thresholds 0 … 254
    light, light_sum = grey.size - dark, sums[-1] - dark_sum
    spread = (dark_sum * light - light_sum * dark) ** 2 / np.maximum(dark * light, 1)
    return int(np.argmax(spread))


def _bounding_box(ink: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of a mask that is somewhere true."""
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _centre_of_mass(grey: np.ndarray) -> tuple[float, float]:
    """Row and column; the middle of the first pixel is at 0.5."""
    mass = grey.astype(np.float64)
    total = mass.sum()
    row = (mass.sum(1) @ (np.arange(grey.shape[0]) + 0.5)) / total
    return float(row), float((mass.sum(0) @ (np.arange(grey.shape[1]) + 0.5)) / total)
