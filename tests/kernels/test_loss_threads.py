"""Cross entropy over so many positions that threads share them: none may read what another has yet to write."""

import numpy as np
import pytest

from scratchnet.kernels.cpu import _compile, loss
from scratchnet.ops import loss as textbook


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request, monkeypatch):
    if request.param > _compile.numba.config.NUMBA_NUM_THREADS:
        pytest.skip("one processor only")
    monkeypatch.setattr(_compile, "_threads", request.param)
    return request.param


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(30_000, 10), (3, 4, 20_000)])
def test_sums_over_all_positions(threads, shape, reduction):
    rng = np.random.default_rng(0)
    logits, weight = rng.standard_normal(shape), rng.random(shape[1])
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target[rng.random(target.shape) < 0.2] = -100
    options = target, weight, -100, reduction, 0.1
    expected, expected_cache = textbook.cross_entropy(logits, *options)
    gradient = textbook.cross_entropy_backward(np.asarray(1.0), expected_cache)
    for _ in range(20):  # a race does not show every time
        ours, cache = loss.cross_entropy(logits, *options)
        np.testing.assert_allclose(ours, expected, rtol=1e-11)
    dlogits = loss.cross_entropy_backward(np.asarray(1.0), cache)
    np.testing.assert_allclose(dlogits, gradient, rtol=1e-9, atol=1e-18)
