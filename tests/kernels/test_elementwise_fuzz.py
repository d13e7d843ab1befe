"""The Numba kernels of pooling, normalisation, activations, dropout and losses against the loops rung, on odd sizes.

Kernels work on raw memory. So every array that one reads or writes lies here between two guards, a pattern of bytes
that has to be there afterwards: inputs are copied in between, and `empty`, which makes the results, is replaced.
"""

import math
from contextlib import contextmanager
from importlib import import_module

import numpy as np
import pytest
from guarded_arrays import Guarded

import scratchnet
from scratchnet import backend

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@contextmanager
def guards(op, monkeypatch):
    guarded = Guarded()
    with monkeypatch.context() as patch:
        patch.setattr(import_module(f"scratchnet.kernels.cpu.{backend.FILES[op]}"), "empty", guarded.empty)
        yield guarded


def arrays(values):
    return [v for v in (values if isinstance(values, tuple) else (values,)) if v is not None]


def assert_same(op, monkeypatch, args, seed=0):
    """Forward and backward of the op on both rungs; no guard and no input may change."""
    kernels, loops = backend.implementation(op, "numba"), backend.implementation(op, "loops")
    assert kernels.rung == "numba"
    tolerance = TOLERANCE[args[0].dtype.name]
    with guards(op, monkeypatch) as guarded, np.errstate(all="ignore"):
        inputs = [guarded.array(a) for a in args]
        result, cache = kernels.forward(*inputs)
        expected, expected_cache = loops.forward(*args)
        results, wanted = arrays(result), arrays(expected)
        dy = np.asarray(np.random.default_rng(seed).standard_normal(np.shape(wanted[0])), args[0].dtype)
        gradients = arrays(kernels.backward(guarded.array(dy), cache))
        wanted_gradients = arrays(loops.backward(dy, expected_cache))
    assert guarded.intact(), f"{op} wrote beside its arrays"
    for before, after in zip(args, inputs, strict=True):
        np.testing.assert_array_equal(before, after)
    for got, want in zip(results + gradients, wanted + wanted_gradients, strict=True):
        assert np.shape(got) == np.shape(want)
        assert np.asarray(got).dtype == args[0].dtype
        scale = np.max(abs(np.asarray(want)), initial=1.0, where=np.isfinite(want))
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)


def normal(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def tied(rng, shape, dtype):
    """Small integers with a NaN here and there."""
    x = rng.integers(-2, 3, shape).astype(dtype)
    x[rng.random(shape) < 0.03] = np.nan
    return x


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(autouse=True)
def _numba():
    with scratchnet.use("numba"):
        yield


# A vector holds 4, 8 or 16 numbers, a pooled row half as many as the row: sizes around all of these
WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 18, 31, 32, 33, 34, 35, 63, 64, 65, 66, 67]
LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("values", [normal, tied])
def test_max_pool2d_of_squares(width, values, dtype, monkeypatch):
    rng = np.random.default_rng(width)
    for n, c, height in ((1, 1, 2), (1, 2, 3), (2, 1, 5), (0, 2, 4)):
        if width > 1:
            assert_same("max_pool2d", monkeypatch, [values(rng, (n, c, height, width), dtype), (2, 2), (2, 2)])
        else:
            assert_same("max_pool2d", monkeypatch, [values(rng, (n, c, height, 1), dtype), (2, 1), (2, 1)])


def draw_windows(rng):
    """A size, and window options that fit it."""
    kernel, stride, dilation = (tuple(map(int, rng.integers(1, 4, 2))) for _ in range(3))
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    size = tuple(smallest + int(rng.integers(0, 5)) for smallest in least)
    batch = int(rng.integers(0, 3)), int(rng.integers(1, 3))
    return (*batch, *size), kernel, stride, padding, dilation, bool(rng.integers(2))


@pytest.mark.parametrize("seed", range(40))
def test_pools_drawn(seed, dtype, monkeypatch):
    rng = np.random.default_rng(seed)
    shape, kernel, stride, padding, dilation, ceil_mode = draw_windows(rng)
    x = [normal, tied][seed % 2](rng, shape, dtype)
    assert_same("max_pool2d", monkeypatch, [x, kernel, stride, padding, dilation, ceil_mode])
    if dilation == (1, 1) or all(s >= k for s, k in zip(shape[2:], kernel, strict=True)):
        include, divisor = bool(rng.integers(2)), [None, 3, -2][int(rng.integers(3))]
        x = normal(rng, shape, dtype)
        assert_same("avg_pool2d", monkeypatch, [x, kernel, stride, padding, ceil_mode, include, divisor])
    out = tuple(map(int, rng.integers(1, 9, 2)))
    assert_same("adaptive_avg_pool2d", monkeypatch, [normal(rng, shape, dtype), out])


def spread(x):
    """Each channel around −1 and 3 in turn: no variance is so small that rounding errors of the mean are seen."""
    side = np.indices(x.shape).sum(axis=0) - np.indices(x.shape)[1]
    return (0.3 * x + 1 + 2 * (-1.0) ** side).astype(x.dtype)


@pytest.mark.parametrize("pixels", [1, 2, 3, 5, 15, 16, 17, 33, 65])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(pixels, training, dtype, monkeypatch):
    rng = np.random.default_rng(pixels)
    for n, c in ((1, 1), (2, 1), (3, 2), (0, 2), (2, 17)):
        for spatial in ((pixels,), ()) if n > 1 else ((pixels,),):
            if training and n * math.prod(spatial) == 1:
                continue
            x = spread(normal(rng, (n, c, *spatial), dtype))
            parameters = [normal(rng, c, dtype) for _ in range(3)] + [1 + rng.random(c).astype(dtype)]
            assert_same("batch_norm", monkeypatch, [x, *parameters, training, 0.1, 1e-5])
            if training:
                assert_same("batch_norm", monkeypatch, [x, None, None, None, None, True, 0.1, 1e-5])


@pytest.mark.parametrize("size", LENGTHS)
def test_activations(size, dtype, monkeypatch):
    x = tied(np.random.default_rng(size), (size,), dtype)
    assert_same("relu", monkeypatch, [x])
    assert_same("leaky_relu", monkeypatch, [x, 0.1])
    assert_same("gelu", monkeypatch, [x, "none"])
    assert_same("gelu", monkeypatch, [x, "tanh"])


@pytest.mark.parametrize("size", [*LENGTHS, 1023, 1024, 1025, 1029])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout(size, p, dtype, monkeypatch):
    x = tied(np.random.default_rng(size), (size,), dtype)
    assert_same("dropout", monkeypatch, [x, p, (size, 7), 2**40 + size])
    assert_same("dropout", monkeypatch, [x.reshape(size, 1, 1).repeat(3, axis=2), p, (1, 2), 3, True])


@pytest.mark.parametrize("classes", [1, 2, 3, 10, 17])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy(classes, reduction, dtype, monkeypatch):
    rng = np.random.default_rng(classes)
    for shape in ((1, classes), (5, classes), (0, classes), (2, classes, 3), (1, classes, 2, 2)):
        logits = 5 * normal(rng, shape, dtype)
        for kind in (np.int64, np.uint8, np.int32):
            target = rng.integers(0, classes, (shape[0], *shape[2:])).astype(kind)
            for weight in (None, rng.random(classes).astype(dtype) + 0.1):
                for ignore_index, smoothing in ((-100, 0.0), (0, 0.0), (0, 0.2), (-100, 1.0)):
                    args = [logits, target, weight, ignore_index, reduction, smoothing]
                    assert_same("cross_entropy", monkeypatch, args)


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_write_beside_an_array_is_seen(side, monkeypatch):
    """The test of the tests: a kernel that writes one number too many."""
    from scratchnet.kernels.cpu import activation

    correct = activation._relu

    def planted(work, x, y):
        correct(work, x, y)
        beyond = np.lib.stride_tricks.as_strided(y[:1], (3,), (-4 if side == "before" else 4 * y.size,))
        beyond[1] = 0

    monkeypatch.setattr(activation, "_relu", planted)
    with pytest.raises(AssertionError, match="wrote beside"):
        assert_same("relu", monkeypatch, [np.ones(7, np.float32)])
