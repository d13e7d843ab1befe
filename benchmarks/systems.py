"""What is timed: the systems' training steps and their evaluation, by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """A network, its batch size, and whether it is trained or evaluated (forward only). The recipe says the rest."""

    name: str
    family: str
    model: str
    batch_size: int
    what: str
    training: bool = True
    convolutions: bool = True


_ALL = [
    System("A", "mnist", "cnn", 50, "mnist cnn, Adam"),
    System("B", "mnist", "dropout", 64, "mnist dropout, SGD momentum"),
    System("C4", "cifar10", "cnn", 4, "cifar10 cnn, SGD momentum"),
    System("C64", "cifar10", "cnn", 64, "cifar10 cnn, SGD momentum"),
    System("D20", "mnist", "mlp", 20, "mnist mlp, SGD", convolutions=False),
    System("D128", "mnist", "mlp", 128, "mnist mlp, SGD", convolutions=False),
    System("E", "cifar10", "simple", 64, "cifar10 simple, Adam"),
    System("ResNet20", "cifar10", "resnet20", 128, "cifar10 resnet20, SGD momentum, weight decay"),
    System("A-eval", "mnist", "cnn", 500, "mnist cnn, evaluation", training=False),
    System("C-eval", "cifar10", "cnn", 500, "cifar10 cnn, evaluation", training=False),
]
SYSTEMS = {system.name: system for system in _ALL}
GEOMETRIC_MEAN = ("A", "B", "C4", "C64", "D20", "D128", "E")  # the rows that one figure sums up

OURS = ("numba", "im2col")
EXTRA = ("numba-unfused", "loops")  # for the curious: no driver runs them


def torch_variants(system: System) -> tuple[str, ...]:
    """The opponents. channels_last is a layout of images; an optimizer is used in training only."""
    layouts = ("eager", "channels_last", "compile") if system.convolutions else ("eager", "compile")
    if not system.training:
        return layouts
    return tuple(layout + fused for layout in layouts for fused in ("", "+fused"))
