"""The checks that find bugs. Each takes a bug and what it is run on, and says what it found.

    gradcheck         is the backward pass the derivative of the forward pass?
    parity            does a layer compute what torch's computes, in the mode that it is in?
    expectation       is the mean of dropout's output its input?
    evaluation        is the answer for an image the same alone, in a batch, and twice?
    optimizer         are five steps those of torch's optimizer?
    initialisation    do activations keep their size, do units differ, is the first loss that of knowing nothing?
    pairs             does every image of an epoch have its own label?
    fresh gradients   are the gradients of a step those of its batch alone?

gradcheck and parity work on any layer. The others are for what no gradient shows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy

import scratchnet
from scratchnet import nn, optim
from scratchnet.study.gradcheck import gradcheck
from scratchnet.study.museum import cases, loop
from scratchnet.study.museum.exhibit import Bug
from scratchnet.study.museum.network import UNIFORM_LOSS, MuseumNet
from scratchnet.study.parity import parity


class Finding(NamedTuple):
    """What a check says: ok is None where it cannot judge, and text says why."""

    ok: bool | None
    text: str


def _gradcheck(bug: Bug, case: str) -> Finding:
    module = bug.planted(cases.ours(case))
    try:
        report = gradcheck(module, *cases.CASES[case].inputs)
    except ValueError as error:
        return Finding(False, str(error))
    return Finding(report.ok, str(report))


def _parity(bug: Bug, case: str) -> Finding:
    module = bug.planted(cases.ours(case))
    if case == "dropout":
        return Finding(None, "parity: torch draws another mask, so the two cannot be compared in training mode")
    try:
        report = parity(module, cases.theirs(case, module), *cases.CASES[case].inputs)
    except ImportError as error:
        return Finding(None, f"parity needs PyTorch, which cannot be imported ({error}): pip install torch")
    return Finding(report.ok, str(report))


def _expectation(bug: Bug, case: str) -> Finding:
    p, calls = 0.4, 50
    layer = bug.planted(nn.Dropout(p, rng=0).double())
    x = numpy.ones((200, 50))
    mean = float(numpy.mean([layer.forward(x)[0] for _ in range(calls)]))
    allowed = 5 * (p / (1 - p) / (calls * x.size)) ** 0.5  # five standard deviations of this mean
    ok = abs(mean - 1) <= allowed
    return Finding(ok, f"dropout of ones, p = {p}, mean over {calls} masks: {mean:.4f}, expected 1 ± {allowed:.4f}")


def _evaluation(bug: Bug, case: str) -> Finding:
    layer = bug.planted(cases.CASES[case].build(nn).double()).eval()
    x = cases.CASES[case].inputs[0]
    whole, again = layer(x), layer(x)
    alone = numpy.concatenate([layer(x[i : i + 1]) for i in range(len(x))])
    off = [float(abs(other - whole).max()) for other in (again, alone)]
    ok = max(off) <= 1e-12 * float(abs(whole).max())
    told = f"in evaluation the same batch again differs by {off[0]:.2g}, and image by image by {off[1]:.2g}"
    return Finding(ok, f"{type(layer).__name__}: {told}")


OPTIMIZERS = {
    "sgd": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}),
    "nesterov": (optim.SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    "adam": (optim.Adam, {"lr": 0.003}),
    "adamw": (optim.AdamW, {"lr": 0.003, "weight_decay": 0.01}),
}


def make_optimizer(name: str, bug: Bug, parameters: list[nn.Parameter]) -> optim.Optimizer:
    """The optimizer of that name, or what the bug makes of it, if it is of that kind."""
    kind, options = OPTIMIZERS[name]
    wrong = bug.optimizer
    return (wrong if wrong is not None and wrong.__base__ is kind else kind)(parameters, **options)


def _optimizer(bug: Bug, case: str) -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding(None, f"needs PyTorch, which cannot be imported ({error}): pip install torch")
    rng = numpy.random.default_rng(0)
    sizes = (1.0, 1e-5)  # of the gradients: an ε in the wrong place shows at the small ones
    ours = [nn.Parameter(rng.standard_normal(6)) for _ in sizes]
    theirs = [torch.nn.Parameter(torch.from_numpy(p.data.copy())) for p in ours]
    name, options = OPTIMIZERS[case][0].__name__, OPTIMIZERS[case][1]
    mine, twin = make_optimizer(case, bug, ours), getattr(torch.optim, name)(theirs, **options)
    steps, worst, first = 5, 0.0, 0
    for step in range(1, steps + 1):
        for size, p, q in zip(sizes, ours, theirs, strict=True):
            p.grad = size * (1 + 0.1 * rng.standard_normal(6))
            q.grad = torch.from_numpy(p.grad.copy())
        mine.step()
        twin.step()
        off = max(float(abs(p.data - q.detach().numpy()).max()) for p, q in zip(ours, theirs, strict=True))
        if off > 1e-12 and not first:
            first = step
        worst = max(worst, off)
    how = f"{name}({', '.join(f'{k}={v}' for k, v in options.items())}), {steps} steps beside torch's"
    since = f" from step {first}" if first else ""
    return Finding(not first, f"{how}:\nthe parameters differ by up to {worst:.2g}{since}")


def _initialisation(bug: Bug, case: str) -> Finding:
    model = bug.planted(MuseumNet(rng=0))
    x = numpy.random.default_rng(1).random((64, 1, 28, 28), dtype="float32")
    labels = numpy.arange(64) % 10
    equal = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and len(numpy.unique(module.weight.data, axis=0)) == 1
    ]
    spread = {}
    for name in ("conv1", "conv2", "conv3"):
        layer, terms = getattr(model, name), getattr(model, name).weight.data[0].size
        spread[name] = float((layer.weight.data.var() * terms) ** 0.5)  # of a sum of unit inputs
    loss = float(nn.CrossEntropyLoss()(model.eval()(x), labels))
    told = f"first loss {loss:.3f}, {UNIFORM_LOSS:.3f} for knowing nothing; gain of " + ", ".join(
        f"{name} {value:.2f}" for name, value in spread.items()
    )
    if equal:
        return Finding(False, f"{told}; all units are equal in {', '.join(equal)}")
    ok = abs(loss - UNIFORM_LOSS) < 0.5 and all(0.3 < value < 1.5 for value in spread.values())
    return Finding(ok, told + " (0.3 … 1.5: He's is 1.41, torch's default 0.58)")


def _pairs(bug: Bug, case: str) -> Finding:
    images = numpy.arange(100)  # image i has label i
    x, labels = (bug.draw or loop.shuffled)(numpy.random.default_rng(0), images, images)
    wrong = int((x != labels).sum())
    return Finding(not wrong, f"an epoch of 100 images: {wrong} have another image's label")


def _fresh_gradients(bug: Bug, case: str) -> Finding:
    model = nn.Linear(4, 3, rng=0).double()
    criterion, still = nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.0)
    x, labels = cases.normal(5, 4), numpy.array([0, 1, 2, 0, 1])
    grads = []
    for _ in range(2):
        (bug.step or loop.train_step)(model, criterion, still, x, labels)
        grads.append(numpy.array(model.weight.grad))
    off = float(abs(grads[1] - grads[0]).max())
    return Finding(off == 0, f"two steps on one batch with learning rate 0: the gradients differ by {off:.3g}")


CHECKS: dict[str, Callable[[Bug, str], Finding]] = {
    "gradcheck": _gradcheck,
    "parity": _parity,
    "expectation": _expectation,
    "evaluation": _evaluation,
    "optimizer": _optimizer,
    "initialisation": _initialisation,
    "pairs": _pairs,
    "fresh gradients": _fresh_gradients,
}

# What a check other than gradcheck and parity is run on, where the museum's network is examined as a whole.
SUBJECTS = {
    "expectation": ("dropout",),
    "evaluation": ("batch norm in evaluation", "dropout in evaluation"),
    "optimizer": tuple(OPTIMIZERS),
    "initialisation": ("network",),
    "pairs": ("mnist",),
    "fresh gradients": ("network",),
}


def run_check(check: str, bug: Bug, case: str) -> Finding:
    """Run a check on the rung im2col, whose caches the museum's functions read, with the bug switched on."""
    with scratchnet.use("im2col"), bug.active(), numpy.errstate(all="ignore"):
        return CHECKS[check](bug, case)
