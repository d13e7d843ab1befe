"""The networks. Attribute names are those of the PyTorch tutorials they come from, so that their weights load.

`build("mnist", "cnn", rng=0)` makes a network by the names that the commands use: "mnist" stands for all grey
images of 28 × 28, "cifar10" for all colour images of 32 × 32.
"""

from collections.abc import Callable

from scratchnet.models.cifar import CifarCNN, CifarSimpleCNN
from scratchnet.models.lenet import LeNet5
from scratchnet.models.mnist import MnistCNN, MnistDeepCNN, MnistDropoutCNN, MnistMLP
from scratchnet.models.resnet import ResNet8, ResNet20
from scratchnet.nn import Chain
from scratchnet.nn.init import Rng

MODELS: dict[str, dict[str, Callable[..., Chain]]] = {
    "mnist": {"cnn": MnistCNN, "dropout": MnistDropoutCNN, "mlp": MnistMLP, "lenet5": LeNet5, "deep": MnistDeepCNN},
    "cifar10": {"cnn": CifarCNN, "simple": CifarSimpleCNN, "resnet20": ResNet20, "resnet8": ResNet8},
}


def build(family: str, model: str, num_classes: int = 10, rng: Rng = None) -> Chain:
    """A new network of that name, its weights drawn from rng."""
    if family not in MODELS:
        raise ValueError(f"family: expected one of {', '.join(MODELS)}, got {family!r}")
    if model not in MODELS[family]:
        raise ValueError(f"model for {family}: expected one of {', '.join(MODELS[family])}, got {model!r}")
    return MODELS[family][model](num_classes=num_classes, rng=rng)


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
    "build",
]
