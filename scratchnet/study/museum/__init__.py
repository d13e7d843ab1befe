"""The bug museum: real mistakes of from-scratch libraries, each with the check that finds it.

EXHIBITS                         name → Exhibit: the wrong code beside the right, why it is written, what it does
run_check(check, bug, case)      one of CHECKS on one of CASES, with the bug switched on
train(bug, optimizer, steps)     the museum's network on MNIST, with the bug
"""

from scratchnet.study.museum import conv, dropout, layers, loop, loss, norm, optim, pool, sharing, start  # noqa: F401
from scratchnet.study.museum.cases import CASES
from scratchnet.study.museum.checks import CHECKS, Finding, run_check
from scratchnet.study.museum.exhibit import EXHIBITS, FAMILIES, HEALTHY, Bug, Exhibit
from scratchnet.study.museum.training import Run, train

__all__ = [
    "CASES",
    "CHECKS",
    "EXHIBITS",
    "FAMILIES",
    "HEALTHY",
    "Bug",
    "Exhibit",
    "Finding",
    "Run",
    "run_check",
    "train",
]
