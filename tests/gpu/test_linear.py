"""The linear layer on the cuda rung, alone and with ReLU and dropout."""

import gpu_emulation
import numpy as np
import pytest
from parity_cases import assert_parity, normal

from scratchnet.kernels.cpu import linear as cpu
from scratchnet.kernels.gpu import linear as kernels


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("rows", "i", "o"), [(1, 1, 1), (5, 3, 33), (17, 40, 10), (0, 3, 4), (9, 2, 64)])
def test_sizes(either_order, rows, i, o, bias):
    inputs = [normal(rows, i), normal(o, i, seed=1), normal(o, seed=2) if bias else None]
    assert_parity("linear", inputs, xp=either_order)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("relu", "drop"), [(False, None), (True, None), (True, (0.4, (1, 2), 3)), (True, (1.0, (1, 2), 3))]
)
def test_fused_with_relu_and_dropout(checked_gpu, relu, drop, bias, dtype):
    x, weight, b, dy = (
        normal(*shape, seed=k).astype(dtype) for k, shape in enumerate([(7, 5), (35, 5), (35,), (7, 35)])
    )
    b = b if bias else None
    y, cache = cpu.linear_relu_dropout(x, weight, b, relu, drop)
    expected = y.copy(), *cpu.linear_relu_dropout_backward(dy, cache)
    place = checked_gpu.asarray
    with gpu_emulation.no_sync():
        ours, ours_cache = kernels.linear_relu_dropout(
            place(x), place(weight), None if b is None else place(b), relu, drop
        )
        gradients = kernels.linear_relu_dropout_backward(place(dy), ours_cache)
        dx, *rest = kernels.linear_relu_dropout_backward(place(dy), ours_cache, wants_dx=False)
    assert dx is None
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    for a, b in zip((ours, *gradients), expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.get(), b, rtol=tolerance, atol=tolerance)
    for a, b in zip(gradients[1:], rest, strict=True):
        assert a is b or np.array_equal(a.get(), b.get())


def test_nan_passes_relu(checked_gpu):
    x = checked_gpu.asarray(np.array([[np.nan, 1.0]]))
    y, cache = kernels.linear_relu_dropout(x, checked_gpu.ones((2, 2)), None, True, None)
    assert np.isnan(y.get()).all()
    dx, _, _ = kernels.linear_relu_dropout_backward(checked_gpu.ones((1, 2)), cache)
    assert (dx.get() == 2).all()
