"""Losses against torch."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_cases import assert_parity, normal

from scratchnet import functional as F

WEIGHT = np.array([0.5, 2.0, 1.0, 0.25])
REDUCTIONS = ["none", "mean", "sum"]
SHAPES = [(5, 4), (2, 4, 3), (2, 4, 3, 2), (1, 4, 1, 1, 2)]


def indices(shape, ignored=None, seed=3):
    """Class indices for logits of this shape, a third of them ignored."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    return target if ignored is None else np.where(rng.random(target.shape) < 1 / 3, ignored, target)


def probabilities(shape):
    p = np.exp(normal(*shape, seed=4))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_cross_entropy_grid(shape, reduction, weight):
    """Every combination of weights, ignore_index, smoothing and kind of target."""
    logits, options = 3 * normal(*shape), {"reduction": reduction, "weight": weight}
    for smoothing, ignored in product((0.0, 0.1, 1.0), (None, -100, 2)):
        more = {"label_smoothing": smoothing} | ({} if ignored is None else {"ignore_index": ignored})
        assert_parity("cross_entropy", [logits], target=indices(shape, ignored), **more, **options)
    for smoothing in (0.0, 0.1, 1.0):
        assert_parity("cross_entropy", [logits], target=probabilities(shape), label_smoothing=smoothing, **options)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_nll_loss_grid(shape, reduction, weight):
    for ignored in (-100, 2):
        target = indices(shape, ignored)
        options = {"weight": weight, "ignore_index": ignored, "reduction": reduction}
        assert_parity("nll_loss", [-abs(normal(*shape))], target=target, **options)


@given(st.data())
@settings(deadline=None, derandomize=True, max_examples=60)
def test_cross_entropy_drawn(data):
    draw = data.draw
    classes = draw(st.integers(1, 5), "classes")
    shape = (draw(st.integers(0, 4), "N"), classes, *draw(st.lists(st.integers(1, 3), max_size=2), "d"))
    seed, ignored = draw(st.integers(0, 99), "seed"), draw(st.integers(-1, 4), "ignore_index")
    logits = draw(st.sampled_from([0.1, 1, 50]), "scale") * normal(*shape, seed=seed)
    options = {
        "weight": abs(normal(classes, seed=seed)) + 0.1 if draw(st.booleans(), "weight") else None,
        "reduction": draw(st.sampled_from(REDUCTIONS), "reduction"),
        "label_smoothing": draw(st.sampled_from([0, 0.2, 1]), "label_smoothing"),
    }
    assert_parity("cross_entropy", [logits], target=indices(shape, ignored, seed), ignore_index=ignored, **options)
    assert_parity("cross_entropy", [logits], target=probabilities(shape), **options)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8"])
def test_class_indices_of_any_integer_type(dtype):
    target = np.array([1, 3, 0], dtype=dtype)
    loss, _ = F.cross_entropy(normal(3, 4), target)
    assert loss == F.cross_entropy(normal(3, 4), target.astype("int64"))[0]


def backward(op, logits, target, dloss=1.0, **options):
    loss, cache = getattr(F, op)(np.array(logits, dtype="float64"), np.array(target), **options)
    return loss, getattr(F, f"{op}_backward")(np.full(loss.shape, dloss), cache)


def test_huge_logits():
    """Softmax without the maximum taken out would be ∞/∞ here."""
    loss, dlogits = backward("cross_entropy", [[1000, -1000, 0]], [1])
    assert loss == 2000
    np.testing.assert_array_equal(dlogits, [[1, -1, 0]])
    assert_parity("cross_entropy", [np.array([[1000.0, -1000, 0]])], target=np.array([1]))


def test_plain_gradient_is_probabilities_minus_truth():
    logits = np.log([[0.2, 0.3, 0.5]])
    _, dlogits = backward("cross_entropy", logits, [2], reduction="sum")
    np.testing.assert_allclose(dlogits, [[0.2, 0.3, -0.5]], rtol=1e-15)


def test_mean_divides_by_the_weights_of_the_targets():
    """Two positions of weights 1 and 3: the mean is over 4, not over 2."""
    log_p, weight = np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([1.0, 3.0])
    for op in ("nll_loss", "cross_entropy"):
        loss, _ = backward(op, log_p, [0, 1], weight=weight)
        assert loss == pytest.approx(-(math.log(0.5) + 3 * math.log(0.75)) / 4, rel=1e-15)


def test_ignored_positions_do_not_count():
    logits = normal(3, 4)
    for op in ("nll_loss", "cross_entropy"):
        loss, dlogits = backward(op, logits, [1, -100, 2])
        kept, _ = backward(op, logits[[0, 2]], [1, 2])
        assert loss == pytest.approx(kept, rel=1e-15)
        assert not dlogits[1].any()
        assert backward(op, logits, [1, -100, 2], reduction="none")[0][1] == 0


@pytest.mark.parametrize("op", ["nll_loss", "cross_entropy"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_everything_ignored(op, reduction, weight):
    """The mean over nothing is NaN, and its gradient zero, as in torch."""
    target = np.full(3, -100)
    assert_parity(op, [normal(3, 4)], target=target, reduction=reduction, weight=weight)
    loss, dlogits = backward(op, normal(3, 4), target, reduction=reduction, weight=weight)
    assert np.isnan(loss).all() if reduction == "mean" else not loss.any()
    np.testing.assert_array_equal(dlogits, np.zeros((3, 4)))


@pytest.mark.parametrize("op", ["nll_loss", "cross_entropy"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_classes_of_weight_zero(op, reduction):
    """Where only they and ignored positions are left, the mean is 0/0; an ignored position has gradient 0 even then."""
    for target in (np.array([1, 2, -100, 0]), np.array([1, 1, -100, -100])):
        assert_parity(op, [normal(4, 4)], target=target, weight=np.array([1.0, 0, 2, 3]), reduction=reduction)


def test_everything_ignored_with_smoothing():
    assert_parity("cross_entropy", [normal(3, 4)], target=np.full(3, -100), weight=WEIGHT, label_smoothing=0.1)


@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_mean_over_an_empty_batch_is_not_a_number(kind):
    target = np.zeros(0, "int64") if kind == "indices" else np.zeros((0, 4))
    assert np.isnan(F.cross_entropy(np.zeros((0, 4)), target)[0])
    assert torch.nn.functional.cross_entropy(torch.zeros(0, 4).double(), torch.from_numpy(target)).isnan()
    assert np.isnan(F.mse_loss(np.zeros((0, 4)), np.zeros((0, 4)))[0])


def test_infinite_logit_of_a_class_that_does_not_count():
    """0 · log 0 is 0 for class indices. As class probabilities torch has NaN."""
    logits = np.array([[-np.inf, 0.0, 1.0]])
    for reduction in REDUCTIONS:
        assert_parity("cross_entropy", [logits], target=np.array([1]), reduction=reduction)
        assert_parity("cross_entropy", [logits], target=np.array([[0.0, 1, 0]]), reduction=reduction)


@pytest.mark.parametrize("op", ["nll_loss", "cross_entropy"])
@pytest.mark.parametrize("wrong", [4, -1, 1000])
def test_a_target_out_of_range_is_named_with_its_position(op, wrong):
    target = np.zeros((2, 3), "int64")
    target[1, 2] = wrong
    with pytest.raises(ValueError, match=rf"between 0 and 3, got {wrong} at position \(1, 2\)"):
        getattr(F, op)(normal(2, 4, 3), target)


def test_class_indices_have_to_be_integers():
    with pytest.raises(TypeError, match="class indices as an integer array, got an array of float64"):
        F.cross_entropy(normal(3, 4), np.array([1.0, 2, 3]))


def test_class_probabilities_know_no_ignore_index():
    """torch rejects it too."""
    with pytest.raises(ValueError, match="no ignore_index with class probabilities, got 1"):
        F.cross_entropy(normal(3, 4), probabilities((3, 4)), ignore_index=1)
    with pytest.raises(RuntimeError, match="ignore_index is not supported"):
        torch.nn.functional.cross_entropy(torch.zeros(3, 4), torch.ones(3, 4), ignore_index=1)


@given(shape=st.lists(st.integers(0, 4), max_size=3), reduction=st.sampled_from(REDUCTIONS))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_mse_loss_drawn(shape, reduction):
    x, target = np.asarray(normal(*shape)), np.asarray(normal(*shape, seed=1))
    assert_parity("mse_loss", [x], target=target, reduction=reduction)


def test_mse_loss_worked_by_hand():
    x, target = np.array([[1.0, 2], [3, 4]]), np.array([[0.0, 2], [5, 1]])
    for reduction, expected, divisor in (("mean", 14 / 4, 4), ("sum", 14, 1)):
        loss, cache = F.mse_loss(x, target, reduction)
        assert loss == expected
        np.testing.assert_array_equal(
            F.mse_loss_backward(np.array(1.0), cache), [[2 / divisor, 0], [-4 / divisor, 6 / divisor]]
        )
