"""How parameters start."""

import math
from typing import Any

import numpy

from scratchnet.nn.parameter import Parameter
from scratchnet.ops.shape import Array

# Draws the initial weights: a generator, or its seed; None takes fresh entropy. Layers of one network share one.
Rng = numpy.random.Generator | int | None


def uniform(rng: numpy.random.Generator, shape: tuple[int, ...], fan_in: int, dtype: Any) -> Parameter:
    """Uniform in ±1/√fan_in, torch's default (its kaiming_uniform with a = √5). Source: Y. LeCun et al., 1998."""
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return Parameter(rng.uniform(-bound, bound, shape).astype(dtype))


def patch_whitening(images: Array, kernel_size: int, eps: float = 5e-4) -> numpy.ndarray:
    """Weights of a first convolution that gives each direction of the images' patches a mean square of 1.

    The patches p (C·k·k numbers each) of natural images vary a thousand times more along some directions than along
    others: neighbours look alike. With the eigenvectors vᵢ and eigenvalues λᵢ of E[p pᵀ] the filters are

        vᵢ / √(λᵢ + ε)        and the same with the other sign, of which ReLU would keep one half each

    so that the layers above see every direction at the same scale from the first step on. Nothing here is trained.

    Args:
        images: as the network takes them, normalised, on the CPU; some thousands are enough.
        kernel_size: k.
        eps: ε, which keeps the noise of the least directions from being blown up.

    Shape:
        - images: (N, C, H, W)
        - Output: (2·C·k·k, C, k, k), float64, in the order of falling λ, first all with one sign, then with the other

    Raises:
        ValueError: images of another shape, none, or smaller than the kernel.

    Source: K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3.2; the idea is D. Page's.
    """
    if images.ndim != 4 or not len(images) or min(images.shape[2:]) < kernel_size:
        raise ValueError(
            f"patch_whitening: expected images (N, C, H, W) of at least {kernel_size} × {kernel_size}, "
            f"got an array of shape {images.shape}"
        )
    size, numbers = (kernel_size, kernel_size), images.shape[1] * kernel_size**2
    moments, count = numpy.zeros((numbers, numbers)), 0
    for start in range(0, len(images), 100):  # all patches at once would take k² times the memory of the images
        part = images[start : start + 100].astype("float64")
        windows = numpy.lib.stride_tricks.sliding_window_view(part, size, (2, 3))  # (N, C, OH, OW, k, k)
        patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, numbers)  # (N·OH·OW, C·k·k)
        moments, count = moments + patches.T @ patches, count + len(patches)
    values, vectors = numpy.linalg.eigh(moments / count)  # rising λ; vᵢ are columns
    filters = (vectors / numpy.sqrt(values + eps)).T[::-1].reshape(-1, images.shape[1], *size)
    return numpy.concatenate([filters, -filters])
