"""Convolution by Winograd's minimal filtering: its matrices, the kernels against the loops rung, when it is used."""

import numpy as np
import pytest
from contraction_checks import conv_check, conv_inputs, pool_check

from scratchnet.kernels.cpu import conv, winograd, winograd_tile
from scratchnet.kernels.cpu.winograd_tile import A2, A4, AT4, BT, G3, G5, MATRICES, B


@pytest.fixture
def always(monkeypatch):
    """Every convolution that it can compute, also where conv.py would be faster."""

    def suits(images, s, kernel_size, dilation):
        square = kernel_size in ((3, 3), (5, 5))
        return square and dilation == (1, 1) and (s.sh, s.sw) == (1, 1) and s.groups == 1

    monkeypatch.setattr(winograd, "suits", suits)


@pytest.mark.parametrize(("a", "g"), [(A4, G3), (A2, G5)])
def test_six_multiplications_filter_a_line(a, g):
    rng = np.random.default_rng(0)
    taps, d = rng.standard_normal(MATRICES[g].shape[1]), rng.standard_normal(6)
    y = MATRICES[a].T @ ((MATRICES[g] @ taps) * (MATRICES[BT] @ d))
    np.testing.assert_allclose(y, np.correlate(d, taps), rtol=0, atol=1e-13)


@pytest.mark.parametrize("which", MATRICES)
def test_half_the_sums_serve_two_points(which):
    """What `_multiply` relies on: rows, or columns, 1 and 2, and 3 and 4, differ in every other sign alone."""
    matrix = MATRICES[which]
    if not winograd_tile._paired(matrix):
        matrix = matrix.T
    assert winograd_tile._paired(matrix)
    assert len(matrix) == 6


@pytest.mark.parametrize("o", [1, 3, 8, 15, 16, 17, 33])
def test_output_channels(o, always, guarded, dtype, threads):
    conv_check(guarded, conv_inputs(np.random.default_rng(o), 2, 2, 5, 6, o, 1, (3, 3), dtype), padding=(1, 1))


@pytest.mark.parametrize("c", [1, 3, 8, 15, 16, 17, 33])
def test_input_channels(c, always, guarded, dtype, threads):
    conv_check(guarded, conv_inputs(np.random.default_rng(c), 2, c, 5, 6, 2, 1, (3, 3), dtype, False), True)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("kernel", [3, 5])
def test_batches(n, kernel, always, guarded, dtype, threads):
    inputs = conv_inputs(np.random.default_rng(n), n, 3, 5, 5, 4, 1, (kernel, kernel), dtype)
    conv_check(guarded, inputs, n % 2 == 0, padding=(2, 1))


@pytest.mark.parametrize("width", range(3, 15))
@pytest.mark.parametrize("kernel", [3, 5])
def test_sizes(width, kernel, always, guarded, dtype):
    """Tiles that reach beyond the image, and padding wider than the kernel, which sees nothing but zeros there."""
    padding = (kernel // 2, width % 7)
    inputs = conv_inputs(np.random.default_rng(width), 1, 2, kernel + width % 4, width, 3, 1, (kernel, kernel), dtype)
    conv_check(guarded, inputs, width % 2 == 0, padding=padding)


@pytest.mark.parametrize("block", [1, 10_000, 10**9])
def test_blocks(block, always, guarded, dtype, threads, monkeypatch):
    """An image in several blocks, and several images in one."""
    monkeypatch.setattr(winograd, "_BLOCK", block)
    monkeypatch.setattr(winograd, "_LEAST", 1)
    winograd.sizes_of.cache_clear()
    conv_check(guarded, conv_inputs(np.random.default_rng(0), 5, 2, 13, 9, 3, 1, (3, 3), dtype), padding=(1, 1))
    pools = (1, 1), (2, 2), (2, 2), (2, 2), (0, 0), False
    pool_check(guarded, conv_inputs(np.random.default_rng(0), 5, 2, 13, 9, 3, 1, (5, 5), dtype), *pools)
    winograd.sizes_of.cache_clear()


@pytest.mark.parametrize(("h", "w"), [(4, 4), (5, 7), (9, 6), (6, 17), (3, 3)])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("bias", [False, True])
def test_pooling(h, w, kernel, bias, always, guarded, dtype, threads):
    """With an odd height or width the last line or column is in no window."""
    inputs = conv_inputs(np.random.default_rng(h), 2, 3, h, w, 5, 1, (kernel, kernel), dtype, bias)
    padding = (kernel // 2, kernel // 2)
    pool_check(guarded, inputs, (1, 1), padding, (2, 2), (2, 2), (0, 0), False)


def test_the_first_of_equal_maxima_wins(always):
    """A constant image: every window of pooling ties, and its first pixel gets the gradient."""
    from scratchnet.kernels.cpu.conv_pool import conv_relu_max_pool

    x, weight = np.ones((1, 1, 12, 12), "float32"), np.zeros((1, 1, 3, 3), "float32")
    y, cache = conv_relu_max_pool(x, weight, np.ones(1, "float32"), (1, 1), (0, 0), (2, 2), (2, 2), (0, 0), False)
    assert (y == 1).all()
    assert (cache.winner == 0).all()
    y, cache = conv_relu_max_pool(x, weight, None, (1, 1), (0, 0), (2, 2), (2, 2), (0, 0), False)
    assert (y == 0).all()
    assert (cache.winner == 4).all()  # relu′(0) = 0


@pytest.mark.parametrize("pooled", [False, True])
def test_nan_passes(pooled, always):
    from scratchnet.kernels.cpu.conv_pool import conv_relu_max_pool

    x = np.zeros((1, 1, 8, 8), "float32")
    x[0, 0, 3, 3] = np.nan
    weight = np.ones((1, 1, 3, 3), "float32")
    if pooled:
        y, _ = conv_relu_max_pool(x, weight, None, (1, 1), (1, 1), (2, 2), (2, 2), (0, 0), False)
        assert np.isnan(y[0, 0, 1:3, 1:3]).all()
    else:
        y, cache = conv.conv2d_relu(x, weight, None, 1, 1)
        assert np.isnan(y[0, 0, 2:5, 2:5]).all()
        x[:] = 1
        dx, *_ = conv.conv2d_backward(np.ones_like(y), cache)  # ReLU passes the gradient on where y is NaN
        assert dx[0, 0, 3, 3] == pytest.approx(9, rel=1e-5)


@pytest.mark.parametrize("which", [BT, B, AT4, A4])
def test_a_planted_error_is_seen(which, always, guarded, monkeypatch):
    """One number of one matrix is wrong by a thousandth."""
    wrong = {
        **MATRICES,
        which: MATRICES[which] + 0.001 * (np.arange(MATRICES[which].size) == 0).reshape(MATRICES[which].shape),
    }
    monkeypatch.setattr(winograd_tile, "MATRICES", wrong)
    monkeypatch.setattr(winograd_tile, "compile_c_function", _uncached)
    monkeypatch.setattr(winograd, "transformer", winograd_tile.transformer.__wrapped__)
    inputs = conv_inputs(np.random.default_rng(0), 2, 3, 8, 8, 4, 1, (3, 3), np.dtype("float32"))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        conv_check(guarded, inputs, padding=(1, 1))


def _uncached(signature, function):
    import numba

    return numba.cfunc(signature)(function)


def test_which_convolutions_go_this_way():
    def suits(n=1, c=16, o=16, size=16, kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1):
        image, weight = (c * groups, size, size), (o * groups, c, *kernel)
        layout = conv.layout_of(image, weight, stride, padding, dilation, groups)
        return winograd.suits(n, layout.sizes, kernel, dilation)

    assert suits()
    assert suits(kernel=(5, 5))
    assert not suits(c=8)
    assert not suits(o=8)
    assert not suits(kernel=(3, 5))
    assert not suits(kernel=(1, 1))
    assert not suits(stride=(2, 1))
    assert not suits(dilation=(1, 2))
    assert not suits(groups=2)
    assert not suits(n=9, size=5)  # tiles most of which lies beside the image
    assert suits(n=2, size=8)
    assert not suits(size=8)  # 4 tiles
    assert not suits(size=8, n=3, c=1024, o=512)  # 12 tiles, and half a million weights to transform


def test_many_tiles_lose_no_digits():
    """The gradient of a weight is a sum over 8,192 tiles."""
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((64, 16, 32, 32)).astype("float32") for _ in range(2))
    x, weight = np.maximum(x, 0), rng.standard_normal((16, 16, 5, 5)).astype("float32")
    layout = conv.layout_of(x.shape[1:], weight.shape, (1, 1), (2, 2), (1, 1), 1)
    _, got, _ = winograd.backward(dy, None, x, weight, layout.sizes, False)
    _, expected, _ = conv.backward(
        dy.astype("float64"), None, x.astype("float64"), weight.astype("float64"), layout, False
    )
    assert np.linalg.norm(got - expected) <= 4e-6 * np.linalg.norm(expected)


def test_the_op_goes_this_way(monkeypatch):
    calls = []
    for name in ("forward", "backward"):
        function = getattr(winograd, name)
        monkeypatch.setattr(winograd, name, lambda *a, name=name, function=function: calls.append(name) or function(*a))
    x, weight = np.ones((2, 16, 8, 8), "float32"), np.ones((16, 16, 3, 3), "float32")
    y, cache = conv.conv2d(x, weight, None, 1, 1)
    conv.conv2d_backward(y, cache)
    assert calls == ["forward", "backward"]
