"""Three networks for 28 × 28 grey images in 10 classes (or as many as num_classes says)."""

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
