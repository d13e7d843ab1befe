"""Two networks for 32 × 32 colour images in 10 classes (or as many as num_classes says)."""

import numpy

from scratchnet import nn
from scratchnet.nn.init import Rng


class CifarCNN(nn.Chain):
    """Five convolutions with BatchNorm: 554,890 parameters.

    ReLU comes after BatchNorm, but before it in the third block, as in the tutorial. Its dropout is a Dropout2d on
    a 2-D input, which drops single elements and warns, in torch as here; the warning is silenced.
    """

    def __init__(self, num_classes: int = 10, rng: Rng = None) -> None:
        rng = numpy.random.default_rng(rng)
        channels = [3, 4, 8, 16, 32, 64]
        for i in range(5):
            setattr(self, f"conv{i + 1}", nn.Conv2d(channels[i], channels[i + 1], 3, padding=1, rng=rng))
        for i in range(5):
            setattr(self, f"batch_norm{i + 1}", nn.BatchNorm2d(channels[i + 1]))
        self.pool1 = nn.MaxPool2d(2, 2)
        self.pool2 = nn.AvgPool2d(2, 2)
        self.dropout = nn.Dropout2d(0.5, rng=rng)
        self.fc1 = nn.Linear(64 * 4 * 4, 512, rng=rng)
        self.fc2 = nn.Linear(512, num_classes, rng=rng)
        self.chain = [
            ("conv1", self.conv1),  # (N, 4, 32, 32)
            ("batch_norm1", self.batch_norm1),
            ("relu1", nn.ReLU()),
            ("conv2", self.conv2),  # (N, 8, 32, 32)
            ("batch_norm2", self.batch_norm2),
            ("relu2", nn.ReLU()),
            ("conv3", self.conv3),  # (N, 16, 32, 32)
            ("relu3", nn.ReLU()),
            ("batch_norm3", self.batch_norm3),
            ("pool1", self.pool1),  # (N, 16, 16, 16)
            ("conv4", self.conv4),  # (N, 32, 16, 16)
            ("batch_norm4", self.batch_norm4),
            ("relu4", nn.ReLU()),
            ("pool2", self.pool2),  # (N, 32, 8, 8)
            ("conv5", self.conv5),  # (N, 64, 8, 8)
            ("batch_norm5", self.batch_norm5),
            ("relu5", nn.ReLU()),
            ("pool3", self.pool1),  # (N, 64, 4, 4)
            ("flatten", nn.Flatten()),  # (N, 1024)
            ("fc1", self.fc1),  # (N, 512)
            ("relu6", nn.ReLU()),
            ("dropout", self.dropout),
            ("fc2", self.fc2),  # (N, 10)
        ]


class CifarSimpleCNN(nn.Chain):
    """Two convolutions and two linear layers; image_size is the height and width of the images."""

    def __init__(self, num_classes: int = 10, image_size: int = 32, rng: Rng = None) -> None:
        rng = numpy.random.default_rng(rng)
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, rng=rng)
        self.pool = nn.MaxPool2d(2, 2, 0)
        self.conv2 = nn.Conv2d(16, 32, 3, 1, 1, rng=rng)
        self.fc1 = nn.Linear(32 * (image_size // 4) ** 2, 512, rng=rng)
        self.fc2 = nn.Linear(512, num_classes, rng=rng)
        self.chain = [
            ("conv1", self.conv1),  # (N, 16, 32, 32)
            ("relu1", nn.ReLU()),
            ("pool1", self.pool),  # (N, 16, 16, 16)
            ("conv2", self.conv2),  # (N, 32, 16, 16)
            ("relu2", nn.ReLU()),
            ("pool2", self.pool),  # (N, 32, 8, 8)
            ("flatten", nn.Flatten()),  # (N, 2048)
            ("fc1", self.fc1),  # (N, 512)
            ("relu3", nn.ReLU()),
            ("fc2", self.fc2),  # (N, 10)
        ]
