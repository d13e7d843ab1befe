"""Residual networks for CIFAR-10.

ResNet-20: K. He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2, with the projection
shortcut (1 × 1 convolution and BatchNorm) where the shape changes.

ResNet-8: made for a short training on a CPU, after D. Page, "How to Train Your ResNet", 2018, and K. Jordan, "94% on
CIFAR-10 in 3.29 Seconds on a Single GPU", 2024: few, wide convolutions, which processors like best, behind a first one
that need not be learned, since the images say what it should be.
"""

import numpy

from scratchnet import nn
from scratchnet.nn.init import Rng, patch_whitening
from scratchnet.ops.shape import Array


class BasicBlock(nn.Chain):
    """relu(main(x) + shortcut(x)) with main = conv-bn-relu-conv-bn."""

    def __init__(self, in_channels: int, channels: int, stride: int, rng: numpy.random.Generator) -> None:
        main = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False, rng=rng),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False, rng=rng),
            nn.BatchNorm2d(channels),
        )
        shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            projection = nn.Conv2d(in_channels, channels, 1, stride, bias=False, rng=rng)
            shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))
        self.residual = nn.Residual(main, shortcut)
        self.chain = [("residual", self.residual), ("relu", nn.ReLU())]


def _stage(in_channels: int, channels: int, stride: int, rng: numpy.random.Generator) -> nn.Sequential:
    """Three blocks, the first of which changes the shape."""
    first = BasicBlock(in_channels, channels, stride, rng)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1, rng) for _ in range(2)))


class ResNet20(nn.Chain):
    """A convolution, three stages of three residual blocks, and a linear layer: 272,474 parameters."""

    def __init__(self, num_classes: int = 10, rng: Rng = None) -> None:
        rng = numpy.random.default_rng(rng)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False, rng=rng)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, 1, rng)
        self.layer2 = _stage(16, 32, 2, rng)
        self.layer3 = _stage(32, 64, 2, rng)
        self.fc = nn.Linear(64, num_classes, rng=rng)
        self.chain = [
            ("conv1", self.conv1),  # (N, 16, 32, 32)
            ("bn1", self.bn1),
            ("relu1", nn.ReLU()),
            ("layer1", self.layer1),  # (N, 16, 32, 32)
            ("layer2", self.layer2),  # (N, 32, 16, 16)
            ("layer3", self.layer3),  # (N, 64, 8, 8)
            ("pool", nn.AdaptiveAvgPool2d(1)),  # (N, 64, 1, 1)
            ("flatten", nn.Flatten()),  # (N, 64)
            ("fc", self.fc),  # (N, 10)
        ]


def _conv(in_channels: int, channels: int, rng: numpy.random.Generator, *pool: nn.Module) -> nn.Sequential:
    """conv-bn-relu, and pooling after it if any"""
    conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False, rng=rng)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(), *pool)


class ResNet8(nn.Chain):
    """Seven convolutions, three of them inside residual blocks, and a linear layer: 1,972,802 parameters.

    The weights of the first are not trained. `init_from_images` sets them, or else they stay random.
    """

    def __init__(self, num_classes: int = 10, rng: Rng = None) -> None:
        rng = numpy.random.default_rng(rng)
        self.whiten = nn.Conv2d(3, 24, 2, rng=rng)
        self.whiten.weight.requires_grad = False
        self.layer1 = _conv(24, 64, rng, nn.MaxPool2d(2))
        self.res1 = nn.Residual(_conv(64, 64, rng))
        self.layer2 = _conv(64, 256, rng, nn.MaxPool2d(2))
        self.res2 = nn.Residual(_conv(256, 256, rng))
        self.layer3 = _conv(256, 256, rng, nn.MaxPool2d(2))
        self.res3 = nn.Residual(_conv(256, 256, rng))
        self.fc = nn.Linear(256, num_classes, rng=rng)
        self.chain = [
            ("whiten", self.whiten),  # (N, 24, 31, 31)
            ("relu", nn.ReLU()),
            ("layer1", self.layer1),  # (N, 64, 15, 15)
            ("res1", self.res1),  # (N, 64, 15, 15)
            ("layer2", self.layer2),  # (N, 256, 7, 7)
            ("res2", self.res2),  # (N, 256, 7, 7)
            ("layer3", self.layer3),  # (N, 256, 3, 3)
            ("res3", self.res3),  # (N, 256, 3, 3)
            ("pool", nn.MaxPool2d(3)),  # (N, 256, 1, 1)
            ("flatten", nn.Flatten()),  # (N, 256)
            ("fc", self.fc),  # (N, 10)
        ]

    def init_from_images(self, images: Array) -> None:
        """Let the first convolution whiten patches like those of the images (N, 3, 32, 32), normalised.

        Before the model goes to a GPU: images and weights are NumPy's here.
        """
        self.whiten.weight.data[...] = patch_whitening(images, 2)
