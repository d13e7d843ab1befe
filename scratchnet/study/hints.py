"""What a wrong gradient looks like: the usual mistakes leave a pattern that can be named."""

from collections.abc import Iterator

import numpy

from scratchnet.ops.shape import Array

CLOSE = 1e-5  # of the norm: how well a pattern has to fit


def hint(analytic: Array, numeric: Array, wrong: int) -> str:
    """A sentence on how a gradient differs from the right one, or "" if no pattern fits."""
    if not (numpy.isfinite(analytic).all() and numpy.isfinite(numeric).all()) or analytic.size < 2:
        return ""
    if not analytic.any():
        return "the gradient is zero everywhere" if wrong > 1 else ""
    return _factor(analytic, numeric) or next(_rearranged(analytic, numeric), "") or _constant(analytic, numeric)


def _fits(a: Array, b: Array) -> bool:
    return bool(numpy.linalg.norm(a - b) <= CLOSE * numpy.linalg.norm(b))


def _factor(analytic: Array, numeric: Array) -> str:
    factor = float((analytic * numeric).sum() / (analytic * analytic).sum())
    if numpy.count_nonzero(numeric) < 2 or factor == 0 or not _fits(factor * analytic, numeric):
        return ""
    if abs(factor + 1) < CLOSE:
        return "every element has the wrong sign"
    if abs(factor - 1) < CLOSE:
        return ""
    return (
        f"every element is off by the same factor: numeric = {factor:.6g} × analytic "
        "(a forgotten mean, a sum in its place, a 1/(1−p)?)"
    )


def _rearranged(analytic: Array, numeric: Array) -> Iterator[str]:
    for axis in range(analytic.ndim):
        for other in range(axis):
            if analytic.shape[axis] == analytic.shape[other] and _fits(analytic.swapaxes(other, axis), numeric):
                yield f"the gradient looks transposed: it fits with axes {other} and {axis} swapped"
    if analytic.ndim >= 2 and _fits(numpy.flip(analytic, (-2, -1)), numeric):
        yield "the gradient looks flipped: it fits with the last two axes reversed"


def _constant(analytic: Array, numeric: Array) -> str:
    difference = numeric - analytic
    if numpy.count_nonzero(difference) == difference.size and _fits(
        numpy.full_like(difference, difference.mean()), difference
    ):
        return (
            f"every element is off by the same amount: numeric = analytic + {difference.mean():.6g} (a missing term?)"
        )
    return ""
