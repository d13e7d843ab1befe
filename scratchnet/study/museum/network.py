"""The museum's networks: small enough to train in seconds, with a place for every bug."""

import math

import numpy

from scratchnet import nn
from scratchnet.nn.init import Rng

CLASSES = 10
UNIFORM_LOSS = math.log(CLASSES)  # of a network that finds all classes equally likely


class MuseumNet(nn.Chain):
    """For 28 × 28 grey images: overlapping and padded pooling, a strided convolution, a layer that is used twice."""

    def __init__(self, rng: Rng = None) -> None:
        rng = numpy.random.default_rng(rng)
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1, rng=rng)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 8, 3, stride=2, padding=1, rng=rng)
        self.bn2 = nn.BatchNorm2d(8)
        self.conv3 = nn.Conv2d(8, 8, 3, padding=1, rng=rng)
        self.shared = nn.Linear(128, 128, rng=rng)
        self.out = nn.Linear(128, CLASSES, rng=rng)
        self.chain = [
            ("conv1", self.conv1),  # (N, 4, 28, 28)
            ("bn1", self.bn1),
            ("maxpool", nn.MaxPool2d(3, 2, 1)),  # (N, 4, 14, 14); its input has both signs
            ("relu1", nn.ReLU()),
            ("conv2", self.conv2),  # (N, 8, 7, 7)
            ("bn2", self.bn2),
            ("relu2", nn.ReLU()),
            ("conv3", self.conv3),  # (N, 8, 7, 7)
            ("relu3", nn.ReLU()),
            ("avgpool", nn.AvgPool2d(3, 2, 1, count_include_pad=False)),  # (N, 8, 4, 4)
            ("flatten", nn.Flatten()),  # (N, 128)
            ("shared1", self.shared),
            ("relu4", nn.ReLU()),
            ("shared2", self.shared),  # the same layer again
            ("relu5", nn.ReLU()),
            ("dropout", nn.Dropout(0.2, rng=rng)),
            ("out", self.out),  # (N, 10)
        ]


class MuseumMLP(nn.Chain):
    """A hidden layer of sigmoids, for the bugs of the eighties."""

    def __init__(self, rng: Rng = None) -> None:
        rng = numpy.random.default_rng(rng)
        self.fc1 = nn.Linear(784, 32, rng=rng)
        self.fc2 = nn.Linear(32, 32, rng=rng)
        self.out = nn.Linear(32, CLASSES, rng=rng)
        self.chain = [
            ("flatten", nn.Flatten()),  # (N, 784)
            ("fc1", self.fc1),  # (N, 32)
            ("sigmoid1", nn.Sigmoid()),
            ("fc2", self.fc2),  # (N, 32)
            ("sigmoid2", nn.Sigmoid()),
            ("out", self.out),  # (N, 10)
        ]


NETWORKS = {"cnn": MuseumNet, "mlp": MuseumMLP}
