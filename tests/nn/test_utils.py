"""clip_grad_norm_ and clip_grad_value_ beside torch.nn.utils."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchnet.nn.parameter import Parameter
from scratchnet.nn.utils import clip_grad_norm_, clip_grad_value_

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
NORMS = [1.0, 2.0, 3.0, 0.5, math.inf]
SHAPES = [(3, 4), (), (5,), (2, 3, 2, 2)]


def twins(gradients, dtype="float64"):
    """Parameters of both libraries with these gradients; None: without one."""
    ours, theirs = [], []
    for gradient in gradients:
        value = None if gradient is None else np.asarray(gradient, dtype)
        shape = (2,) if value is None else value.shape
        ours.append(Parameter(np.zeros(shape, dtype)))
        theirs.append(torch.nn.Parameter(torch.zeros(shape, dtype=getattr(torch, dtype))))
        if value is not None:
            ours[-1].grad, theirs[-1].grad = value.copy(), torch.from_numpy(value.copy())
    return ours, theirs


def random_gradients():
    rng = np.random.default_rng(0)
    return [*(rng.standard_normal(shape) for shape in SHAPES), None]


def close(a, b, dtype) -> bool:
    """Equal up to the tolerance, infinities and NaN at the same places."""
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    finite = np.isfinite(b)
    if a.shape != b.shape or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    return bool(np.linalg.norm(a[finite] - b[finite]) <= TOLERANCE[dtype] * np.linalg.norm(b[finite]))


def assert_same_gradients(ours, theirs, dtype):
    for one, other in zip(ours, theirs, strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            assert one.grad.dtype == np.dtype(dtype)
            assert close(one.grad, other.grad.numpy(), dtype), (one.grad, other.grad)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("norm_type", NORMS)
@pytest.mark.parametrize("max_norm", [0.0, 0.1, 1.0, 1e6, math.inf])
def test_norm_is_torchs(dtype, norm_type, max_norm):
    ours, theirs = twins(random_gradients(), dtype)
    total = clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert close(total, expected.numpy(), dtype)
    assert_same_gradients(ours, theirs, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("max_norm", [1.0, math.inf])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_gradients_that_are_not_finite_go_as_in_torch(dtype, norm_type, max_norm, bad):
    ours, theirs = twins([[1.0, bad], [2.0, 3.0]], dtype)
    total = clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert close(total, expected.numpy(), dtype)
    assert_same_gradients(ours, theirs, dtype)


@pytest.mark.parametrize("norm_type", NORMS)
def test_an_empty_gradient_adds_nothing(norm_type):
    """torch refuses one where the norm is the largest element."""
    ours, _ = twins([[3.0, 4.0], np.zeros((0, 2))])
    alone, _ = twins([[3.0, 4.0]])
    assert clip_grad_norm_(ours, 1.0, norm_type) == clip_grad_norm_(alone, 1.0, norm_type)
    assert ours[1].grad.shape == (0, 2)


def test_nan_beside_infinity_is_nan():
    for values in ([math.nan, math.inf], [math.inf, math.nan]):
        ours, theirs = twins([[value] for value in values])
        assert math.isnan(clip_grad_norm_(ours, 1.0, math.inf))
        torch.nn.utils.clip_grad_norm_(theirs, 1.0, math.inf)
        assert_same_gradients(ours, theirs, "float64")


@pytest.mark.parametrize("value", [1e200, 1e300])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
def test_norms_that_overflow_are_infinite_without_a_warning(value, norm_type):
    ours, theirs = twins([[value, value], [1.0]])
    total = clip_grad_norm_(ours, 1.0, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 1.0, norm_type)
    np.testing.assert_allclose(total, float(expected), rtol=1e-12)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.grad, other.grad.numpy(), rtol=1e-12)


def test_float32_gradients_are_summed_in_double_precision():
    """In float32, 1e20² is infinite, and a million small terms are lost beside a large one."""
    ours, _ = twins([[1e20, 1e20]], "float32")
    assert clip_grad_norm_(ours, 1.0) == pytest.approx(math.sqrt(2) * 1e20, rel=1e-6)
    np.testing.assert_allclose(ours[0].grad, [math.sqrt(0.5)] * 2, rtol=1e-6)
    ours, _ = twins([np.r_[4096.0, np.ones(1_000_000)]], "float32")
    assert clip_grad_norm_(ours, math.inf) == pytest.approx(math.sqrt(4096**2 + 1e6), rel=1e-12)


# Powers of smaller numbers underflow, in one implementation sooner than in the other
SIZES = st.floats(-1e3, 1e3).map(lambda v: v if abs(v) > 1e-60 else 0.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(SIZES, min_size=1, max_size=4), max_size=4),
    st.floats(0, 1e4),
    st.sampled_from([1.0, 2.0, 4.0, math.inf]),
)
def test_any_gradients(gradients, max_norm, norm_type):
    ours, theirs = twins(gradients)
    total = clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert total == pytest.approx(float(expected), rel=1e-12, abs=1e-300)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.grad, other.grad.numpy(), rtol=1e-11, atol=1e-300)


def test_gradients_below_the_limit_stay_bit_for_bit():
    ours, _ = twins(random_gradients())
    before = [p.grad for p in ours]
    clip_grad_norm_(ours, 1e6)
    assert all(p.grad is gradient for p, gradient in zip(ours, before, strict=True))


def test_one_parameter_generators_and_nothing():
    ours, theirs = twins([[3.0, 4.0]])
    assert clip_grad_norm_(ours[0], 1.0) == float(torch.nn.utils.clip_grad_norm_(theirs[0], 1.0)) == 5.0
    assert_same_gradients(ours, theirs, "float64")
    assert clip_grad_norm_((p for p in ours), 1.0) == pytest.approx(1.0)
    assert clip_grad_norm_([], 1.0) == float(torch.nn.utils.clip_grad_norm_([], 1.0)) == 0.0
    ours, _ = twins([None, None])
    assert clip_grad_norm_(ours, 1.0) == 0.0
    clip_grad_value_(ours, 1.0)
    assert [p.grad for p in ours] == [None, None]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_error_if_nonfinite_changes_nothing(bad):
    ours, theirs = twins([[1.0, bad], [100.0]])
    with pytest.raises(RuntimeError, match=f"the norm of the gradients is {bad}"):
        clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    with pytest.raises(RuntimeError):
        torch.nn.utils.clip_grad_norm_(theirs, 1.0, error_if_nonfinite=True)
    assert_same_gradients(ours, theirs, "float64")
    np.testing.assert_array_equal(ours[0].grad, [1.0, bad])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-1.0,), ValueError, "max_norm ≥ 0, got -1"),
        ((math.nan,), ValueError, "max_norm ≥ 0, got nan"),
        (("1",), TypeError, "max_norm as a number, got '1'"),
        ((None,), TypeError, "max_norm as a number, got None"),
        ((1.0, 0.0), ValueError, "norm_type > 0, got 0"),
        ((1.0, -1.0), ValueError, "norm_type > 0, got -1"),
        ((1.0, math.nan), ValueError, "norm_type > 0, got nan"),
        ((1.0, "inf"), TypeError, "norm_type as a number, got 'inf'"),
    ],
)
def test_arguments_of_the_norm(arguments, error, message):
    ours, _ = twins([[3.0]])
    with pytest.raises(error, match=message):
        clip_grad_norm_(ours, *arguments)
    assert ours[0].grad == [3.0]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("clip_value", [0, 0.1, 0.7, 10.0, math.inf])
def test_value_is_torchs(dtype, clip_value):
    gradients = [*random_gradients(), [math.nan, math.inf, -math.inf, 0.0, -0.0]]
    ours, theirs = twins(gradients, dtype)
    assert clip_grad_value_(ours, clip_value) is None
    torch.nn.utils.clip_grad_value_(theirs, clip_value)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            assert one.grad.dtype == np.dtype(dtype)
            np.testing.assert_array_equal(one.grad, other.grad.numpy())


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, ValueError, "clip_value ≥ 0, got -1"),
        (math.nan, ValueError, "clip_value ≥ 0, got nan"),
        ("1", TypeError, "clip_value as a number, got '1'"),
    ],
)
def test_arguments_of_the_value(value, error, message):
    ours, _ = twins([[3.0]])
    with pytest.raises(error, match=message):
        clip_grad_value_(ours, value)
    assert ours[0].grad == [3.0]
