"""Networks for 28 × 28 grey images in 10 classes (or as many as num_classes says)."""

import numpy

from scratchnet import nn
from scratchnet.nn.init import Rng


class MnistCNN(nn.Chain):
    """Two convolution blocks and a linear layer: 28,938 parameters."""

    def __init__(self, num_classes: int = 10, rng: Rng = None) -> None:
        rng = numpy.random.default_rng(rng)
        self.conv1 = nn.Sequential(nn.Conv2d(1, 16, 5, 1, 2, rng=rng), nn.ReLU(), nn.MaxPool2d(2))
        self.conv2 = nn.Sequential(nn.Conv2d(16, 32, 5, 1, 2, rng=rng), nn.ReLU(), nn.MaxPool2d(2))
        self.out = nn.Linear(32 * 7 * 7, num_classes, rng=rng)
        self.chain = [
            ("conv1", self.conv1),  # (N, 16, 14, 14)
            ("conv2", self.conv2),  # (N, 32, 7, 7)
            ("flatten", nn.Flatten()),  # (N, 1568)
            ("out", self.out),  # (N, 10)
        ]


class MnistDropoutCNN(nn.Chain):
    """Two small convolutions, one pooling layer used twice, and dropout before the last layer."""

    def __init__(self, num_classes: int = 10, rng: Rng = None) -> None:
        rng = numpy.random.default_rng(rng)
        self.conv1 = nn.Conv2d(1, 4, 5, padding=2, rng=rng)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(4, 8, 5, padding=2, rng=rng)
        self.fc1 = nn.Linear(7 * 7 * 8, 512, rng=rng)
        self.fc2 = nn.Linear(512, num_classes, rng=rng)
        self.chain = [
            ("conv1", self.conv1),  # (N, 4, 28, 28)
            ("relu1", nn.ReLU()),
            ("pool1", self.pool),  # (N, 4, 14, 14)
            ("conv2", self.conv2),  # (N, 8, 14, 14)
            ("relu2", nn.ReLU()),
            ("pool2", self.pool),  # (N, 8, 7, 7)
            ("flatten", nn.Flatten()),  # (N, 392)
            ("fc1", self.fc1),  # (N, 512)
            ("relu3", nn.ReLU()),
            ("dropout", nn.Dropout(0.5, rng=rng)),
            ("fc2", self.fc2),  # (N, 10)
        ]


class MnistMLP(nn.Chain):
    """Three fully connected layers: 269,322 parameters."""

    def __init__(self, num_classes: int = 10, rng: Rng = None) -> None:
        rng = numpy.random.default_rng(rng)
        self.fc1 = nn.Linear(784, 256, rng=rng)
        self.fc2 = nn.Linear(256, 256, rng=rng)
        self.fc3 = nn.Linear(256, num_classes, rng=rng)
        self.relu = nn.ReLU()
        self.chain = [
            ("flatten", nn.Flatten()),  # (N, 784)
            ("fc1", self.fc1),  # (N, 256)
            ("relu1", self.relu),
            ("fc2", self.fc2),  # (N, 256)
            ("relu2", self.relu),
            ("fc3", self.fc3),  # (N, 10)
        ]


def _conv(in_channels: int, channels: int, kernel_size: int, rng: numpy.random.Generator) -> nn.Sequential:
    """conv-bn-relu, same size"""
    conv = nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2, bias=False, rng=rng)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())


class MnistDeepCNN(nn.Chain):
    """Five convolutions with BatchNorm and a linear layer: 101,306 parameters."""

    def __init__(self, num_classes: int = 10, rng: Rng = None) -> None:
        rng = numpy.random.default_rng(rng)
        self.conv1 = _conv(1, 16, 5, rng)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = _conv(16, 32, 3, rng)
        self.conv3 = _conv(32, 32, 3, rng)
        self.pool2 = nn.MaxPool2d(2)
        self.conv4 = _conv(32, 64, 3, rng)
        self.conv5 = _conv(64, 64, 3, rng)
        self.fc = nn.Linear(64 * 7 * 7, num_classes, rng=rng)
        self.chain = [
            ("conv1", self.conv1),  # (N, 16, 28, 28)
            ("pool1", self.pool1),  # (N, 16, 14, 14)
            ("conv2", self.conv2),  # (N, 32, 14, 14)
            ("conv3", self.conv3),  # (N, 32, 14, 14)
            ("pool2", self.pool2),  # (N, 32, 7, 7)
            ("conv4", self.conv4),  # (N, 64, 7, 7)
            ("conv5", self.conv5),  # (N, 64, 7, 7)
            ("flatten", nn.Flatten()),  # (N, 3136)
            ("fc", self.fc),  # (N, 10)
        ]
