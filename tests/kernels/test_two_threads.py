"""Every op on work that is large enough for a second thread: two threads give what one gives, again and again."""

import numpy as np
import pytest
from parity_cases import as_list, forward, normal

import scratchnet
from scratchnet import functional as F
from scratchnet.kernels.cpu import _compile

two_processors = pytest.mark.skipif(_compile.numba.config.NUMBA_NUM_THREADS < 2, reason="one processor only")
CLASSES = np.random.default_rng(0).integers(0, 10, 30_000)
CASES = {
    "conv2d": ([normal(64, 8, 28, 28), normal(16, 8, 5, 5), normal(16)], {}),
    "conv_transpose2d": ([normal(32, 8, 14, 14), normal(8, 6, 3, 3), normal(6)], {"stride": 2}),
    "max_pool2d": ([normal(64, 16, 24, 24)], {"kernel_size": 3, "stride": 2, "padding": 1}),
    "avg_pool2d": ([normal(64, 16, 24, 24)], {"kernel_size": 3, "stride": 2}),
    "adaptive_avg_pool2d": ([normal(64, 16, 24, 24)], {"output_size": (5, 7)}),
    "batch_norm": ([normal(64, 16, 24, 24), normal(16), normal(16)], {"training": True}),
    "linear": ([normal(2000, 300), normal(120, 300), normal(120)], {}),
    "relu": ([normal(500_000)], {}),
    "leaky_relu": ([normal(500_000)], {}),
    "gelu": ([normal(100_000)], {}),
    "dropout": ([normal(500_000)], {"p": 0.4, "seed": 1}),
    "cross_entropy": ([normal(30_000, 10)], {"target": CLASSES}),
}


@_compile.kernel
def _who(t, threads, thread):
    thread[t] = _compile.numba.get_thread_id()


@two_processors
def test_the_parts_of_a_kernel_are_done_by_threads_of_their_own():
    thread = np.full(2, -1)
    _who.on(2, thread)
    assert sorted(thread) == [0, 1]
    _who.on(1, thread[:1])
    assert thread[0] == 0


@two_processors
@pytest.mark.parametrize("op", CASES)
def test_two_threads_give_what_one_gives(op):
    inputs, options = CASES[op]

    def run(threads):
        scratchnet.set_num_threads(threads)
        result, cache = forward(op, inputs, options)
        y = as_list(result)[0]
        gradients = as_list(getattr(F, f"{op}_backward")(np.ones(y.shape, y.dtype), cache))
        return [np.array(a) for a in [y, *gradients] if a is not None]

    before = scratchnet.get_num_threads()
    try:
        with scratchnet.use("numba"):
            expected = run(1)
            for _ in range(5):
                for ours, theirs in zip(run(2), expected, strict=True):
                    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12 * abs(theirs).max())
    finally:
        scratchnet.set_num_threads(before)
