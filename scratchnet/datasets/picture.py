"""A picture file of the user's as a network's input, prepared as the images that it was trained on were."""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scratchnet.datasets.folder import _decode
from scratchnet.datasets.ink import LAYOUTS, fit, is_dark_on_light, is_mnist_like

if TYPE_CHECKING:
    from PIL.Image import Image

INVERT = ("auto", "yes", "no")
LARGEST = 280  # pixels of a side that are enough to find a character
OPAQUE = 128  # an alpha from which a pixel counts as visible


class PictureError(ValueError):
    """A picture cannot be used; the message says why, and leaves it to the caller to name the file."""


class Picture(NamedTuple):
    """What a network gets to see of a picture."""

    pixels: np.ndarray  # uint8 (C, H, W)
    size: tuple[int, int]  # (W, H) of the file
    changes: tuple[str, ...]  # what was done to it: "inverted", "centred", …

    @property
    def inverted(self) -> bool:
        return "inverted" in self.changes


def read_picture(
    path: str | os.PathLike[str], dataset: str, shape: tuple[int, int, int], invert: str = "auto"
) -> Picture:
    """A picture of any size and kind for a network that was trained on the dataset's images of this shape (C, H, W).

    - mnist, fashion_mnist, kmnist: light on dark, cut out, scaled and centred (see ink.py). A picture that is
      like the images of the dataset already stays as it is.
    - cifar10: the largest square in the middle, scaled with antialiasing.
    - folder:PATH: stretched to the size, as its training images are.

    Pictures are turned as their EXIF orientation says. Transparent parts count as background.

    Args:
        invert: "yes" exchanges light and dark, "no" does not, "auto" does it for a character on a light ground,
            of the first three datasets alone.

    Raises:
        PictureError: no such file, no picture, damaged, empty.
        ValueError: `invert` is none of the three.
    """
    if invert not in INVERT:
        raise ValueError(f"invert: expected one of {', '.join(INVERT)}, got {invert!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of large files and odd tags
            return _read(path, dataset, shape, invert)
    except PictureError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise PictureError(_reason(error)) from error


def _read(path: str | os.PathLike[str], dataset: str, shape: tuple[int, int, int], invert: str) -> Picture:
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        image.load()
    if dataset in LAYOUTS:
        pixels, changes = _character(image, dataset, invert)
    elif dataset.startswith("folder:"):
        pixels, changes = _decode(Path(path), *shape[1:], "RGB" if shape[0] == 3 else "L"), []
    else:
        pixels, changes = _photo(image, shape)
    if invert == "yes" and "inverted" not in changes:
        pixels, changes = 255 - pixels, ["inverted", *changes]
    return Picture(np.ascontiguousarray(pixels), image.size, tuple(changes))


def _character(image: "Image", dataset: str, invert: str) -> tuple[np.ndarray, list[str]]:
    grey = _grey(image)
    changes = []
    if invert == "yes" or (invert == "auto" and is_dark_on_light(grey)):
        grey = 255 - grey
        changes.append("inverted")
    layout = LAYOUTS[dataset]
    if is_mnist_like(grey) if layout.by_mass else grey.shape == (28, 28) and grey.any():
        return grey[None], changes
    try:
        return fit(grey, layout)[None], [*changes, "centred"]
    except ValueError as error:
        raise PictureError(str(error)) from None


def _grey(image: "Image") -> np.ndarray:
    """The brightness, uint8 (H, W), of at most LARGEST pixels a side; what is transparent becomes background."""
    from PIL import Image

    image = _eight_bits(image)
    if _has_alpha(image):
        image = _on_background(
            np.asarray(image.convert("LA") if image.mode != "P" else image.convert("RGBA").convert("LA"))
        )
    image = image.convert("L")
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    return np.asarray(image)


def _on_background(la: np.ndarray) -> "Image":
    """A grey picture with alpha, uint8 (H, W, 2), without its alpha.

    Two kinds occur. A drawing on nothing gets a background that it stands out from, and some room around. A picture
    with nothing around it is cut out.
    """
    from PIL import Image

    visible = la[..., 1] >= OPAQUE
    if not visible.any():
        raise PictureError("all of it is transparent")
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    grey, alpha = la[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].transpose(2, 0, 1).astype(np.float32)
    visible = alpha >= OPAQUE
    tones = grey[visible]
    is_picture = visible.mean() > 0.75 and np.ptp(tones) > OPAQUE
    background = np.median(tones) if is_picture else 255.0 * (tones.mean() < 128)
    flat = background + (grey - background) * (alpha / 255)
    if not is_picture:
        flat = np.pad(flat, max(flat.shape) // 8 + 1, constant_values=background)
    return Image.fromarray(np.rint(flat).astype(np.uint8))


def _photo(image: "Image", shape: tuple[int, int, int]) -> tuple[np.ndarray, list[str]]:
    from PIL import Image

    channels, height, width = shape
    image = _eight_bits(image)
    if _has_alpha(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB" if channels == 3 else "L")
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    changes = [] if image.width == image.height else ["cropped to a square"]
    image = image.crop((left, top, left + side, top + side))
    if image.size != (width, height):
        changes.append(f"scaled to {height}×{width}")
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, channels)
    return pixels.transpose(2, 0, 1), changes


def _eight_bits(image: "Image") -> "Image":
    """Pillow's own conversion of 16-bit greys clips at 255."""
    from PIL import Image

    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise PictureError("its pixels have 32 bits, and what counts as white is not known")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise PictureError("its pixels are floating-point numbers, and what counts as white is not known")
    return image


def _has_alpha(image: "Image") -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no picture that Pillow can read"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or repr(error)
