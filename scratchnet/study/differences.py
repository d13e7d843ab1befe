"""The slope of a function along a line by finite differences, with an error bar, and what is a kink and what a bug.

φ(t) = ⟨v, y(t)⟩ is the output along a line through the point, summed with fixed weights v. The central difference

    D(h) = (φ(h) − φ(−h)) / 2h = φ′ + O(h²)

costs two evaluations, and its error has three sources, each of which is computed here rather than assumed:

    h² · φ‴/6      bounded by tol · s with s = Σ_j |v_j|·|y_j(h) − y_j(−h)| / 2h, the same sum over absolute terms. At
                   a smooth point h²/6 is 1e-11; where φ bends within a step it is larger, and the step shrinks
    ε / h          the rounding of y, measured: how much y moves when its arguments change in their last bits
    h₊ ≠ h₋        x ± h are rounded too, which moves the middle of the difference: ε·(difference of the slopes)/h

Where the analytic slope and D(h) disagree, the step shrinks by 4 again and again. That ends in one of four ways:

    they agree at a smaller step                                              right: a kink or a bend was near
    D(h) stays as it is and the slopes on the two sides meet                  wrong: φ is smooth, the slope is another
    the two sides differ by a jump that does not shrink with h                a kink AT the point
    the jump grows as h shrinks                                               wrong: φ itself is not continuous

A slope that is tiny beside the rounding error of y, such as one that is zero by mathematics, agrees with everything
small. There the step also grows, and the sharper differences have the last word as long as they show a smooth φ.

At a kink no single slope is right, and the analytic one is accepted exactly if it lies between those of the two
sides (relu′(0) may be anything from 0 to 1); with several outputs, between the sums over the outputs of the smaller
and of the larger slope. A bug cannot pass for a kink: a smooth point has none, however strongly
φ bends, since there the difference between the sides shrinks with h.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy

from scratchnet.ops.shape import Array
from scratchnet.study.analytic import EPS

STEP = 2.0**-17  # near ε^⅓, where h² and ε/h balance; relative to the size of what moves
SHRINK = 4
LEVELS = 7  # the last step is 2⁻²⁹
ROUNDINGS = 8  # how many times the measured rounding error is allowed for
UNDECIDED = 3e-4  # a slope known less well than this fraction of s decides nothing
COARSE = 1e-5  # where rounding is more than this fraction of s, longer steps are tried too

# t → (y at the displacement t, the displacement that rounding has left of t)
Line = Callable[[float], tuple[Array, float]]


class Slopes(NamedTuple):
    """What one step size says."""

    central: float
    low: float  # the slopes of the two sides, the smaller and the larger for each output element
    high: float
    jump: float  # their difference in φ
    scale: float  # s
    bound: float  # of |analytic − central| at a smooth point


class Verdict(NamedTuple):
    numeric: float
    error: float  # |analytic − numeric| over what is allowed
    sides: tuple[float, float] | None = None  # the two slopes, if it is a kink
    note: str = ""

    @property
    def ok(self) -> bool:
        return self.error <= 1


class Differences:
    """Compares analytic slopes of φ = ⟨v, y⟩ with numerical ones, along lines through one point.

    y is the output at the point, v the weights, rounding how far each element of y can be off.
    """

    def __init__(self, y: Array, v: Array, rounding: Array, tol: float) -> None:
        self.y, self.v, self.tol = y, v, tol
        self._rounding = ROUNDINGS * abs(v) * rounding

    def compare(self, line: Line, analytic: float, analytic_rounding: float = 0.0) -> Verdict:
        """The verdict on the slope `analytic` at t = 0, which may itself be off by analytic_rounding."""

        def slopes(h: float) -> Slopes:
            return self._slopes(line, h, ROUNDINGS * analytic_rounding)

        first = slopes(STEP)
        if not numpy.isfinite(first.central):
            return Verdict(
                first.central, float("inf"), note="forward gives NaN or inf within a small step of this point"
            )
        if not abs(analytic - first.central) <= first.bound:
            return self._shrink(slopes, analytic, first)
        drowned = first.bound - self.tol * first.scale > COARSE * first.scale and analytic != first.central
        return (drowned and _grow(slopes, analytic)) or _verdict(analytic, first.central, first.bound)

    def _shrink(self, slopes: Callable[[float], Slopes], analytic: float, first: Slopes) -> Verdict:
        levels = [first]
        loose: Verdict | None = None  # it agrees, but only because D(h) still moves: sharper steps have the last word
        for k in range(1, LEVELS):
            last, previous = slopes(STEP / SHRINK**k), levels[-1]
            decides = UNDECIDED * max(first.scale, last.scale)
            if last.bound > decides and k >= 3:
                break  # rounding drowns the rest
            levels.append(last)
            change = abs(last.central - previous.central)
            bound = last.bound + change / 3
            if abs(analytic - last.central) <= bound <= decides:
                loose = _verdict(analytic, last.central, bound)
                if change / 3 <= last.bound:
                    return loose
            if change <= previous.bound + last.bound and _meet(last, previous):
                return _verdict(analytic, previous.central, previous.bound)
        return loose or _at_a_kink(analytic, levels)

    def _slopes(self, line: Line, h: float, analytic_rounding: float) -> Slopes:
        (y_right, h_right), (y_left, h_left) = line(h), line(-h)
        right, left = _difference(y_right, self.y), _difference(self.y, y_left)
        width = h_right - h_left
        scale = float((abs(self.v) * abs(right + left)).sum()) / width
        right_slopes, left_slopes = self.v * right / h_right, self.v * left / -h_left  # of each output element
        jump = abs(float((right_slopes - left_slopes).sum()))
        rounding = float(self._rounding[(right != 0) | (left != 0)].sum()) / width
        off_centre = jump * 2 * EPS / h
        return Slopes(
            central=float((self.v * (right + left)).sum()) / width,
            low=float(numpy.minimum(right_slopes, left_slopes).sum()),
            high=float(numpy.maximum(right_slopes, left_slopes).sum()),
            jump=jump,
            scale=scale,
            bound=self.tol * scale + rounding + off_centre + analytic_rounding,
        )


def _meet(last: Slopes, previous: Slopes) -> bool:
    """Whether the slopes of the two sides come together as the step shrinks from `previous` to `last`."""
    return last.jump <= 0.5 * previous.jump + last.bound


def _grow(slopes: Callable[[float], Slopes], analytic: float) -> Verdict | None:
    """Longer steps, for a slope that rounding drowns: a failure, if φ is smooth as far as they reach; else None."""
    levels = [slopes(STEP * 8**k) for k in range(1, 5)]
    for shorter, longer in itertools.pairwise(levels):
        bound = shorter.bound + abs(longer.central - shorter.central) / 4
        if abs(analytic - shorter.central) > bound and _meet(shorter, longer):
            return _verdict(analytic, shorter.central, bound)
    return None


def _at_a_kink(analytic: float, levels: list[Slopes]) -> Verdict:
    before, previous, last = (level.high - level.low for level in levels[-3:])
    low, high, bound = levels[-1].low, levels[-1].high, levels[-1].bound
    if not (last > 0.5 * previous > 0.25 * before and last > bound):
        return _verdict(analytic, levels[-1].central, bound)
    if last > 2 * previous or previous > 2 * before:
        note = "forward jumps here: it is not continuous, so it has no slope"
        return Verdict(levels[-1].central, float("inf"), note=note)
    nearest = min(max(analytic, low), high)
    return _verdict(analytic, nearest, bound)._replace(sides=(low, high))


def _difference(a: Array, b: Array) -> Array:
    """a − b, and 0 where both are the same infinity."""
    with numpy.errstate(invalid="ignore"):
        return numpy.where(a == b, 0.0, a - b)


def _verdict(analytic: float, numeric: float, bound: float) -> Verdict:
    deviation = abs(analytic - numeric)
    if bound and numpy.isfinite(deviation):
        return Verdict(numeric, deviation / bound)
    return Verdict(numeric, 0.0 if deviation == 0 else float("inf"))
