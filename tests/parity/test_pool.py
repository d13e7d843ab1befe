"""Pooling against torch."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_cases import assert_parity, normal, tied

from scratchnet import functional as F

SIZES = st.integers(1, 3)


def fits(padding, kernel):
    """torch takes padding of at most half of the kernel, and on the CPU does not count dilation."""
    return all(p <= k // 2 for p, k in zip(padding, kernel, strict=True))


GRID = [
    (kernel, stride, padding, ceil_mode)
    for kernel, stride, padding, ceil_mode in product(
        [(3, 2), (2, 3), (1, 3)], [(1, 1), (2, 1), (1, 3)], [(0, 0), (1, 0), (0, 1), (1, 1)], [False, True]
    )
    if fits(padding, kernel)
]


def has_empty_window(size, kernel, stride, padding, dilation, ceil_mode):
    """A window wholly in padding: torch 2.14 on the CPU writes its gradient out of bounds (only if dilated)."""
    for h, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        rest = h + 2 * p - d * (k - 1) - 1
        windows = (-(-rest // s) if ceil_mode else rest // s) + 1
        windows -= ceil_mode and (windows - 1) * s >= h + p
        if any(all(not 0 <= i * s + u * d - p < h for u in range(k)) for i in range(windows)):
            return True
    return False


def pool(op, x, *args, dy=None, **options):
    y, cache = getattr(F, op)(np.array(x, dtype="float64"), *args, **options)
    return y, getattr(F, f"{op}_backward")(np.ones_like(y) if dy is None else np.array(dy), cache)


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil_mode"), GRID)
def test_max_pool2d_grid(kernel, stride, padding, ceil_mode):
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    for dilation, values in product([(1, 1), (2, 1), (1, 2)], [tied, normal]):
        assert_parity("max_pool2d", [values(2, 2, 5, 6)], dilation=dilation, **options)


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil_mode"), GRID)
def test_avg_pool2d_grid(kernel, stride, padding, ceil_mode):
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    for include, divisor in product([True, False], [None, 5, -2]):
        options = {**options, "count_include_pad": include, "divisor_override": divisor}
        assert_parity("avg_pool2d", [normal(2, 2, 5, 6)], **options)


@given(st.data())
@settings(deadline=None, derandomize=True, max_examples=60)
def test_pools_drawn(data):
    draw = data.draw
    kernel, stride, dilation = (draw(st.tuples(SIZES, SIZES), name) for name in ("kernel", "stride", "dilation"))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    size = tuple(smallest + draw(st.integers(0, 5)) for smallest in least)
    ceil_mode, include = draw(st.booleans(), "ceil_mode"), draw(st.booleans(), "count_include_pad")
    x = draw(st.sampled_from([tied, normal]))(draw(st.integers(0, 2)), 2, *size, seed=draw(st.integers(0, 9)))
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    if not has_empty_window(size, kernel, stride, padding, dilation, ceil_mode):
        assert_parity("max_pool2d", [x], kernel_size=kernel, dilation=dilation, **options)
    assert_parity("avg_pool2d", [x], kernel_size=kernel, count_include_pad=include, **options)


@pytest.mark.parametrize("output_size", [1, 2, (3, 4), (5, 7), (8, 10), (None, 3), (4, None)])
@pytest.mark.parametrize("size", [(5, 7), (6, 6), (1, 4)])
def test_adaptive_avg_pool2d(size, output_size):
    assert_parity("adaptive_avg_pool2d", [normal(2, 3, *size)], output_size=output_size)


def test_adaptive_output_of_no_size():
    """torch's forward gives an empty result too; its backward refuses."""
    y, dx = pool("adaptive_avg_pool2d", np.ones((2, 3, 5, 7)), (0, 2))
    assert y.shape == (2, 3, 0, 2)
    np.testing.assert_array_equal(dx, np.zeros((2, 3, 5, 7)))


def test_adaptive_windows_overlap():
    """Three windows over five pixels: 0…1, 1…3 and 3…4."""
    y, dx = pool("adaptive_avg_pool2d", [[[[1, 10, 100, 1000, 10000]]]], (1, 3))
    np.testing.assert_allclose(y.ravel(), [5.5, 370, 5500], rtol=1e-15)
    np.testing.assert_allclose(dx.ravel(), [1 / 2, 1 / 2 + 1 / 3, 1 / 3, 1 / 3 + 1 / 2, 1 / 2], rtol=1e-15)


@pytest.mark.parametrize("pixels", [(19, 23), (8, 8)])
@pytest.mark.parametrize(("op", "options"), [("max_pool2d", {"kernel_size": (3, 2), "stride": 2, "padding": 1}),
                                             ("max_pool2d", {"kernel_size": 2}),
                                             ("avg_pool2d", {"kernel_size": (2, 3), "stride": (2, 1), "padding": 1}),
                                             ("adaptive_avg_pool2d", {"output_size": (4, 7)})])  # fmt: skip
def test_larger_images(op, options, pixels, rung):
    if rung == "loops":
        pytest.skip("the loops are too slow for it")
    assert_parity(op, [tied(5, 7, *pixels)], **options)


# Sizes


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "out"), [(5, 2, 2, 1, 3), (6, 3, 2, 0, 3), (7, 1, 2, 0, 4)]
)
@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_ceil_mode_drops_a_window_that_starts_in_the_right_padding(op, size, kernel, stride, padding, out):
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": True}
    assert getattr(F, op)(np.ones((1, 1, size, size)), **options)[0].shape == (1, 1, out, out)
    assert_parity(op, [normal(1, 2, size, size)], **options)


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_pixels_that_no_window_covers_get_zero_gradient(op):
    _, dx = pool(op, np.ones((1, 1, 3, 5)), 2)
    assert not dx[:, :, 2].any()
    assert not dx[..., 4].any()


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_padding_is_at_most_half_of_the_window(op):
    with pytest.raises(ValueError, match="padding of at most half"):
        getattr(F, op)(np.ones((1, 1, 5, 5)), 3, padding=2)
    with pytest.raises(ValueError, match="padding of at most half"):
        getattr(F, op)(np.ones((1, 1, 5, 5)), (3, 1), padding=(1, 1))


# Max pooling


def test_an_all_negative_window_beside_padding_keeps_its_negative_maximum():
    y, dx = pool("max_pool2d", [[[[-5, -3], [-2, -7]]]], 2, 2, 1)
    np.testing.assert_array_equal(y[0, 0], [[-5, -3], [-2, -7]])
    np.testing.assert_array_equal(dx, np.ones((1, 1, 2, 2)))


def test_the_first_of_equal_pixels_gets_the_whole_gradient():
    _, dx = pool("max_pool2d", np.zeros((1, 1, 4, 4)), 2)
    np.testing.assert_array_equal(dx[0, 0], np.tile([[1, 0], [0, 0]], (2, 2)))
    _, dx = pool("max_pool2d", [[[[1, 7, 7], [7, 2, 3]]]], (2, 3))
    np.testing.assert_array_equal(dx[0, 0], [[0, 1, 0], [0, 0, 0]])


def test_ties_after_relu():
    """Half of the pixels are 0, so many windows are all ties."""
    x = np.maximum(normal(2, 3, 8, 8), 0)
    assert_parity("max_pool2d", [x], kernel_size=2)
    assert_parity("max_pool2d", [x], kernel_size=3, stride=1, padding=1)


def test_a_pixel_that_wins_twice_adds_both_gradients():
    _, dx = pool("max_pool2d", [[[[1, 5, 2]]]], (1, 2), 1, dy=[[[[10.0, 100]]]])
    np.testing.assert_array_equal(dx.ravel(), [0, 110, 0])


def test_nan_wins_and_the_last_of_several():
    nan = math.nan
    y, dx = pool("max_pool2d", [[[[nan, 1, nan, 9], [2, 3, 4, 5]]]], (2, 4))
    assert np.isnan(y).all()
    np.testing.assert_array_equal(dx[0, 0], [[0, 0, 1, 0], [0, 0, 0, 0]])
    x = tied(1, 2, 5, 6)
    x[0, 0, 1, 2] = x[0, 0, 2, 3] = x[0, 1, 0, 0] = nan
    assert_parity("max_pool2d", [x], kernel_size=(3, 2), stride=1, padding=1)


@pytest.mark.parametrize("padding", [0, 1])
def test_a_window_of_minus_infinities_gives_its_first_pixel_the_gradient(padding):
    x = np.full((1, 1, 4, 4), -np.inf)
    assert_parity("max_pool2d", [x], kernel_size=2, stride=1, padding=padding)
    _, dx = pool("max_pool2d", x, 2)
    np.testing.assert_array_equal(dx[0, 0], np.tile([[1, 0], [0, 0]], (2, 2)))


def test_a_dilated_window_wholly_in_padding_has_no_winner():
    """torch 2.14 writes out of bounds here; there is no pixel to give a gradient to."""
    y, dx = pool("max_pool2d", np.ones((1, 1, 2, 2)), 2, padding=1, dilation=3)
    np.testing.assert_array_equal(y, [[[[-np.inf]]]])
    np.testing.assert_array_equal(dx, np.zeros((1, 1, 2, 2)))


# Average pooling


def test_count_include_pad():
    """A 3 × 3 window around each of four ones: 4 of the 9 pixels are there."""
    np.testing.assert_allclose(pool("avg_pool2d", np.ones((1, 1, 2, 2)), 3, 1, 1)[0], np.full((1, 1, 2, 2), 4 / 9))
    y, dx = pool("avg_pool2d", np.ones((1, 1, 2, 2)), 3, 1, 1, count_include_pad=False)
    np.testing.assert_array_equal(y, np.ones((1, 1, 2, 2)))
    np.testing.assert_array_equal(dx, np.ones((1, 1, 2, 2)))


def test_the_overhang_of_ceil_mode_never_counts():
    """The last window of five pixels holds one pixel, and divides by 1."""
    for include in (True, False):
        y, dx = pool("avg_pool2d", [[[[1, 3, 5, 7, 9]]]], (1, 2), ceil_mode=True, count_include_pad=include)
        np.testing.assert_array_equal(y.ravel(), [2, 6, 9])
        np.testing.assert_array_equal(dx.ravel(), [0.5, 0.5, 0.5, 0.5, 1])


@pytest.mark.parametrize("divisor", [2, -2])
def test_divisor_override_replaces_the_divisor(divisor):
    y, dx = pool("avg_pool2d", np.ones((1, 1, 2, 2)), 2, divisor_override=divisor, count_include_pad=False)
    assert y.item() == 4 / divisor
    np.testing.assert_array_equal(dx, np.full((1, 1, 2, 2), 1 / divisor))


def test_the_empty_window_rule_describes_torch():
    """The exclusion in these tests is no wider than the fault: no undilated window can lie wholly in padding."""
    assert has_empty_window((2, 2), (2, 2), (2, 2), (1, 1), (3, 3), False)
    assert torch.nn.functional.max_pool2d(torch.ones(1, 1, 2, 2), 2, padding=1, dilation=3).item() == -math.inf
    assert not any(has_empty_window((5, 6), k, s, p, (1, 1), ceil) for k, s, p, ceil in GRID)
