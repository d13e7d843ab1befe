"""BatchNorm on the cuda rung, alone and with ReLU and pooling."""

import gpu_emulation
import numpy as np
import pytest
from parity_cases import assert_parity, normal

from scratchnet import functional as F
from scratchnet.kernels.gpu import norm_pool
from scratchnet.ops import (
    avg_pool2d,
    avg_pool2d_backward,
    batch_norm,
    batch_norm_backward,
    max_pool2d,
    max_pool2d_backward,
    relu,
    relu_backward,
)

SHAPES = [(2, 3, 5, 6), (4, 1), (3, 5), (2, 2, 7), (300, 2), (1, 2, 16, 17)]


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(either_order, shape, training, affine):
    c = shape[1]
    weight, bias = (normal(c, seed=1), normal(c, seed=2)) if affine else (None, None)
    running = {"running_mean": normal(c, seed=3), "running_var": 0.5 + normal(c, seed=4) ** 2}
    x = 3 + 2 * normal(*shape)
    assert_parity("batch_norm", [x, weight, bias], xp=either_order, training=training, momentum=0.3, **running)
    if training:
        assert_parity("batch_norm", [x, weight, bias], xp=either_order, training=True)


def test_an_empty_batch(checked_gpu):
    running = {"running_mean": normal(3, seed=3), "running_var": normal(3, seed=4) ** 2}
    inputs = [normal(0, 3, 4, 4), normal(3, seed=1), normal(3, seed=2)]
    assert_parity("batch_norm", inputs, xp=checked_gpu, training=False, **running)
    x, weight, bias, mean, var = (checked_gpu.asarray(a) for a in (*inputs, *running.values()))
    (y, *moved), cache = F.batch_norm(x, mean, var, weight, bias, training=True)
    assert moved[0] is mean  # nothing moves
    assert moved[1] is var
    gradients = F.batch_norm_backward(y, cache)
    assert [g.shape for g in gradients] == [(0, 3, 4, 4), (3,), (3,)]
    assert not any(g.get().any() for g in gradients)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("training", [True, False])
def test_not_a_number_stays_in_its_channel(checked_gpu, value, training):
    x = normal(2, 3, 4, 5)
    x[1, 2, 0, 3] = value
    running = {"running_mean": normal(3, seed=3), "running_var": normal(3, seed=4) ** 2}
    inputs = [x, normal(3, seed=1), normal(3, seed=2)]
    assert_parity("batch_norm", inputs, xp=checked_gpu, training=training, **running)


def test_a_mean_far_from_zero(checked_gpu):
    """E[x²] − E[x]² would lose all of the variance."""
    x = (normal(4, 2, 16, 16) + 3000).astype("float32")
    assert_parity("batch_norm", [x, None, None], xp=checked_gpu, training=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("with_relu", "kind"), [(True, 0), (True, 1), (True, 2), (False, 1), (False, 2)])
def test_with_relu_and_pooling(checked_gpu, with_relu, kind, training, dtype):
    """As the textbook's functions one after the other."""
    x = normal(3, 4, 7, 6).astype(dtype)
    weight, bias, mean, var = (normal(4, seed=k).astype(dtype) for k in range(1, 5))
    arguments = weight, bias, mean, var**2, training, 0.1, 1e-5
    dy = normal(3, 4, *((7, 6) if kind == 0 else (3, 3)), seed=9).astype(dtype)

    (y, *running), norm_cache = batch_norm(x, *arguments)
    if with_relu:
        y, relu_cache = relu(y)
    forward, back = {0: (None, None), 1: (max_pool2d, max_pool2d_backward), 2: (avg_pool2d, avg_pool2d_backward)}[kind]
    dz = dy
    if forward:
        y, pool_cache = forward(y, 2, 2)
        dz = back(dz, pool_cache)
    if with_relu:
        dz = relu_backward(dz, relu_cache)
    expected = y, *running, *batch_norm_backward(dz, norm_cache)

    def place(a):
        return checked_gpu.asarray(a) if isinstance(a, np.ndarray) else a

    on_device = [place(a) for a in (x, *arguments)]
    dy = place(dy)
    with gpu_emulation.no_sync():
        (ours, *moved), cache = norm_pool.batch_norm_relu_pool(*on_device, with_relu, kind)
        gradients = norm_pool.batch_norm_relu_pool_backward(dy, cache)
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    for a, b in zip((ours, *moved, *gradients), expected, strict=True):
        np.testing.assert_allclose(a.get(), b, rtol=tolerance, atol=tolerance)


def test_relu_at_zero_passes_nothing(checked_gpu):
    """gamma and beta 0, as some start a residual block: every output is exactly 0."""
    x, zero = checked_gpu.asarray(normal(3, 2, 4, 4)), checked_gpu.zeros(2)
    _, cache = norm_pool.batch_norm_relu_pool(x, zero, zero, None, None, True, 0.1, 1e-5, True, norm_pool.NO_POOL)
    _, dweight, dbias = norm_pool.batch_norm_relu_pool_backward(checked_gpu.ones(x.shape), cache)
    assert not dweight.get().any()
    assert not dbias.get().any()
