"""The networks of scratchnet.models in PyTorch."""

from torch import nn

from torch_ref.models.cifar import CifarCNN, CifarSimpleCNN
from torch_ref.models.lenet import LeNet5
from torch_ref.models.mnist import MnistCNN, MnistDeepCNN, MnistDropoutCNN, MnistMLP
from torch_ref.models.resnet import ResNet8, ResNet20

MODELS: dict[str, dict[str, type[nn.Module]]] = {
    "mnist": {"cnn": MnistCNN, "dropout": MnistDropoutCNN, "mlp": MnistMLP, "lenet5": LeNet5, "deep": MnistDeepCNN},
    "cifar10": {"cnn": CifarCNN, "simple": CifarSimpleCNN, "resnet20": ResNet20, "resnet8": ResNet8},
}

__all__ = [
    "MODELS",
    "CifarCNN",
    "CifarSimpleCNN",
    "LeNet5",
    "MnistCNN",
    "MnistDeepCNN",
    "MnistDropoutCNN",
    "MnistMLP",
    "ResNet8",
    "ResNet20",
]
