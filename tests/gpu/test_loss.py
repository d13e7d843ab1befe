"""Losses on the cuda rung: every option against torch, no waiting, and class indices out of range."""

import gpu_emulation
import numpy as np
import pytest
from parity_cases import assert_parity, normal

import scratchnet
from scratchnet import backend
from scratchnet import functional as F
from scratchnet.ops.loss import cross_entropy as textbook

SHAPES = [(5, 4), (1, 1), (3, 33), (2, 65), (3, 4, 2, 5), (0, 3)]


def targets(shape, ignored=False):
    rng = np.random.default_rng(7)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    if ignored:
        target[rng.random(target.shape) < 0.4] = -100
    return target


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_class_indices(checked_gpu, shape, weighted, reduction):
    weight = 0.1 + abs(normal(shape[1], seed=4)) if weighted else None
    logits, target = 3 * normal(*shape), targets(shape, ignored=True)
    for op, more in (("cross_entropy", {"label_smoothing": 0.2}), ("cross_entropy", {}), ("nll_loss", {})):
        dy = np.asarray(0.7) if reduction != "none" else None
        options = {"target": target, "weight": weight, "reduction": reduction, **more}
        assert_parity(op, [logits], xp=checked_gpu, dy=dy, **options)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(3, 4), (1,), (2, 3, 5), (300,)])
def test_squared_error(checked_gpu, shape, reduction):
    dy = np.asarray(-1.3) if reduction != "none" else None
    assert_parity(
        "mse_loss", [normal(*shape)], xp=checked_gpu, dy=dy, target=normal(*shape, seed=1), reduction=reduction
    )


def test_large_and_infinite_logits(checked_gpu):
    logits = np.array([[1e4, -1e4, 0.0], [-np.inf, 2.0, 1.0], [700.0, 710.0, 705.0]])
    for target in ([0, 1, 2], [1, 2, 0]):
        assert_parity("cross_entropy", [logits], xp=checked_gpu, dtypes=("float64",), target=np.array(target))


def test_all_ignored_is_nan_as_in_torch(checked_gpu):
    assert_parity("cross_entropy", [normal(3, 4)], xp=checked_gpu, target=np.full(3, -100))


@pytest.mark.parametrize("op", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("wrong", [4, -1, 2**40, -(2**63)])
def test_a_class_out_of_range_makes_the_loss_nan_and_reads_nothing_outside(checked_gpu, op, wrong):
    target = checked_gpu.asarray(np.array([1, wrong, 3]))
    weight = checked_gpu.asarray(np.ones(4))
    with gpu_emulation.no_sync():
        loss, cache = getattr(F, op)(checked_gpu.asarray(normal(3, 4)), target, weight)
        dx = getattr(F, f"{op}_backward")(checked_gpu.ones((), "float64"), cache)
    assert np.isnan(loss.get())
    assert np.isnan(dx.get()[1]).all()


def test_the_plain_rung_refuses_it_and_waits(gpu):
    with scratchnet.use("im2col"), pytest.raises(ValueError, match="expected targets between 0 and 3, got 9"):
        F.cross_entropy(gpu.asarray(normal(3, 4)), gpu.asarray(np.array([1, 9, 3])))


@pytest.mark.parametrize("op", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_its_gradient_is_nan_and_no_other(checked_gpu, op, reduction):
    """For the mean, NaN comes from the divisor already, and to every position."""
    target = checked_gpu.asarray(np.array([1, 4, 3]))
    loss, cache = getattr(F, op)(checked_gpu.asarray(normal(3, 4)), target, reduction=reduction)
    dx = getattr(F, f"{op}_backward")(checked_gpu.ones(loss.shape, "float64"), cache).get()
    np.testing.assert_array_equal(np.isnan(dx).all(axis=1), [False, True, False])
    assert np.isfinite(dx[[0, 2]]).all()


@pytest.mark.parametrize("op", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("wrong", [
    {"target": np.array([1, 2**64 - 100, 3], "uint64")},
    {"target": np.array([1, 9, 3]), "ignore_index": 2**63},
])  # fmt: skip
def test_what_the_kernel_would_not_see_is_refused(gpu, op, wrong):
    """As int64 the first would be ignored; the second is left to the textbook, which would take it for no class."""
    options = {**wrong, "target": gpu.asarray(wrong["target"])}
    with pytest.raises(ValueError, match="expected targets between 0 and 3"):
        getattr(F, op)(gpu.asarray(normal(3, 4)), **options)


def test_a_function_in_its_place_gets_no_class_out_of_range(gpu):
    target = gpu.asarray(np.array([1, 9, 3]))
    with backend.override("cross_entropy", textbook), pytest.raises(ValueError, match="between 0 and 3, got 9"):
        F.cross_entropy(gpu.asarray(normal(3, 4)), target)


@pytest.mark.parametrize("op", ["cross_entropy", "nll_loss"])
def test_a_strided_target(checked_gpu, op):
    target = np.array([0, 3, 1, 3, 2, 3])
    loss, _ = getattr(F, op)(checked_gpu.asarray(normal(3, 4)), checked_gpu.asarray(target)[::2], reduction="none")
    expected, _ = getattr(F, op)(normal(3, 4), target[::2], reduction="none")
    np.testing.assert_allclose(loss.get(), expected, rtol=1e-13)
