"""Dropout on the cuda rung: the masks of the CPU, bit by bit."""

import gpu_emulation
import numpy as np
import pytest

from scratchnet import functional as F
from scratchnet.kernels.gpu import dropout as kernels
from scratchnet.ops.dropout import dropout, dropout_backward, keep_mask, philox


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 0.999, 1.0])
@pytest.mark.parametrize(("key", "call"), [((0, 0), 0), ((1, 2), 3), ((2**32 - 1, 2**31), 2**40 + 5)])
@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 1026])
def test_masks_are_those_of_the_textbook(checked_gpu, size, key, call, p):
    expected = keep_mask((size,), p, key, call, np)
    np.testing.assert_array_equal(kernels.keep_mask((size,), p, key, call).get(), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_forward_and_backward_are_those_of_the_textbook(checked_gpu, p, channels, dtype):
    x = np.random.default_rng(0).standard_normal((3, 5, 2, 7)).astype(dtype)
    dy = np.random.default_rng(1).standard_normal(x.shape).astype(dtype)
    y, cache = dropout(x, p, (3, 4), 5, channels)
    with gpu_emulation.no_sync():
        ours, ours_cache = kernels.dropout(checked_gpu.asarray(x), p, (3, 4), 5, channels)
        dx = kernels.dropout_backward(checked_gpu.asarray(dy), ours_cache)
    np.testing.assert_array_equal(ours.get(), y)
    np.testing.assert_array_equal(dx.get(), dropout_backward(dy, cache))


def test_the_functional_op_takes_it(gpu):
    x = gpu.ones((4, 6), gpu.float32)
    y, cache = F.dropout(x, 0.5, seed=1)
    assert cache.rung == "cuda"
    assert set(np.unique(y.get())) == {0.0, 2.0}


def test_a_number_equal_to_the_threshold_is_kept(checked_gpu):
    bits = philox((1, 2), 3, 8, np)
    for k, r in enumerate(bits.tolist()):
        assert kernels.keep_mask((8,), r / 2**32, (1, 2), 3).get()[k]
