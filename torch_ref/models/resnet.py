"""Residual networks for CIFAR-10."""

import numpy
import torch
from torch import nn

from scratchnet.nn.init import patch_whitening


class Residual(nn.Module):
    def __init__(self, main: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.main = main
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x) + self.shortcut(x)


class BasicBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        main = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            projection = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))
        self.residual = Residual(main, shortcut)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.residual(x))


def _stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(2)))


class ResNet20(nn.Module):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, 1)
        self.layer2 = _stage(16, 32, 2)
        self.layer3 = _stage(32, 64, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.pool(x).flatten(1))


def _conv(in_channels: int, channels: int, *pool: nn.Module) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(), *pool)


class ResNet8(nn.Module):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad = False
        self.layer1 = _conv(24, 64, nn.MaxPool2d(2))
        self.res1 = Residual(_conv(64, 64), nn.Identity())
        self.layer2 = _conv(64, 256, nn.MaxPool2d(2))
        self.res2 = Residual(_conv(256, 256), nn.Identity())
        self.layer3 = _conv(256, 256, nn.MaxPool2d(2))
        self.res3 = Residual(_conv(256, 256), nn.Identity())
        self.pool = nn.MaxPool2d(3)
        self.fc = nn.Linear(256, num_classes)

    def init_from_images(self, images: numpy.ndarray) -> None:
        self.whiten.weight.data[...] = torch.from_numpy(patch_whitening(images, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.res1(self.layer1(self.whiten(x).relu()))
        x = self.res3(self.layer3(self.res2(self.layer2(x))))
        return self.fc(self.pool(x).flatten(1))
