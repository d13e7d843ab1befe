"""ResNet-20 for CIFAR-10.

Source: K. He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2, with the projection
shortcut (1 × 1 convolution and BatchNorm) where the shape changes.
"""

import numpy

from scratchnet import nn
from scratchnet.nn.init import Rng


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
