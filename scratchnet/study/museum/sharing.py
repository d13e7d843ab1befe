"""Mistakes that show when a layer is used twice."""

from typing import Any

from scratchnet import functional as F
from scratchnet.nn import Module, Parameter
from scratchnet.nn.linear import Linear
from scratchnet.ops.shape import Array
from scratchnet.study.museum.exhibit import Bug, exhibit

FAMILY = "shared layers"


class OverwritingParameter(Parameter):
    def accumulate(self, gradient: Array | None) -> None:
        if gradient is None or not self.requires_grad:
            return
        self.grad = gradient


def _overwriting(model: Module) -> None:
    for parameter in model.parameters():
        parameter.__class__ = OverwritingParameter


exhibit(
    "gradient-overwritten",
    title="The second use of a layer overwrites the gradient of the first",
    family=FAMILY,
    right=Parameter.accumulate,
    bug=lambda wrong: Bug(plant=_overwriting),
    check="gradcheck",
    case="shared linear",
    why="self.grad = … is right in every network in which each layer is used once.",
    effect="A shared layer learns from one of its uses only. Nothing else is hurt, and a residual network without "
    "sharing shows nothing.",
    notice="Check a network that uses one layer twice: each use has its gradient, and they add.",
    seen=(
        "karpathy/nn-zero-to-hero issue 52 quotes the lecture's notebook: “in the video I incorrectly used = instead "
        "of +=. Fixed here.”",
    ),
)(OverwritingParameter.accumulate)


class RememberingLinear(Linear):
    """Its forward pass keeps the cache in self.saved and hands out none."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        y, self.saved = super().forward(x)
        return y, None

    def backward(self, dy: Array, cache: Any) -> Array:
        dx, dweight, dbias = F.linear_backward(dy, self.saved)  # what the latest call of forward kept
        self.weight.accumulate(dweight)
        if self.bias is not None:
            self.bias.accumulate(dbias)
        return dx


def _remembering(model: Module) -> None:
    for module in model.modules():
        if type(module) is Linear:
            module.__class__ = RememberingLinear


exhibit(
    "layer-remembers-its-last-input",
    title="The layer keeps its input in an attribute",
    family=FAMILY,
    right=Linear.backward,
    bug=lambda wrong: Bug(plant=_remembering),
    check="gradcheck",
    case="shared linear",
    why="self.x = x in forward, self.x in backward: the shortest way, and that of most from-scratch libraries.",
    effect="If the layer is called twice before backward (a shared layer, a validation batch in between) the first "
    "call's gradient is computed with the second call's input.",
    notice="Check a network that uses one layer twice. Or call forward on another batch between forward and backward.",
)(RememberingLinear.backward)
