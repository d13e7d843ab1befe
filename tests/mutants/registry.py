"""The list of planted bugs: the museum's exhibits of layers, and more that are not worth showing.

A mutant replaces one function of an op, on the im2col rung, whose caches it reads. One whose forward function is
wrong may bring the backward function that belongs to it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scratchnet.study.museum import EXHIBITS


@dataclass(frozen=True)
class Mutant:
    overrides: Mapping[str, Callable]
    case: str
    check: str  # which of the two kills it


MUTANTS: dict[str, Mutant] = {
    name: Mutant(exhibit.bug.overrides, exhibit.case, exhibit.check)
    for name, exhibit in EXHIBITS.items()
    if exhibit.bug.overrides and exhibit.check in ("gradcheck", "parity")
}


def mutant(op, case, check="gradcheck", backward=None):
    """Register a function as a mutant of `op`, to be killed on that case by that check."""

    def register(function):
        overrides = {op: function} if backward is None else {op: function, f"{op}_backward": backward}
        assert function.__name__ not in MUTANTS
        MUTANTS[function.__name__] = Mutant(overrides, case, check)
        return function

    return register
