"""Pooling and padding on the cuda rung, in odd shapes, against torch."""

import gpu_emulation
import numpy as np
import pytest
from parity_cases import PAD_MODES, assert_parity, normal, tied

from scratchnet import functional as F

SHAPES = [(2, 3, 5, 6), (1, 1, 1, 1), (1, 2, 7, 4), (0, 2, 5, 5), (2, 1, 9, 17)]
WINDOWS = [
    {"kernel_size": 1},
    {"kernel_size": 2},
    {"kernel_size": 2, "ceil_mode": True},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": (3, 2), "stride": (2, 3), "padding": (1, 0), "ceil_mode": True},
    {"kernel_size": (2, 4), "stride": (3, 1), "padding": (1, 2)},
]


def fits(shape, window, dilation=1):
    kernels = np.broadcast_to(window["kernel_size"], 2)
    pads = np.broadcast_to(window.get("padding", 0), 2)
    return all(s + 2 * p >= dilation * (k - 1) + 1 for s, p, k in zip(shape[2:], pads, kernels, strict=True))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("shape", SHAPES)
def test_max(either_order, shape, window):
    for dilation in (1, 2):
        if fits(shape, window, dilation):
            assert_parity("max_pool2d", [tied(*shape)], xp=either_order, dilation=dilation, **window)


def test_max_of_nan_and_infinities(checked_gpu):
    x = np.array([[np.nan, 1, -np.inf, -np.inf], [2, np.nan, -np.inf, -np.inf], [3, 3, np.inf, 1], [3, 2, 1, np.inf]])
    assert_parity("max_pool2d", [x[None, None]], xp=checked_gpu, kernel_size=2)
    assert_parity("max_pool2d", [x[None, None]], xp=checked_gpu, kernel_size=3, stride=1, padding=1)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("shape", SHAPES)
def test_average(either_order, shape, window):
    if fits(shape, window):
        for more in ({}, {"count_include_pad": False}, {"divisor_override": 3}):
            assert_parity("avg_pool2d", [normal(*shape)], xp=either_order, **window, **more)


@pytest.mark.parametrize("output_size", [(1, 1), (2, 3), (5, 6), (7, 4), (11, 2)])
@pytest.mark.parametrize("shape", SHAPES)
def test_adaptive(either_order, shape, output_size):
    assert_parity("adaptive_avg_pool2d", [normal(*shape)], xp=either_order, output_size=output_size)


@pytest.mark.parametrize("output_size", [(0, 2), (2, 0), (0, 0)])
def test_adaptive_output_of_no_size(checked_gpu, output_size):
    """torch's forward gives an empty result too; its backward refuses."""
    y, cache = F.adaptive_avg_pool2d(checked_gpu.ones((2, 3, 5, 7)), output_size)
    assert y.shape == (2, 3, *output_size)
    np.testing.assert_array_equal(F.adaptive_avg_pool2d_backward(y, cache).get(), np.zeros((2, 3, 5, 7)))


@pytest.mark.parametrize("divisor", [-2, 2**40])
def test_any_divisor(checked_gpu, divisor):
    assert_parity("avg_pool2d", [normal(2, 3, 5, 6)], xp=checked_gpu, kernel_size=2, divisor_override=divisor)


def test_a_window_wholly_in_padding_has_no_winner(checked_gpu):
    y, cache = F.max_pool2d(checked_gpu.ones((1, 1, 2, 2)), 2, padding=1, dilation=3)
    assert y.get().tolist() == [[[[-np.inf]]]]
    assert not F.max_pool2d_backward(checked_gpu.ones((1, 1, 1, 1)), cache).get().any()


@pytest.mark.parametrize("mode", PAD_MODES)
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 0, 2), (3, 4, 2, 4), (0, 5, 4, 1)])
def test_padding(either_order, pads, mode):
    assert_parity("pad2d", [normal(2, 3, 5, 6)], xp=either_order, pads=pads, mode=mode)


@pytest.mark.parametrize(
    ("mode", "size", "pads"),
    [
        ("replicate", (1, 1), (3, 1, 2, 1)),
        ("circular", (1, 1), (1, 1, 1, 1)),
        ("circular", (3, 4), (4, 4, 3, 3)),
        ("reflect", (3, 4), (3, 3, 2, 2)),
        ("zeros", (1, 1), (2, 0, 0, 3)),
        ("zeros", (4, 0), (1, 2, 0, 1)),
    ],
)
def test_padding_as_wide_as_it_may_be(either_order, mode, size, pads):
    assert_parity("pad2d", [normal(2, 3, *size)], xp=either_order, pads=pads, mode=mode)


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "pad2d"])
def test_the_host_does_not_wait(gpu, op):
    x, option = gpu.asarray(normal(2, 3, 5, 6)), (1, 0, 2, 1) if op == "pad2d" else (2, 2)
    with gpu_emulation.no_sync():
        y, cache = getattr(F, op)(x, option)
        getattr(F, f"{op}_backward")(y, cache)
