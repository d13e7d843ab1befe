"""The fully connected layer and flatten against torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_cases import assert_parity, normal

from scratchnet import functional as F


@given(
    leading=st.lists(st.integers(0, 3), max_size=3),
    sizes=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    bias=st.booleans(),
)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_linear_drawn(leading, sizes, bias):
    """Any number of leading axes, empty ones too, and Linear(0, k) and Linear(k, 0)."""
    inputs, outputs = sizes
    weight = normal(outputs, inputs, seed=1)
    assert_parity("linear", [normal(*leading, inputs), weight, normal(outputs, seed=2) if bias else None])


def test_linear_worked_by_hand():
    x, weight, bias = np.array([[1.0, 2]]), np.array([[3.0, 4], [5, 6], [7, 8]]), np.array([10.0, 20, 30])
    y, cache = F.linear(x, weight, bias)
    np.testing.assert_array_equal(y, [[21, 37, 53]])
    dx, dweight, dbias = F.linear_backward(np.array([[1.0, 0, 2]]), cache)
    np.testing.assert_array_equal(dx, [[17, 20]])
    np.testing.assert_array_equal(dweight, [[1, 2], [0, 0], [2, 4]])
    np.testing.assert_array_equal(dbias, [1, 0, 2])


def test_every_gradient_has_the_shape_of_its_parameter():
    """The bias is broadcast over all leading axes; its gradient is not."""
    x, weight, bias = normal(2, 3, 4), normal(5, 4), normal(5)
    y, cache = F.linear(x, weight, bias)
    dx, dweight, dbias = F.linear_backward(np.ones_like(y), cache)
    assert (dx.shape, dweight.shape, dbias.shape) == (x.shape, weight.shape, bias.shape)


@pytest.mark.parametrize(("start", "end"), [(0, -1), (1, -1), (1, 2), (-2, -1), (2, 2), (0, 1)])
def test_flatten(start, end):
    assert_parity("flatten", [normal(2, 3, 4, 5)], start_dim=start, end_dim=end)


def test_flatten_joins_axes_in_row_major_order_whatever_the_strides():
    x = np.asfortranarray(normal(2, 3, 4))
    y, _ = F.flatten(x, 1)
    np.testing.assert_array_equal(y, torch.from_numpy(x.copy()).flatten(1).numpy())
