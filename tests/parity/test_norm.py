"""Batch normalisation against torch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_cases import assert_parity, normal

from scratchnet import functional as F

STATISTICS = {"running_mean": normal(3, seed=5), "running_var": normal(3, seed=6) ** 2}
SHAPES = [(4, 3), (2, 3, 5), (2, 3, 4, 5), (2, 3, 2, 2, 3), (1, 3, 2, 3), (2, 3, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_grid(shape, weight, bias, training):
    inputs = [2 * normal(*shape) + 3, normal(3, seed=1) if weight else None, normal(3, seed=2) if bias else None]
    for options in ({}, {"momentum": 0.3}, {"momentum": 0.0}, {"momentum": 1.0, "eps": 0.1}):
        assert_parity("batch_norm", inputs, training=training, **STATISTICS, **options)
    if training:
        assert_parity("batch_norm", inputs, training=True)


@given(
    n=st.integers(2, 4), size=st.lists(st.integers(1, 3), max_size=2), offset=st.sampled_from([0, -5, 100]),
    momentum=st.floats(0, 1), seed=st.integers(0, 99), training=st.booleans(),
)  # fmt: skip
@settings(deadline=None, derandomize=True, max_examples=40)
def test_batch_norm_drawn(n, size, offset, momentum, seed, training):
    x = normal(n, 3, *size, seed=seed) + offset
    inputs = [x, normal(3, seed=seed + 1), normal(3, seed=seed + 2)]
    assert_parity("batch_norm", inputs, training=training, momentum=momentum, **STATISTICS)


def run(x, training=True, **options):
    x = np.array(x, dtype="float64").reshape(-1, 1)
    (y, mean, var), cache = F.batch_norm(x, np.zeros(1), np.ones(1), training=training, **options)
    return y.ravel(), mean.item(), var.item(), cache


def test_running_statistics():
    """x = 1, 2, 3, 4: biased variance 1.25, unbiased 5/3; a tenth of the way from 0 to 2.5 and from 1 to 5/3."""
    y, mean, var, _ = run([1, 2, 3, 4])
    assert mean == pytest.approx(0.25, rel=1e-15)
    assert var == pytest.approx(0.9 + 0.1 * 5 / 3, rel=1e-15)
    assert var == pytest.approx(1.06667, abs=5e-6)
    np.testing.assert_allclose(y, (np.array([1, 2, 3, 4]) - 2.5) / np.sqrt(1.25 + 1e-5), rtol=1e-14)


def test_momentum_is_the_share_of_the_new_batch():
    _, mean, var, _ = run([1, 2, 3, 4], momentum=1.0)
    assert (mean, var) == pytest.approx((2.5, 5 / 3), rel=1e-15)
    _, mean, var, _ = run([1, 2, 3, 4], momentum=0.0)
    assert (mean, var) == (0, 1)


def test_statistics_come_back_and_the_given_ones_stay():
    mean, var = np.zeros(3), np.ones(3)
    (_, new_mean, new_var), _ = F.batch_norm(normal(4, 3), mean, var, training=True)
    assert new_mean is not mean
    assert new_var is not var
    assert not mean.any()
    assert (var == 1).all()
    (_, same_mean, same_var), _ = F.batch_norm(normal(4, 3), mean, var, training=False)
    np.testing.assert_array_equal(same_mean, mean)
    np.testing.assert_array_equal(same_var, var)


def test_eval_is_a_fixed_linear_map():
    """dx = dy·γ/√(running_var + ε), whatever the batch."""
    x, gamma, var = normal(4, 3), normal(3, seed=1), normal(3, seed=2) ** 2
    _, cache = F.batch_norm(x, normal(3, seed=3), var, gamma, None, eps=1e-3)
    dy = normal(4, 3, seed=4)
    dx, _, dbias = F.batch_norm_backward(dy, cache)
    np.testing.assert_allclose(dx, dy * gamma / np.sqrt(var + 1e-3), rtol=1e-13)
    assert dbias is None


def test_gradient_in_training_has_no_mean_and_no_part_along_x_hat():
    """What normalisation takes out of x cannot change the loss (up to ε in the second)."""
    x = normal(50, 3)
    (y, _, _), cache = F.batch_norm(x, None, None, training=True, eps=1e-12)
    dx, _, _ = F.batch_norm_backward(normal(50, 3, seed=1), cache)
    size = abs(dx).sum(axis=0)
    assert (abs(dx.sum(axis=0)) < 1e-14 * size).all()
    assert (abs((dx * y).sum(axis=0)) < 1e-11 * size).all()


def test_constant_channel():
    """No variance: x̂ is 0, and ε alone keeps the gradient finite."""
    assert_parity("batch_norm", [np.full((4, 3), 7.0), normal(3, seed=1), normal(3, seed=2)], training=True)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1)])
def test_one_value_per_channel_cannot_be_normalised(shape):
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        F.batch_norm(np.ones(shape), None, None, training=True)
    assert_parity("batch_norm", [normal(*shape), None, None], training=False, **STATISTICS)


def test_an_empty_batch_moves_no_statistics():
    (y, mean, var), _ = F.batch_norm(np.ones((0, 2, 3, 3)), np.array([1.0, 2]), np.array([3.0, 4]), training=True)
    assert y.shape == (0, 2, 3, 3)
    np.testing.assert_array_equal(mean, [1, 2])
    np.testing.assert_array_equal(var, [3, 4])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("training", [True, False])
def test_not_a_number_stays_in_its_channel(value, training):
    x = normal(2, 3, 4, 5)
    x[1, 2, 0, 3] = value
    assert_parity("batch_norm", [x, normal(3, seed=1), normal(3, seed=2)], training=training, **STATISTICS)
