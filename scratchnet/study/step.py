"""One training step of a network small enough to see whole: every number of it, by name.

The network is 1×6×6 → Conv2d 3×3 → 2×4×4 → ReLU → MaxPool2d 2 → 2×2×2 → Flatten → 8 → Linear → 3 logits, then softmax
cross entropy and SGD. Without padding the window positions are exactly the 4 × 4 pixels of a feature map, and pooling
divides these without a rest.

`run` takes the step with the library's own modules. Nothing is computed a second time by other means: what a layer
does inside (the columns of im2col, the winners of pooling) comes from calling the functions of `scratchnet.ops` on
the arrays of the run. `scratchnet.study.step_page` lays the numbers out to be read.
"""

from typing import Any, NamedTuple

import numpy

from scratchnet import backend, nn, ops, optim
from scratchnet import functional as F
from scratchnet.ops.conv import im2col
from scratchnet.ops.linear import LinearCache
from scratchnet.ops.shape import Array

SEVEN = numpy.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.8, 1.0, 1.0, 0.8, 0.0],
        [0.0, 0.0, 0.0, 0.4, 1.0, 0.0],
        [0.0, 0.0, 0.2, 1.0, 0.3, 0.0],
        [0.0, 0.0, 0.9, 0.5, 0.0, 0.0],
        [0.0, 0.1, 1.0, 0.0, 0.0, 0.0],
    ]
)
CLASSES = ("1", "4", "7")
IMAGES = ("digit", "random")


class TinyNet(nn.Chain):
    """The network of the step, in float64. Its weights have one decimal, so that a product can be checked by head."""

    def __init__(self, rng: numpy.random.Generator) -> None:
        self.conv = nn.Conv2d(1, 2, 3, dtype="float64")
        self.fc = nn.Linear(8, 3, dtype="float64")
        self.chain = [
            ("conv", self.conv),
            ("relu", nn.ReLU()),
            ("pool", nn.MaxPool2d(2)),
            ("flatten", nn.Flatten()),
            ("fc", self.fc),
        ]
        for parameter in self.parameters():
            parameter.data = rng.uniform(-0.9, 0.9, parameter.shape).round(1) + 0.0  # + 0.0 turns −0.0 into 0.0


class Step(NamedTuple):
    """Every number of one training step.

    activations, activation_gradients                  input, conv, relu, pool, flatten, fc (the logits)
    parameters, parameter_gradients, new_parameters    conv.weight, conv.bias, fc.weight, fc.bias
    columns, dcolumns                                  im2col's matrix (9, 16) and its gradient
    winners                                            (1, 2, 2, 2): the position 2·u + v of each window's maximum

    parameters are from before the step; arrays have a batch axis of one image.
    """

    image: str
    seed: int
    lr: float
    rung: str
    target: int
    activations: dict[str, Array]
    activation_gradients: dict[str, Array]
    parameters: dict[str, Array]
    parameter_gradients: dict[str, Array]
    new_parameters: dict[str, Array]
    columns: Array
    dcolumns: Array
    winners: Array
    probabilities: Array
    loss: float
    logits_after: Array
    probabilities_after: Array
    loss_after: float

    def as_json(self) -> dict[str, Any]:
        """All fields, arrays as nested lists; numbers read back are bit for bit the same."""
        return {name: _plain(value) for name, value in self._asdict().items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value.tolist() if isinstance(value, numpy.ndarray) else value


def image_and_target(image: str, rng: numpy.random.Generator) -> tuple[Array, Array]:
    """The image (1, 1, 6, 6) and its class (1,): the drawn 7, or noise with one decimal."""
    if image == "digit":
        return SEVEN[None, None].copy(), numpy.array([CLASSES.index("7")])
    if image == "random":
        return rng.random((1, 1, 6, 6)).round(1), rng.integers(0, len(CLASSES), 1)
    raise ValueError(f"image: expected one of {', '.join(IMAGES)}, got {image!r}")


def run(seed: int = 0, lr: float = 0.1, image: str = "digit") -> Step:
    """Take the step on the current rung. A ValueError tells of an unknown image or a bad learning rate."""
    rng = numpy.random.default_rng(seed)
    model = TinyNet(rng)
    x, target = image_and_target(image, rng)
    criterion: nn.Module = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=lr)
    old = model.state_dict()

    activations = model.activations(x)
    loss = criterion(activations.output, target)
    activations.backward(criterion.backward())
    optimizer.step()

    with nn.no_grad(), numpy.errstate(all="ignore"):
        logits_after = model(x)
        loss_after = criterion(logits_after, target)
    columns, dcolumns = _columns(x, activations.grad["conv"], old["conv.weight"])
    return Step(
        image=image,
        seed=seed,
        lr=lr,
        rung=backend.rung_for(x),
        target=int(target[0]),
        activations=dict(activations),
        activation_gradients=activations.grad,
        parameters=old,
        parameter_gradients={name: parameter.grad for name, parameter in model.named_parameters()},
        new_parameters=model.state_dict(),
        columns=columns,
        dcolumns=dcolumns,
        winners=ops.max_pool2d(activations["relu"], 2, 2)[1].winner,
        probabilities=F.softmax(activations.output, 1)[0],
        loss=float(loss),
        logits_after=logits_after,
        probabilities_after=F.softmax(logits_after, 1)[0],
        loss_after=float(loss_after),
    )


def _columns(x: Array, dy: Array, weight: Array) -> tuple[Array, Array]:
    """im2col's matrix (9, 16) and its gradient.

    A convolution is a linear layer that sees the columns one after another, so the gradient of the columns is
    that layer's dx.
    """
    columns = im2col(x, (3, 3), 1, 1).reshape(9, 16)
    layer = LinearCache(columns.T, weight.reshape(2, 9), True)
    dcolumns = ops.linear_backward(dy.reshape(2, 16).T, layer)[0].T  # (9, 16)
    return columns, dcolumns
