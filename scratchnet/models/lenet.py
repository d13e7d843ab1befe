"""LeNet-5 in its common modern form: ReLU and max pooling in place of tanh and trained subsampling.

Source: Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998.
"""

import numpy

from scratchnet import nn
from scratchnet.nn.init import Rng


class LeNet5(nn.Chain):
    """For 28 × 28 grey images, padded to 32 × 32 by the first convolution: 61,706 parameters."""

    def __init__(self, num_classes: int = 10, rng: Rng = None) -> None:
        rng = numpy.random.default_rng(rng)
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2, rng=rng)
        self.conv2 = nn.Conv2d(6, 16, 5, rng=rng)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * 5 * 5, 120, rng=rng)
        self.fc2 = nn.Linear(120, 84, rng=rng)
        self.fc3 = nn.Linear(84, num_classes, rng=rng)
        self.chain = [
            ("conv1", self.conv1),  # (N, 6, 28, 28)
            ("relu1", nn.ReLU()),
            ("pool1", self.pool),  # (N, 6, 14, 14)
            ("conv2", self.conv2),  # (N, 16, 10, 10)
            ("relu2", nn.ReLU()),
            ("pool2", self.pool),  # (N, 16, 5, 5)
            ("flatten", nn.Flatten()),  # (N, 400)
            ("fc1", self.fc1),
            ("relu3", nn.ReLU()),
            ("fc2", self.fc2),
            ("relu4", nn.ReLU()),
            ("fc3", self.fc3),  # (N, 10)
        ]
