"""Mistakes in optimizers."""

from collections.abc import Callable

from scratchnet import optim
from scratchnet.ops.shape import Array, array_module
from scratchnet.optim.adam import adam_update
from scratchnet.optim.sgd import sgd_update
from scratchnet.study.museum.exhibit import Bug, exhibit

FAMILY = "optimizer"


def _sgd(wrong: Callable[..., None]) -> Bug:
    return Bug(optimizer=type("SGD", (optim.SGD,), {"update": staticmethod(wrong)}))


def _adam(wrong: Callable[..., None]) -> Bug:
    return Bug(optimizer=type("Adam", (optim.Adam,), {"update": staticmethod(wrong)}))


@exhibit(
    "sgd-decay-after-momentum",
    title="Weight decay after the momentum",
    family=FAMILY,
    right=sgd_update,
    bug=_sgd,
    check="optimizer",
    case="sgd",
    why="Decay is added where the parameter is changed. As the gradient of ½λ‖θ‖² it belongs to the gradient, before "
    "the momentum sums it up, which multiplies it by up to 1/(1 − μ).",
    effect="The decay is about ten times weaker (momentum 0.9) than the same number means in torch. A setting copied "
    "from a paper regularises a tenth as much.",
    notice="No gradient is wrong. Take three steps with a constant gradient and compare with torch. (Decay outside of "
    "the momentum is a method of its own, SGDW; the bug is to call it SGD.)",
    seen=("ml-explore/mlx issue 440: another slip of order, weight decay that was skipped without momentum",),
)
def sgd_decay_after_momentum(
    param: Array,
    grad: Array,
    momentum_buffer: Array | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    if maximize:
        grad = -grad
    if momentum_buffer is not None:
        momentum_buffer *= momentum
        momentum_buffer += (1 - dampening) * grad
        grad = grad + momentum * momentum_buffer if nesterov else momentum_buffer
    if weight_decay != 0:
        grad = grad + weight_decay * param
    param -= lr * grad


@exhibit(
    "nesterov-sign",
    title="Nesterov's momentum with the wrong sign",
    family=FAMILY,
    right=sgd_update,
    bug=_sgd,
    check="optimizer",
    case="nesterov",
    optimizer="nesterov",
    why="Half of the literature writes v as a step (θ + v, v = μ·v − γ·g), half as a sum of gradients (θ − γ·v). Terms "
    "copied from one form into the other change sign.",
    effect="The parameter moves against its momentum: where gradients agree, the second step already goes uphill. "
    "Training diverges.",
    notice="Steps with the gradient 1, learning rate 0.1 and momentum 0.9 have to be 0.19, then 0.271, then 0.3439.",
    seen=("PaddlePaddle/Paddle pull request 12231: this sign, in a framework that many use",),
)
def nesterov_sign(
    param: Array,
    grad: Array,
    momentum_buffer: Array | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * param
    if momentum_buffer is not None:
        momentum_buffer *= momentum
        momentum_buffer += (1 - dampening) * grad
        grad = grad - momentum * momentum_buffer if nesterov else momentum_buffer
    param -= lr * grad


@exhibit(
    "adam-without-bias-correction",
    title="Adam without its bias correction",
    family=FAMILY,
    right=adam_update,
    bug=_adam,
    check="optimizer",
    case="adam",
    optimizer="adam",
    why="m and v look finished without it.",
    effect="The first step is (1 − β₁)/√(1 − β₂) ≈ 3.2 times the learning rate, and the steps stay too large for some "
    "hundred steps, since v forgets its zero start a hundred times more slowly than m. In the museum's short training "
    "larger steps even help; with a learning rate near the limit they throw the network off.",
    notice="The very first step of Adam has size lr in every element, whatever the gradient (but for ε). Here it is "
    "3.16 times that.",
    seen=(
        "karpathy/convnetjs pull request 107: an error in Adam's bias correction",
        "eriklindernoren/ML-From-Scratch issue 35: a bias correction without the power t",
    ),
)
def adam_without_bias_correction(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    *,
    step: float,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
    decoupled_weight_decay: bool,
) -> None:
    xp = array_module(param)
    if maximize:
        grad = -grad
    if weight_decay != 0:
        if decoupled_weight_decay:
            param *= 1 - lr * weight_decay
        else:
            grad = grad + weight_decay * param

    exp_avg += (1 - beta1) * (grad - exp_avg)
    exp_avg_sq *= beta2
    exp_avg_sq += (1 - beta2) * grad * grad
    if max_exp_avg_sq is not None:
        xp.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
        exp_avg_sq = max_exp_avg_sq

    denominator = xp.sqrt(exp_avg_sq) + eps
    param -= lr * exp_avg / denominator


@exhibit(
    "adam-eps-inside-the-root",
    title="Adam's ε inside the root",
    family=FAMILY,
    right=adam_update,
    bug=_adam,
    check="optimizer",
    case="adam",
    optimizer="adam",
    why="√(v + ε) is how BatchNorm does it, and RMSprop in some libraries.",
    effect="The floor of the denominator is √ε = 10⁻⁴ instead of 10⁻⁸. Elements with gradients below 10⁻⁴, frequent in "
    "large networks, move in proportion to their gradient instead of by the learning rate.",
    notice="With gradients of the order of 1 nothing is seen. Compare steps for gradients of 10⁻⁵.",
    seen=(
        "CyberZHG/keras-radam issue 29: epsilon inside the root, where Adam has it outside",
        "d2l-ai/d2l-zh pull request 502: the same slip in a formula of a textbook (its code was right)",
    ),
)
def adam_eps_inside_the_root(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    *,
    step: float,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
    decoupled_weight_decay: bool,
) -> None:
    xp = array_module(param)
    if maximize:
        grad = -grad
    if weight_decay != 0:
        if decoupled_weight_decay:
            param *= 1 - lr * weight_decay
        else:
            grad = grad + weight_decay * param

    exp_avg += (1 - beta1) * (grad - exp_avg)
    exp_avg_sq *= beta2
    exp_avg_sq += (1 - beta2) * grad * grad
    if max_exp_avg_sq is not None:
        xp.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
        exp_avg_sq = max_exp_avg_sq

    bias_correction1 = 1 - beta1**step
    bias_correction2 = 1 - beta2**step
    denominator = xp.sqrt(exp_avg_sq / bias_correction2 + eps)
    param -= (lr / bias_correction1) * exp_avg / denominator


@exhibit(
    "adam-decay-without-learning-rate",
    title="Decoupled weight decay that forgets the learning rate",
    family=FAMILY,
    right=adam_update,
    bug=lambda wrong: Bug(optimizer=type("AdamW", (optim.AdamW,), {"update": staticmethod(wrong)})),
    check="optimizer",
    case="adamw",
    optimizer="adamw",
    why="AdamW's paper takes the decay out of the gradient, and with it the learning rate that multiplied it. In "
    "torch the decay of a step is lr·λ.",
    effect="With lr 0.001 the decay is a thousand times too strong: weights shrink by 1% a step (λ = 0.01) and nothing "
    "is learned that needs large weights. A learning-rate schedule no longer scales it.",
    notice="One step with a zero gradient: the parameter has to be multiplied by 1 − lr·λ.",
    seen=(
        "lucidrains/lion-pytorch issue 39 and deeplearning4j/deeplearning4j issue 5843, which discuss what of the two "
        "a library does",
    ),
)
def adam_decay_without_learning_rate(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    *,
    step: float,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
    decoupled_weight_decay: bool,
) -> None:
    xp = array_module(param)
    if maximize:
        grad = -grad
    if weight_decay != 0:
        if decoupled_weight_decay:
            param *= 1 - weight_decay
        else:
            grad = grad + weight_decay * param

    exp_avg += (1 - beta1) * (grad - exp_avg)
    exp_avg_sq *= beta2
    exp_avg_sq += (1 - beta2) * grad * grad
    if max_exp_avg_sq is not None:
        xp.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
        exp_avg_sq = max_exp_avg_sq

    bias_correction1 = 1 - beta1**step
    bias_correction2 = 1 - beta2**step
    denominator = xp.sqrt(exp_avg_sq) / bias_correction2**0.5 + eps
    param -= (lr / bias_correction1) * exp_avg / denominator
