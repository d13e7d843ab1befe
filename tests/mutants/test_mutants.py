"""Planted bugs: each is a mistake that people make, and one of the two checks has to find it.

A mutant is killed if the check that it names fails with it and passes without it. gradcheck sees a backward pass that
does not belong to its forward pass. A wrong forward pass together with the gradient that does belong to it, or another
convention, takes parity with torch.
"""

import contextlib

import numpy as np
import pytest
from mutants import conv_mutants, layer_mutants, loss_mutants, norm_mutants, pool_mutants
from mutants.registry import MUTANTS

import scratchnet
from scratchnet.study import gradcheck, parity
from scratchnet.study.museum import cases

FAMILIES = conv_mutants, layer_mutants, loss_mutants, norm_mutants, pool_mutants
NOT_EVEN_A_DERIVATIVE = {
    "softmax_without_subtracting_the_maximum",
    "softmax-overflows",
    "batch-norm-eps-outside-the-root",
}
FOR_PARITY = [name for name, mutant in MUTANTS.items() if mutant.check == "parity"]


def report_on(case, check):
    module = cases.ours(case)
    inputs = cases.CASES[case].inputs
    return gradcheck(module, *inputs) if check == "gradcheck" else parity(module, cases.theirs(case, module), *inputs)


@contextlib.contextmanager
def planted(name):
    with contextlib.ExitStack() as stack:
        for overrides, function in MUTANTS[name].overrides.items():
            stack.enter_context(scratchnet.override(overrides, function))
        yield


@pytest.fixture(autouse=True)
def _im2col():
    with scratchnet.use("im2col"):
        yield


@pytest.mark.parametrize(("case", "check"), sorted({(mutant.case, mutant.check) for mutant in MUTANTS.values()}))
def test_without_a_mutant_the_check_passes(case, check):
    report_on(case, check).check()


@pytest.mark.parametrize("name", MUTANTS)
def test_the_mutant_is_killed(name):
    with planted(name):
        report = report_on(MUTANTS[name].case, MUTANTS[name].check)
    assert not report.ok, f"survived:\n{report}"


@pytest.mark.parametrize("name", FOR_PARITY)
def test_what_takes_parity_is_right_as_a_derivative(name):
    with planted(name), np.errstate(all="ignore"):
        gradcheck_passes = report_on(MUTANTS[name].case, "gradcheck").ok
    assert gradcheck_passes == (name not in NOT_EVEN_A_DERIVATIVE)  # these are seen by both


def test_there_are_many():
    assert len(MUTANTS) >= 60
    assert len(FOR_PARITY) >= 10
    for family in FAMILIES:
        assert any(
            function.__module__ == family.__name__ for m in MUTANTS.values() for function in m.overrides.values()
        )
