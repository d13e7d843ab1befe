"""The stand-in for CuPy refuses what CuPy refuses, and what CuPy would get wrong in silence."""

import sys
from concurrent.futures import ThreadPoolExecutor

import gpu_emulation
import numpy as np
import pytest
from gpu_emulation import SynchronizationError, build, counters, no_sync

SCALE = 'extern "C" __global__ void scale(const float* x, float* y, float factor, int n) {\n' \
        "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n    if (i < n) y[i] = factor * x[i];\n}\n"  # fmt: skip


@pytest.fixture
def scale(gpu):
    return gpu.RawModule(code=SCALE).get_function("scale")


@pytest.fixture
def x(gpu):
    return gpu.arange(8, dtype=gpu.float32)


def test_a_launch(gpu, scale, x):
    y = gpu.empty_like(x)
    counters.reset()
    with no_sync():
        scale((2,), (4,), (x, y, np.float32(3), np.int32(8)))
    assert (counters.launches, counters.synchronizations, counters.uploads) == (1, 0, 0)
    np.testing.assert_array_equal(y.get(), 3 * np.arange(8))
    assert counters.synchronizations == 1


REFUSED_LAUNCHES = {
    "a Python float": (lambda x: (x, x * 0, 3.0, np.int32(8)), TypeError, "factor.*float32, got float"),
    "a float64": (lambda x: (x, x * 0, np.float64(3), np.int32(8)), TypeError, "factor.*got float64"),
    "a Python int": (lambda x: (x, x * 0, np.float32(3), 8), TypeError, r"\(n\).*int32, got int"),
    "an unsigned int": (lambda x: (x, x * 0, np.float32(3), np.uint32(8)), TypeError, r"\(n\)"),
    "too few": (lambda x: (x, x * 0, np.float32(3)), TypeError, "takes 4 arguments"),
    "a host array": (lambda x: (np.zeros(8, "f"), x, np.float32(3), np.int32(8)), TypeError, "on the device"),
    "another type of array": (lambda x: (x.astype("d"), x, np.float32(3), np.int32(8)), TypeError, "float64"),
    "a strided view": (lambda x: (x[::2], x * 0, np.float32(3), np.int32(4)), ValueError, "strided"),
    "the output is an input": (
        lambda x: (x, x, np.float32(3), np.int32(8)),
        ValueError,
        r"\(y\).*shares memory with x",
    ),
    "the output overlaps": (lambda x: (x[:5], x[4:], np.float32(3), np.int32(4)), ValueError, "shares memory"),
}


@pytest.mark.parametrize("name", REFUSED_LAUNCHES)
def test_refused_launches(scale, x, name):
    arguments, kind, message = REFUSED_LAUNCHES[name]
    with pytest.raises(kind, match=message):
        scale((1,), (8,), arguments(x))


@pytest.mark.parametrize(("grid", "block"), [((0,), (8,)), ((1,), (0,)), ((1,), (1025,)), ((1, 70000), (8,))])
def test_refused_geometry(scale, x, grid, block):
    with pytest.raises((ValueError, gpu_emulation.KernelError), match=r"empty|INVALID_VALUE"):
        scale(grid, block, (x, x * 0, np.float32(3), np.int32(8)))


REFUSED = {
    "numpy.asarray": (lambda gpu, x: np.asarray(x), TypeError),
    "a function of numpy": (lambda gpu, x: np.concatenate([x, x]), TypeError),
    "a host array on the right": (lambda gpu, x: x + np.ones(8, "f"), TypeError),
    "a host array on the left": (lambda gpu, x: np.ones(8, "f") + x, TypeError),
    "a host array in where": (lambda gpu, x: gpu.where(x > 1, np.ones(8, "f"), x), TypeError),
    "a host array as an index": (lambda gpu, x: x[np.array([1])], TypeError),
    "a list as an index": (lambda gpu, x: x[[1]], TypeError),
    "a host array assigned": (lambda gpu, x: x.__setitem__(0, np.ones(1, "f")), TypeError),
    "a host array in sum": (lambda gpu, x: gpu.sum(np.ones(3)), TypeError),
    "a host array in matmul": (lambda gpu, x: x @ np.ones(8, "f"), TypeError),
    "an index out of range": (lambda gpu, x: x[gpu.full(1, 8)], IndexError),
    "take out of range": (lambda gpu, x: gpu.take(x, gpu.full(1, 8)), IndexError),
    "duplicate indices": (lambda gpu, x: x.__setitem__(gpu.zeros(2, int), 1), ValueError),
    "as_strided beyond the array": (lambda gpu, x: gpu.lib.stride_tricks.as_strided(x, (9,), (4,)), ValueError),
    "a float too large for the integer": (lambda gpu, x: (x * 1000).astype(gpu.uint8), ValueError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_operations(gpu, x, name):
    operation, kind = REFUSED[name]
    with pytest.raises(kind):
        operation(gpu, x)


WAITS = {
    "get": lambda gpu, x: x.get(),
    "asnumpy": lambda gpu, x: gpu.asnumpy(x),
    "item": lambda gpu, x: x.sum().item(),
    "float": lambda gpu, x: float(x.sum()),
    "int": lambda gpu, x: int(x.sum()),
    "bool": lambda gpu, x: bool(x.any()),
    "a mask as an index": lambda gpu, x: x[x > 1],
    "where with one argument": lambda gpu, x: gpu.where(x > 1),
    "repr": lambda gpu, x: repr(x),
    "tolist": lambda gpu, x: x.tolist(),
    "a device scalar as a range": lambda gpu, x: range(x.astype(int)[3]),
    "the stream": lambda gpu, x: gpu.cuda.Stream.null.synchronize(),
    "the device": lambda gpu, x: gpu.cuda.Device(0).synchronize(),
}


@pytest.mark.parametrize("name", WAITS)
def test_hidden_synchronizations(gpu, x, name):
    counters.reset()
    WAITS[name](gpu, x)
    assert counters.synchronizations >= 1
    with no_sync(), pytest.raises(SynchronizationError, match="wait"):
        WAITS[name](gpu, x)


def test_array_expressions_do_not_wait_and_keep_their_type(gpu, x):
    with no_sync():
        y = gpu.where(x > 2, gpu.exp(-x), 0.5 * x).reshape(2, 4).sum(axis=0)
        z = (y[:, None] @ y[None]).mean() / 3
    assert (type(z), z.shape, z.dtype) == (gpu.ndarray, (), np.float32)
    h = np.arange(8, dtype="f")
    h = np.where(h > 2, np.exp(-h), 0.5 * h).reshape(2, 4).sum(axis=0)
    np.testing.assert_allclose(z.get(), (h[:, None] @ h[None]).mean() / 3, rtol=1e-6)


def test_views_share_memory_and_copies_do_not(gpu, x):
    x[2:4].fill(9)
    x.reshape(2, 4)[1, 0] = 7
    x.copy()[:] = 0
    assert x.tolist() == [0, 1, 9, 9, 7, 5, 6, 7]


def test_the_pool_keeps_its_limit(gpu, x):
    pool = gpu.get_default_memory_pool()
    used = pool.used_bytes()
    pool.set_limit(size=used + 4096)
    y = gpu.zeros(1000, gpu.float32)
    with pytest.raises(gpu.cuda.memory.OutOfMemoryError, match="Out of memory allocating 400 bytes"):
        gpu.zeros(100, gpu.float32)
    del y
    assert pool.used_bytes() == used
    gpu.zeros(1000, gpu.float32)


def test_pinned_memory_is_a_buffer(gpu):
    host = np.frombuffer(gpu.cuda.alloc_pinned_memory(32), np.float32, 8)
    host[:] = 5
    x = gpu.empty(8, gpu.float32)
    counters.reset()
    x.set(host)
    assert (x.tolist(), counters.uploads) == ([5] * 8, 1)


def test_nothing_is_left_behind():
    if reason := gpu_emulation.missing():
        pytest.skip(reason)
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ("cupy", "cupyx")}
    with gpu_emulation.install() as cupy:
        assert sys.modules["cupy"] is cupy
    after = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ("cupy", "cupyx")}
    assert before == after


def test_two_builds_at_once_give_one_library(tmp_path, monkeypatch, gpu):
    monkeypatch.setenv("SCRATCHNET_GPU_EMULATION_CACHE", str(tmp_path))
    build._runtime.cache_clear()
    source = build.expand(SCALE, "scale.cu", [], set())
    try:
        with ThreadPoolExecutor(2) as pool:
            paths = list(pool.map(lambda _: build.library(source, [], "fast"), range(2)))
    finally:
        build._runtime.cache_clear()
    assert paths[0] == paths[1]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".o", ".so"]


def test_ops_of_im2col_run_on_it_and_agree_with_the_cpu(gpu):
    from scratchnet.ops.conv import conv2d, conv2d_backward

    rng = np.random.default_rng(0)
    host = [rng.standard_normal(s).astype("f") for s in ((2, 3, 5, 6), (4, 3, 3, 3), (4,))]
    arrays = [gpu.asarray(a) for a in host]
    with no_sync():
        y, cache = conv2d(*arrays, padding=1)
        gradients = conv2d_backward(y, cache)
    expected, host_cache = conv2d(*host, padding=1)
    for ours, theirs in zip((y, *gradients), (expected, *conv2d_backward(expected, host_cache)), strict=True):
        np.testing.assert_allclose(ours.get(), theirs, rtol=1e-5, atol=1e-5)
