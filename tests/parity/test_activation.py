"""Activation functions and softmax against torch."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_cases import assert_parity, normal

from scratchnet import functional as F

OPTIONS = {
    "relu": [{}],
    "leaky_relu": [{}, {"negative_slope": 0.3}, {"negative_slope": -0.5}, {"negative_slope": 0}],
    "sigmoid": [{}],
    "tanh": [{}],
    "gelu": [{}, {"approximate": "tanh"}],
}
EACH = [(op, options) for op, choices in OPTIONS.items() for options in choices]
FAR = np.array([-1e4, -710.0, -80, -30, -6, -1e-3, -1e-30, -0.0, 0.0, 1e-30, 1e-3, 6, 30, 100, 710, 1e4])


@pytest.mark.parametrize(("op", "options"), EACH)
@given(shape=st.lists(st.integers(0, 4), max_size=4), scale=st.sampled_from([0.01, 1, 10]), seed=st.integers(0, 99))
@settings(deadline=None, derandomize=True, max_examples=15)
def test_elementwise_drawn(op, options, shape, scale, seed):
    assert_parity(op, [np.asarray(scale * normal(*shape, seed=seed))], **options)


@pytest.mark.parametrize(("op", "options"), EACH)
def test_far_out_and_around_zero(op, options):
    """One by one, since beside 1e4 an error at 1e-3 would not show."""
    for x in FAR:
        assert_parity(op, [np.array([x])], **options)


@pytest.mark.parametrize(("op", "options"), EACH)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_a_number_and_infinities(op, options, value):
    dtypes = ("float64",) if op == "gelu" else ("float64", "float32")  # torch's float32 gelu(∞) is NaN
    assert_parity(op, [np.array([value, 1.0, -1.0])], dtypes=dtypes, **options)


def gradient(op, x, dy=3.0, **options):
    y, cache = getattr(F, op)(np.array([x]), **options)
    return y.item(), getattr(F, f"{op}_backward")(np.array([dy]), cache).item()


def test_relu_at_zero_has_slope_zero():
    assert gradient("relu", 0.0) == (0, 0)
    assert gradient("relu", -0.0) == (0, 0)


def test_relu_keeps_nan_and_passes_its_gradient():
    y, dx = gradient("relu", math.nan)
    assert math.isnan(y)
    assert dx == 3


@pytest.mark.parametrize("dy", [math.nan, math.inf])
def test_relu_blocks_any_gradient_where_it_is_inactive(dy):
    assert gradient("relu", -1.0, dy) == (0, 0)


def test_leaky_relu_at_zero_has_the_slope_of_the_negative_side():
    assert gradient("leaky_relu", 0.0, negative_slope=0.25) == (0, 0.75)
    assert gradient("leaky_relu", -2.0, negative_slope=0.25) == (-0.5, 0.75)


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 5), (3, 1, 1), (2, 0, 3)])
def test_softmax(op, dim, shape):
    for scale in (1, 30):
        assert_parity(op, [scale * normal(*shape)], dim=dim)


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize(
    "row",
    [[1000, -1000, 0], [1000, 1000, 999], [-1000, -1001, -1002], [math.inf, 0, 1], [-math.inf, 0, 1],
     [-math.inf, -math.inf], [math.nan, 0, 1], [7]],
)  # fmt: skip
def test_softmax_of_extremes(op, row):
    assert_parity(op, [np.array([row, [0.0] * len(row)])], dim=1)


def test_softmax_subtracts_the_maximum():
    np.testing.assert_array_equal(F.softmax(np.array([1000.0, -1000, 1000]), 0)[0], [0.5, 0, 0.5])
    np.testing.assert_array_equal(F.log_softmax(np.array([1000.0, -1000, 0]), 0)[0], [0, -2000, -1000])


def test_softmax_sums_to_one_and_its_gradient_to_zero():
    y, cache = F.softmax(normal(4, 7), 1)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-14)
    dx = F.softmax_backward(normal(4, 7, seed=1), cache)
    assert abs(dx.sum(axis=1)).max() < 1e-14 * abs(dx).sum()
