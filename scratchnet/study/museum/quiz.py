"""The quiz: a hidden bug, and the tools to find it. Everything follows from a number, so that nothing is kept.

A part of the museum's network is what the tools are pointed at. Each part stands for a small module of its kind, with
inputs that bring out what can go wrong in it.
"""

import numpy

from scratchnet.study.museum.checks import Finding, run_check
from scratchnet.study.museum.exhibit import EXHIBITS, HEALTHY, Bug, Exhibit

HEALTHY_NAME = "healthy"

# part → the cases that it is examined on
PARTS: dict[str, tuple[str, ...]] = {
    "conv1": ("conv",),
    "conv2": ("strided conv",),
    "bn1": ("batch norm", "batch norm in evaluation"),
    "maxpool": ("padded max pool", "overlapping max pool", "tied max pool"),
    "relu1": ("relu", "relu at 0"),
    "avgpool": ("padded average pool",),
    "out": ("linear", "square linear"),
    "shared": ("shared linear",),
    "dropout": ("dropout", "dropout in evaluation"),
    "loss": ("cross entropy", "sure cross entropy", "big cross entropy"),
}

# check → what it can be pointed at
TOOLS: dict[str, tuple[str, ...]] = {
    "gradcheck": tuple(PARTS),
    "parity": tuple(PARTS),
    "expectation": ("dropout",),
    "evaluation": ("bn1", "dropout"),
    "optimizer": ("sgd", "nesterov", "adam", "adamw"),
    "initialisation": ("network",),
    "pairs": ("mnist",),
    "fresh gradients": ("network",),
}


def candidates() -> list[str]:
    """All answers: the exhibits that live in the network of the quiz, and that there is no bug."""
    return [*(name for name, e in EXHIBITS.items() if e.network == "cnn"), HEALTHY_NAME]


def hidden(seed: int) -> str:
    names = candidates()
    return names[int(numpy.random.default_rng((seed, 6)).integers(len(names)))]


def exhibit_of(seed: int) -> Exhibit | None:
    return EXHIBITS.get(hidden(seed))


def bug_of(seed: int) -> Bug:
    exhibit = exhibit_of(seed)
    return HEALTHY if exhibit is None else exhibit.bug


def examine(seed: int, check: str, part: str) -> list[tuple[str, Finding]]:
    """The findings of a tool on a part, one for each case that it can be run on."""
    cases = PARTS.get(part, (part,))
    if check == "evaluation":
        cases = tuple(case for case in cases if "evaluation" in case)
    if check == "expectation":
        cases = ("dropout",)
    return [(case, run_check(check, bug_of(seed), case)) for case in cases]
