"""Which pixels the loss hangs on: the gradient with respect to the input."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy

from scratchnet.plots.figure import STRENGTH, as_picture, new_figure, plain, short, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def saliency(images: numpy.ndarray, gradients: numpy.ndarray, captions: Sequence[str]) -> "Figure":
    """Images, and below each |∂loss/∂pixel|, the largest of the channels, on a scale of its own.

    Args:
        images: uint8 (N, C, H, W).
        gradients: (N, C, H, W) of the loss of each image.
        captions: N texts.

    Source: K. Simonyan, A. Vedaldi, A. Zisserman, "Deep Inside Convolutional Networks", 2013.
    """
    if images.shape != gradients.shape or len(images) != len(captions):
        raise ValueError(
            "saliency: expected images, gradients of their shape, and as many captions, "
            f"got {images.shape}, {gradients.shape} and {len(captions)}"
        )
    figure = new_figure(
        1.3 * len(images) + 0.2,
        3.3,
        "images, and how strongly the loss hangs on each pixel: |∂loss/∂x|, from 0 (black)",
    )
    grid = figure.subplots(2, len(images), squeeze=False)
    for i, image in enumerate(images):
        picture, cmap = as_picture(image)
        show(grid[0, i], picture, cmap)
        grid[0, i].set_title(plain(short(captions[i], 16)), fontsize=8, pad=3)
        strength = numpy.abs(gradients[i]).max(axis=0)
        show(grid[1, i], strength, STRENGTH, vmin=0)
        grid[1, i].set_xlabel(f"up to {strength.max():.1e}", fontsize=7)
    return figure
