"""The networks. Attribute names are those of the PyTorch tutorials they come from, so that their weights load.

`build("mnist", "cnn", rng=0)` makes a network by the names that the commands use.
"""

from collections.abc import Callable

from scratchnet.models.cifar import CifarCNN, CifarSimpleCNN
from scratchnet.models.lenet import LeNet5
from scratchnet.models.mnist import MnistCNN, MnistDropoutCNN, MnistMLP
from scratchnet.models.resnet import ResNet20
from scratchnet.nn import Chain
from scratchnet.nn.init import Rng

MODELS: dict[str, dict[str, Callable[..., Chain]]] = {
    "mnist": {"cnn": MnistCNN, "dropout": MnistDropoutCNN, "mlp": MnistMLP, "lenet5": LeNet5},
    "cifar10": {"cnn": CifarCNN, "simple": CifarSimpleCNN, "resnet20": ResNet20},
}


def build(dataset: str, model: str, rng: Rng = None) -> Chain:
    """A new network of that name for that dataset, its weights drawn from rng."""
    if dataset not in MODELS:
        raise ValueError(f"dataset: expected one of {', '.join(MODELS)}, got {dataset!r}")
    if model not in MODELS[dataset]:
        raise ValueError(f"model for {dataset}: expected one of {', '.join(MODELS[dataset])}, got {model!r}")
    return MODELS[dataset][model](rng=rng)


__all__ = [
    "MODELS",
    "CifarCNN",
    "CifarSimpleCNN",
    "LeNet5",
    "MnistCNN",
    "MnistDropoutCNN",
    "MnistMLP",
    "ResNet20",
    "build",
]
