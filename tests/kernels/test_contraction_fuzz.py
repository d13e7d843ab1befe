"""The kernels that multiply matrices, against the loops rung: convolution, linear and fused blocks, odd sizes first.

They work on raw pointers by tables of offsets. Every array that they read or write, scratch memory too, lies between
guards that have to be intact afterwards.
"""

import itertools

import numpy as np
import pytest
from contraction_checks import check, conv_check, conv_inputs, loops, pool_check

from scratchnet import datasets
from scratchnet.kernels.cpu import _compile, conv, conv_batch, conv_pool, linear, norm_pool
from scratchnet.kernels.cpu.vector import _FEATURES, at, copy_row, lanes


# Rows of a tile are 4, its columns 3 or 4 vectors, and dot's tiles are 2 × 4 or 4 × 5: sizes around all of these.
@pytest.mark.parametrize("o", [1, 2, 3, 4, 5, 7, 8, 9])
def test_output_channels(o, guarded, dtype, threads):
    conv_check(guarded, conv_inputs(np.random.default_rng(o), 2, 2, 3, 4, o, 1, (2, 2), dtype), padding=(1, 1))


@pytest.mark.parametrize("c", [1, 2, 3, 4, 5, 9])
def test_input_channels(c, guarded, dtype, threads):
    conv_check(guarded, conv_inputs(np.random.default_rng(c), 2, c, 3, 4, 2, 1, (2, 2), dtype), padding=(0, 1))


@pytest.mark.parametrize("w", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 80])
def test_widths(w, guarded, dtype, threads):
    conv_check(guarded, conv_inputs(np.random.default_rng(w), 1, 1, 2, w, 2, 1, (1, 1), dtype))
    conv_check(
        guarded, conv_inputs(np.random.default_rng(w), 1, 1, 2, w, 2, 1, (2, 3), dtype, False), True, padding=(1, 1)
    )


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 18])
def test_batches(n, guarded, dtype, threads):
    """18 small images are more than are summed together before lanes are."""
    conv_check(guarded, conv_inputs(np.random.default_rng(n), n, 1, 3, 3, 2, 1, (3, 3), dtype), padding=(1, 1))


OPTIONS = list(itertools.product([(1, 1), (2, 1), (1, 3), (3, 2)], [(0, 0), (1, 2), (4, 0)], [(1, 1), (2, 1), (1, 2)]))


@pytest.mark.parametrize(("stride", "padding", "dilation"), OPTIONS)
def test_options(stride, padding, dilation, guarded, dtype):
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": 2}
    conv_check(guarded, conv_inputs(np.random.default_rng(0), 2, 2, 6, 7, 3, 2, (3, 2), dtype), relu=True, **options)


@pytest.fixture
def batch_in_lanes(monkeypatch):
    """Every convolution without groups by conv_batch, also where conv.py would be faster."""
    monkeypatch.setattr(conv_batch, "suits", lambda x, sizes: x.size > 0 and sizes.groups == 1)


@pytest.mark.parametrize("n", [1, 2, 7, 15, 16, 17, 33, 65, 80])
def test_batches_in_the_lanes(n, guarded, dtype, threads, batch_in_lanes):
    inputs = conv_inputs(np.random.default_rng(n), n, 3, 3, 2, 2, 1, (2, 2), dtype)
    conv_check(guarded, inputs, n % 2 == 0, padding=(1, 0))


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 9, 17, 35])
def test_channels_with_the_batch_in_the_lanes(channels, guarded, dtype, threads, batch_in_lanes):
    rng = np.random.default_rng(channels)
    conv_check(guarded, conv_inputs(rng, 3, channels, 2, 2, 2, 1, (2, 2), dtype, False), padding=(1, 1))
    conv_check(guarded, conv_inputs(rng, 3, 2, 2, 2, channels, 1, (2, 2), dtype), True, padding=(1, 1))


@pytest.mark.parametrize(("stride", "padding", "dilation"), OPTIONS)
def test_options_with_the_batch_in_the_lanes(stride, padding, dilation, guarded, dtype, threads, batch_in_lanes):
    """Among them windows that lie beside the image altogether, and pixels that no window reads."""
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    conv_check(guarded, conv_inputs(np.random.default_rng(0), 3, 2, 6, 7, 3, 1, (3, 2), dtype), **options)
    conv_check(guarded, conv_inputs(np.random.default_rng(0), 2, 2, 5, 6, 3, 1, (1, 1), dtype), True, **options)


def test_nan_with_the_batch_in_the_lanes(batch_in_lanes):
    """ReLU passes NaN on, in both directions."""
    x = np.full((2, 1, 2, 2), np.nan, "float32")
    y, cache = conv.conv2d_relu(x, np.ones((1, 1, 1, 1), "float32"), None)
    assert np.isnan(y).all()
    dx, _, dbias = conv.conv2d_backward(np.ones_like(y), cache._replace(has_bias=True))
    assert (dx == 1).all()
    assert dbias == [8]


def test_large_batches_of_small_images_have_the_batch_in_the_lanes():
    def suits(n, c, size, o, groups=1):
        x = np.zeros((n, c * groups, size, size), "float32")
        return conv_batch.suits(
            x, conv.layout_of(x.shape[1:], (o * groups, c, 3, 3), (1, 1), (1, 1), (1, 1), groups).sizes
        )

    assert suits(128, 64, 8, 64)
    assert not suits(128, 64, 32, 64)  # large images
    assert not suits(lanes(np.dtype("float32")) + 1, 64, 8, 64)  # nearly half of the lanes would be empty
    assert not suits(128, 3, 8, 64)  # few channels
    assert not suits(128, 64, 8, 64, groups=2)
    assert not suits(0, 64, 8, 64)


def test_drawn_convolutions(guarded, dtype):
    rng = np.random.default_rng(1)
    done = 0
    while done < 60:
        n, c, h, w, o, groups, kh, kw, sh, sw, dh, dw = (
            int(v) for v in rng.integers(1, [3, 4, 8, 9, 6, 3, 4, 5, 4, 4, 3, 3])
        )
        ph, pw = (int(v) for v in rng.integers(0, 4, 2))
        if h + 2 * ph >= dh * (kh - 1) + 1 and w + 2 * pw >= dw * (kw - 1) + 1:
            options = {"stride": (sh, sw), "padding": (ph, pw), "dilation": (dh, dw), "groups": groups}
            conv_check(guarded, conv_inputs(rng, n, c, h, w, o, groups, (kh, kw), dtype), bool(done % 2), **options)
            done += 1


@pytest.mark.parametrize(
    ("c", "kernel"), [(1, (5, 5)), (3, (3, 3)), (4, (5, 5)), (17, (3, 2)), (40, (3, 3)), (70, (1, 3))]
)
def test_patches_of_all_kinds(c, kernel, guarded, dtype, threads):
    """Whole patches in registers, single lines, and lines in several pieces."""
    inputs = conv_inputs(np.random.default_rng(c), 2, c, 6, 7, 3, 1, kernel, dtype)
    pool_check(guarded, inputs, (1, 1), (1, 2), (2, 2), (2, 2), (0, 0), False)


def test_drawn_conv_pools(guarded, dtype):
    rng = np.random.default_rng(2)
    done = 0
    while done < 40:
        n, c, h, w, o, kh, kw, sh, sw, qh, qw, th, tw = (
            int(v) for v in rng.integers([0, *[1] * 12], [3, 6, 9, 40, 6, 4, 4, 3, 3, 4, 4, 3, 3])
        )
        ph, pw = (int(v) for v in rng.integers(0, 3, 2))
        oh, ow = (h + 2 * ph - kh) // sh + 1, (w + 2 * pw - kw) // sw + 1
        if h + 2 * ph < kh or w + 2 * pw < kw or oh < qh or ow < qw:
            continue
        if done % 3 == 0 and oh >= 2 and ow >= 2:
            qh = qw = th = tw = 2
        pools = (qh, qw), (th, tw), (qh // 2, qw // 2) if done % 3 else (0, 0), bool(done % 2)
        pool_check(
            guarded, conv_inputs(rng, n, c, h, w, o, 1, (kh, kw), dtype, bool(done % 5)), (sh, sw), (ph, pw), *pools
        )
        done += 1


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize(("i", "o"), [(1, 1), (3, 2), (7, 5), (16, 6), (33, 4), (64, 3), (65, 11), (0, 3)])
def test_linear(n, i, o, guarded, dtype, threads):
    rng = np.random.default_rng(n)
    inputs = [rng.standard_normal(shape).astype(dtype) for shape in ((n, i), (o, i), (o,))]
    if o == 2:
        inputs[2] = None

    def forward(x, weight, bias):
        y, cache = linear.linear_relu_dropout(x, weight, bias, True, (0.4, (1, 2), 3))
        return y, lambda dy: linear.linear_relu_dropout_backward(dy, cache)

    def forward_loops(x, weight, bias):
        y, cache = loops("linear").forward(x, weight, bias)
        y, relu_cache = loops("relu").forward(y)
        y, drop_cache = loops("dropout").forward(y, 0.4, (1, 2), 3)

        def backward(dy):
            dy = loops("relu").backward(loops("dropout").backward(dy, drop_cache), relu_cache)
            return loops("linear").backward(dy, cache)

        return y, backward

    check(guarded, inputs, forward, forward_loops)


def mostly_zeros(n, i, dtype):
    """Pixels that are 0 in every image, images that are 0 in every pixel, and all between."""
    rng = np.random.default_rng(n * i)
    x = rng.standard_normal((n, i)) * (rng.random((n, i)) < rng.random(i) * 0.5)
    x[:, 3:9], x[1:7] = 0, 0
    return x.astype(dtype)


@pytest.mark.parametrize("n", [16, 17, 18, 19, 33])
@pytest.mark.parametrize(("i", "o"), [(16, 16), (17, 19), (34, 65), (35, 18), (80, 33)])
@pytest.mark.parametrize(("zeros", "has_bias"), [("mostly", True), ("mostly", False), ("none", True)])
def test_linear_of_mostly_zeros(n, i, o, zeros, has_bias, guarded, dtype, threads, monkeypatch):
    """Also without any zeros, which is when the lists of steps are full."""
    monkeypatch.setattr(linear, "_is_sparse", lambda x, o: True)
    rng = np.random.default_rng(n)
    x = mostly_zeros(n, i, dtype) if zeros == "mostly" else rng.standard_normal((n, i)).astype(dtype)
    inputs = [x, rng.standard_normal((o, i)).astype(dtype), None]
    if has_bias:
        inputs[2] = rng.standard_normal(o).astype(dtype)

    def forward(*arrays):
        y, cache = linear.linear_relu_dropout(*arrays, has_bias, None)
        return y, lambda dy: linear.linear_relu_dropout_backward(dy, cache)

    def forward_loops(*arrays):
        y, cache = loops("linear").forward(*arrays)
        if not has_bias:
            return y, lambda dy: loops("linear").backward(dy, cache)
        z, relu_cache = loops("relu").forward(y)
        return z, lambda dy: loops("linear").backward(loops("relu").backward(dy, relu_cache), cache)

    check(guarded, inputs, forward, forward_loops)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_zeros_times_what_is_not_finite(value, dtype, threads, monkeypatch):
    """0 · NaN and 0 · ∞ are NaN: a weight, or a gradient, that is not finite is not skipped beside zeros."""
    monkeypatch.setattr(linear, "_is_sparse", lambda x, o: True)
    x, rng = mostly_zeros(17, 40, dtype), np.random.default_rng(0)
    x[:, -1] = 0
    weight, dy = rng.standard_normal((30, 40)).astype(dtype), rng.standard_normal((17, 30)).astype(dtype)
    weight[[11, 29], [4, -1]] = value  # pixels 4 and −1 are 0 in all images, and images 1 to 6 in all pixels
    dy[[3, 4], [20, -1]] = value
    y, cache = linear.linear(x, weight, None)
    _, dweight, _ = linear.linear_backward(dy, cache, wants_dx=False)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(np.isnan(y), np.isnan(x @ weight.T))
        np.testing.assert_array_equal(np.isnan(dweight), np.isnan(dy.T @ x))
    assert np.isnan(y[:, [11, 29]]).all()
    assert np.isnan(dweight[[20, -1]]).all()


def test_which_inputs_are_worth_a_look_for_zeros(dtype):
    images, _ = next(iter(datasets.DataLoader(datasets.load("mnist", "test"), 128, transform=datasets.ToFloat(dtype))))
    digits, hidden = images.reshape(128, 784), np.random.default_rng(0).standard_normal((128, 784)).astype(dtype)
    dropped = np.maximum(hidden, 0) * (np.random.default_rng(1).random(hidden.shape) < 0.5)
    for x, sparse in ((digits, True), (hidden, False), (dropped.astype(dtype), False)):
        _, cache = linear.linear(x, hidden, None)
        assert cache.sparse == sparse


@pytest.mark.parametrize("shape", [(2, 1, 2, 2), (1, 3, 3, 5), (2, 2, 4, 33), (3, 5, 5, 4), (2, 1, 3, 66)])
@pytest.mark.parametrize("pool", [norm_pool.NO_POOL, norm_pool.MAX_POOL, norm_pool.AVG_POOL])
@pytest.mark.parametrize("relu", [False, True])
def test_batch_norm_relu_pool(shape, pool, relu, guarded, dtype, threads):
    if pool == norm_pool.NO_POOL and not relu:
        pytest.skip("that is batch_norm")
    rng, c = np.random.default_rng(0), shape[1]
    inputs = [rng.standard_normal(s).astype(dtype) for s in (shape, (c,), (c,), (c,))] + [rng.random(c).astype(dtype)]
    op = {norm_pool.MAX_POOL: "max_pool2d", norm_pool.AVG_POOL: "avg_pool2d"}.get(pool)

    for training in (True, False):

        def forward(*arrays, training=training):
            (y, *_), cache = norm_pool.batch_norm_relu_pool(*arrays, training, 0.1, 1e-5, relu, pool)
            return y, lambda dy: norm_pool.batch_norm_relu_pool_backward(dy, cache)

        def forward_loops(*arrays, training=training):
            (y, *_), cache = loops("batch_norm").forward(*arrays, training, 0.1, 1e-5)
            caches = [("batch_norm", cache)]
            if relu:
                y, cache = loops("relu").forward(y)
                caches.append(("relu", cache))
            if op:
                y, cache = loops(op).forward(y, (2, 2), (2, 2))
                caches.append((op, cache))

            def backward(dy):
                for name, cache in reversed(caches):
                    dy = loops(name).backward(dy, cache)
                return dy

            return y, backward

        check(guarded, inputs, forward, forward_loops)


@pytest.mark.parametrize("c", [1, 3, 5, 16, 40, 71, 90, 141])
@pytest.mark.parametrize("columns", [3, 4])
def test_a_gradient_that_is_nan_stays_in_its_patch(c, columns, dtype):
    """The last vector of a line of a patch reaches beyond the patch. Long lines are cut into tiles."""
    rng = np.random.default_rng(0)
    x, weight, _ = conv_inputs(rng, 1, c, 8, 8, 3, 1, (3, columns), dtype, bias=False)
    options = (1, 1), (0, 0), (2, 2), (2, 2), (0, 0), False
    y, cache = conv_pool.conv_relu_max_pool(x, weight, None, *options)
    dy = np.zeros_like(y)
    dy[np.unravel_index(y.argmax(), y.shape)] = np.nan
    dx, _, _ = conv_pool.conv_relu_max_pool_backward(dy, cache)
    assert np.isnan(dx).sum() == c * 3 * columns


def test_one_number_of_threads_gives_the_same_bits(monkeypatch):
    """And of another number only the sums that threads share, the gradients of weight and bias, may differ."""
    monkeypatch.setattr(_compile, "GRAIN", 1)
    rng = np.random.default_rng(0)
    x, weight, bias = conv_inputs(rng, 5, 3, 9, 9, 4, 1, (3, 3), np.dtype("float32"))
    results = {}
    for threads in (1, 2, 2):
        monkeypatch.setattr(_compile, "_threads", threads)
        y, cache = conv.conv2d(x, weight, bias, 1, 1)
        once = [y, *conv.conv2d_backward(np.ones_like(y), cache)]
        twice = [y, *conv.conv2d_backward(np.ones_like(y), cache)]
        for a, b in zip(once, twice, strict=True):
            np.testing.assert_array_equal(a, b)
        results[threads] = once
    for a, b in list(zip(results[1], results[2], strict=True))[:2]:
        np.testing.assert_array_equal(a, b)


@_compile.kernel
def _copy(t, threads, x, y):
    copy_row(False, at(y, 0), at(x, 0), x.dtype.type(0), x.size)


@pytest.mark.parametrize("too_many", [0, 1, 3, 20])
def test_the_guards_see_a_planted_error(too_many, guarded, dtype):
    """A row that is longer than the array that it is written to."""
    y = guarded.empty((17,), dtype)
    _copy(1, np.zeros(17 + too_many, dtype), y)
    assert guarded.intact() == (too_many == 0)


def test_the_tile_follows_the_cpu():
    assert lanes(np.dtype("float32")) == 2 * lanes(np.dtype("float64"))
    assert lanes(np.dtype("float32")) == (16 if "avx512f" in _FEATURES else 8 if "avx2" in _FEATURES else 4)
