"""Convolution, transposed convolution and padding against torch."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_cases import assert_parity, normal

from scratchnet import functional as F

SIZES = st.integers(1, 3)
GRID = list(product([(3, 2), (1, 3)], [(1, 1), (2, 1), (1, 3)], [(0, 0), (1, 2), (2, 0)], [(1, 1), (1, 2), (2, 1)]))


def backward_of_ones(x, weight, bias=None, **options):
    y, cache = F.conv2d(x, weight, bias, **options)
    return y, *F.conv2d_backward(np.ones_like(y), cache)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GRID)
def test_conv2d_grid(kernel, stride, padding, dilation):
    """Height and width differ in every option at once, with and without groups and bias."""
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    for groups, bias in ((1, normal(4, seed=2)), (2, None), (4, normal(4, seed=2))):
        assert_parity(
            "conv2d", [normal(2, 4, 5, 6), normal(4, 4 // groups, *kernel, seed=1), bias], groups=groups, **options
        )


@given(st.data())
@settings(deadline=None, derandomize=True, max_examples=40)
def test_conv2d_drawn(data):
    draw = data.draw
    kernel, stride, dilation = (draw(st.tuples(SIZES, SIZES), name) for name in ("kernel", "stride", "dilation"))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)), "padding")
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    n, groups, c_group, o_group = draw(st.integers(0, 2)), draw(SIZES), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    h, w = (size + draw(st.integers(0, 4)) for size in least)
    x, weight = normal(n, groups * c_group, h, w), normal(groups * o_group, c_group, *kernel, seed=1)
    bias = normal(groups * o_group, seed=2) if draw(st.booleans(), "bias") else None
    assert_parity("conv2d", [x, weight, bias], stride=stride, padding=padding, dilation=dilation, groups=groups)


@pytest.mark.parametrize(
    "options", [{"padding": 2}, {"stride": 2, "padding": (1, 0)}, {"dilation": (2, 3), "groups": 3}]
)
def test_conv2d_of_a_larger_image(options, rung):
    if rung == "loops":
        pytest.skip("the loops are too slow for it")
    channels = 6 // options.get("groups", 1)
    assert_parity("conv2d", [normal(5, 6, 19, 23), normal(9, channels, 5, 3, seed=1), normal(9, seed=2)], **options)


def test_overlapping_windows_add():
    """A row of five pixels under windows of three, each moved by one: they are used 1, 2, 3, 2 and 1 times."""
    _, dx, dweight, dbias = backward_of_ones(np.ones((1, 1, 1, 5)), np.ones((1, 1, 1, 3)), np.zeros(1))
    np.testing.assert_array_equal(dx.ravel(), [1, 2, 3, 2, 1])
    np.testing.assert_array_equal(dweight.ravel(), [3, 3, 3])
    np.testing.assert_array_equal(dbias, [3])


def test_pixels_that_no_window_covers_get_zero_gradient():
    _, dx, _, _ = backward_of_ones(np.ones((1, 1, 5, 4)), np.ones((1, 1, 2, 1)), stride=(3, 2))
    np.testing.assert_array_equal(dx[0, 0], [[1, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0]])


@pytest.mark.parametrize("dilation", [1, 2, (1, 3)])
@pytest.mark.parametrize("kernel", [(2, 3), (3, 4), (4, 2), (1, 1)])
def test_same_padding(kernel, dilation):
    assert_parity(
        "conv2d", [normal(2, 2, 6, 7), normal(3, 2, *kernel, seed=1), None], padding="same", dilation=dilation
    )


def test_same_padding_puts_the_extra_column_right_and_below():
    y, _, _, _ = backward_of_ones(np.array([[[[1.0, 10], [100, 1000]]]]), np.ones((1, 1, 2, 2)), padding="same")
    np.testing.assert_array_equal(y[0, 0], [[1111, 1010], [1100, 1000]])


def test_valid_padding_is_none():
    inputs = [normal(2, 2, 6, 7), normal(3, 2, 3, 2, seed=1), normal(3, seed=2)]
    assert_parity("conv2d", inputs, padding="valid", stride=(2, 1))


def test_groups_keep_to_themselves():
    """Two groups: an output channel sees the input channels of its own group and no other."""
    x, weight = np.array([1.0, 10, 100, 1000]).reshape(1, 4, 1, 1), np.ones((2, 2, 1, 1))
    y, dx, dweight, _ = backward_of_ones(x, weight, groups=2)
    np.testing.assert_array_equal(y.ravel(), [11, 1100])
    np.testing.assert_array_equal(dx.ravel(), [1, 1, 1, 1])
    np.testing.assert_array_equal(dweight.ravel(), [1, 10, 100, 1000])


def test_depthwise_with_several_outputs_a_channel():
    assert_parity(
        "conv2d", [normal(2, 3, 5, 6), normal(6, 1, 3, 2, seed=1), normal(6, seed=2)], groups=3, padding=(1, 0)
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number_spreads_as_in_torch(value):
    x = normal(1, 2, 4, 5)
    x[0, 1, 1, 2] = value
    assert_parity("conv2d", [x, normal(2, 2, 2, 2, seed=1), normal(2, seed=2)])


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 2, 3, 0), (0, 3, 1, 2), (4, 4, 3, 3)])
def test_pad2d(mode, pads):
    assert_parity("pad2d", [normal(2, 2, 4, 5)], pads=pads, mode=mode)


@pytest.mark.parametrize(
    ("mode", "row"),
    [("zeros", [0, 0, 1, 2, 3, 0]), ("reflect", [3, 2, 1, 2, 3, 2]), ("replicate", [1, 1, 1, 2, 3, 3]),
     ("circular", [2, 3, 1, 2, 3, 1])],
)  # fmt: skip
def test_pad2d_of_one_row(mode, row):
    y, _ = F.pad2d(np.array([[[[1.0, 2, 3]]]]), (2, 1, 0, 0), mode)
    np.testing.assert_array_equal(y.ravel(), row)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize(("stride", "output_padding"), [((1, 1), (0, 0)), ((2, 3), (1, 2)), ((3, 1), (2, 0))])
@pytest.mark.parametrize("padding", [(0, 0), (1, 0), (1, 2)])
def test_conv_transpose2d_grid(padding, stride, output_padding, dilation, groups):
    inputs = [normal(2, 4, 3, 4), normal(4, 6 // groups, 3, 4, seed=1), normal(6, seed=2)]
    options = {"padding": padding, "stride": stride, "output_padding": output_padding}
    assert_parity("conv_transpose2d", inputs, dilation=dilation, groups=groups, **options)


@pytest.mark.parametrize("padding", [0, 2, "same", "valid"])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 4])
def test_conv1d_grid(kernel, dilation, padding):
    for stride in (1, 2) if padding != "same" else (1,):
        inputs = [normal(2, 4, 9), normal(6, 2, kernel, seed=1), normal(6, seed=2)]
        assert_parity("conv1d", inputs, stride=stride, padding=padding, dilation=dilation, groups=2)
