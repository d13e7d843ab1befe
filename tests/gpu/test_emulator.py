"""The emulator finds what is planted, at its line, whichever thread runs first; and passes the corrected kernel."""

import re
from dataclasses import dataclass

import numpy as np
import pytest
from gpu_emulation import CompileException, EmulationError, KernelError


def launch(cupy, body, arrays, block=64, grid=1, shared_mem=0, options=()):
    """Run a kernel with parameters a0, a1, … (one for each array: int* or float*), and n, the first one's size."""
    kinds = {"float32": "float", "int32": "int"}
    parameters = ", ".join(f"{kinds[str(a.dtype)]}* a{i}" for i, a in enumerate(arrays))
    code = f'extern "C" __global__ void kernel({parameters}, int n) {{\n{body}\n}}\n'
    kernel = cupy.RawModule(code=code, options=("--std=c++17", *options)).get_function("kernel")
    kernel((grid,), (block,), (*arrays, np.int32(arrays[0].size)), shared_mem=shared_mem)
    return code


@dataclass
class Planted:
    """A defect: a marked line is to be reported (of a race, either end); `good` is the same kernel without it."""

    bad: str
    good: str
    message: str
    block: int = 64
    grid: int = 1
    size: int = 64
    shared_mem: int = 0


REDUCE = """
__shared__ float s[64]; int t = threadIdx.x;
s[t] = a0[t];
__syncthreads();
if (t < 32) {
    s[t] += s[t + 32]; __syncwarp();
    float other = t < 16 ? s[t + 16] : 0; __syncwarp();
    s[t] += other;%s
    if (t == 0) a1[0] = s[0] + s[1];%s
}"""

PLANTED = {
    "shared memory, no barrier": Planted(
        "__shared__ float s[64];\ns[threadIdx.x] = a0[threadIdx.x];\na1[threadIdx.x] = s[63 - threadIdx.x];  // !",
        "__shared__ float s[64];\ns[threadIdx.x] = a0[threadIdx.x];\n__syncthreads();\n"
        "a1[threadIdx.x] = s[63 - threadIdx.x];",
        "race|unwritten",
    ),
    "shared memory, overwritten before all have read": Planted(
        "__shared__ float s[64]; int t = threadIdx.x;\ns[t] = a0[t];\n__syncthreads();\nfloat x = s[63 - t];  // !\n"
        "s[t] = x;  // !\na1[t] = x;",
        "__shared__ float s[64]; int t = threadIdx.x;\ns[t] = a0[t];\n__syncthreads();\nfloat x = s[63 - t];\n"
        "__syncthreads();\ns[t] = x;\na1[t] = x;",
        "race",
    ),
    "no warp barrier": Planted(REDUCE % ("  // !", "  // !"), REDUCE % (" __syncwarp();", ""), "race"),
    "a warp barrier orders no other warp": Planted(
        "__shared__ float s[64]; int t = threadIdx.x;\ns[t] = a0[t];\n__syncwarp();\na1[t] = s[t ^ 32];  // !",
        "__shared__ float s[64]; int t = threadIdx.x;\ns[t] = a0[t];\n__syncwarp();\na1[t] = s[t ^ 1];",
        "race|unwritten",
    ),
    "two blocks write one element": Planted(
        "a1[threadIdx.x] = a0[threadIdx.x];  // !",
        "if (blockIdx.x == 0) a1[threadIdx.x] = a0[threadIdx.x];",
        "race",
        grid=2,
    ),
    "one block reads what another writes": Planted(
        "int i = blockIdx.x * 32 + threadIdx.x;\na0[i] = a0[(i + 32) % 64] + 1;  // !",
        "int i = blockIdx.x * 32 + threadIdx.x;\na1[i] = a0[(i + 32) % 64] + 1;",
        "race",
        block=32,
        grid=2,
    ),
    "+= that is not atomic": Planted("a1[0] += a0[threadIdx.x];  // !", "atomicAdd(a1, a0[threadIdx.x]);", "race"),
    "a plain read beside atomics": Planted(
        "atomicAdd(a1, 1.0f);  // !\na0[threadIdx.x] = a1[0];  // !",
        "atomicAdd(a1, 1.0f);\n__syncthreads();\na0[threadIdx.x] = a1[0];",
        "race",
    ),
    "a read after all atomics but with no barrier": Planted(
        "atomicAdd(a1, 1.0f);  // !\nif (threadIdx.x == 63) a0[0] = a1[0];  // !",
        "atomicAdd(a1, 1.0f);\n__syncthreads();\nif (threadIdx.x == 63) a0[0] = a1[0];",
        "race",
    ),
    "a block writes what it and another have read": Planted(
        "a1[blockIdx.x] = a0[0];  // !\nif (blockIdx.x == 1) a0[0] = 2;  // !",
        "a1[blockIdx.x] = a0[0];\nif (blockIdx.x == 1) a0[1] = 2;",
        "race",
        block=1,
        grid=2,
    ),
    "a thread writes what it and another warp have read": Planted(
        "if (threadIdx.x % 32) return;\na1[threadIdx.x] = a0[0];  // !\nif (threadIdx.x == 32) a0[0] = 2;  // !",
        "if (threadIdx.x % 32) return;\na1[threadIdx.x] = a0[0];\nif (threadIdx.x == 32) a0[1] = 2;",
        "race",
    ),
    "warps that count different barriers": Planted(
        "int t = threadIdx.x;\nif (t >= 32) __syncwarp();\na0[t] = 1;  // !\na1[t] = a0[t ^ 32];  // !",
        "int t = threadIdx.x;\nif (t >= 32) __syncwarp();\na0[t] = 1;\n__syncthreads();\na1[t] = a0[t ^ 32];",
        "race",
    ),
    "half a warp's barrier orders no other half": Planted(
        "int t = threadIdx.x;\nif (t < 16) {\na0[t] = 1;  // !\n__syncwarp(0xffffu);\n}\n"
        "else a1[t] = a0[t - 16];  // !",
        "int t = threadIdx.x;\nif (t < 16) a0[t] = 1;\n__syncwarp();\nif (t >= 16) a1[t] = a0[t - 16];",
        "race",
        block=32,
    ),
    "read out of bounds": Planted(
        "int i = threadIdx.x;\na1[i] = a0[i + 1];  // !",
        "int i = threadIdx.x;\na1[i] = a0[i + 1 < n ? i + 1 : i];",
        "out of bounds: read",
    ),
    "write out of bounds": Planted(
        "a1[threadIdx.x] = 1;  // !", "if (threadIdx.x < n) a1[threadIdx.x] = 1;", "out of bounds: write", block=96
    ),
    "read before an array": Planted(
        "int i = threadIdx.x;\na1[i] = a0[i - 1];  // !",
        "int i = threadIdx.x;\na1[i] = a0[i ? i - 1 : 0];",
        "out of bounds: read",
    ),
    "static shared memory out of bounds": Planted(
        "__shared__ float s[64]; float* p = s;\np[threadIdx.x + n / 64] = 1;  // !",
        "__shared__ float s[64]; float* p = s;\np[threadIdx.x] = 1;",
        "out of bounds: write",
    ),
    "dynamic shared memory out of bounds": Planted(
        "extern __shared__ float s[];\ns[threadIdx.x] = 1;  // !",
        "extern __shared__ float s[];\nif (threadIdx.x < 60) s[threadIdx.x] = 1;",
        "out of bounds: write",
        shared_mem=240,
    ),
    "an atomic out of bounds": Planted(
        "atomicAdd(a0 + n, 1.0f);  // !", "atomicAdd(a0 + n - 1, 1.0f);", "out of bounds: atomic"
    ),
    "shared memory read before it is written": Planted(
        "__shared__ float s[64];\na1[threadIdx.x] = s[threadIdx.x];  // !",
        "__shared__ float s[64];\ns[threadIdx.x] = 0;\na1[threadIdx.x] = s[threadIdx.x];",
        "unwritten",
    ),
    "shared memory does not outlive its block": Planted(
        "__shared__ float s[64]; int t = threadIdx.x;\nif (blockIdx.x % 3 == 0) s[t] = 1;\n"
        "a0[blockIdx.x * 16 + t] = s[t];  // !",
        "__shared__ float s[64]; int t = threadIdx.x;\ns[t] = 1;\na0[blockIdx.x * 16 + t] = s[t];",
        "unwritten",
        block=16,
        grid=4,
    ),
    "misaligned float4": Planted(
        "float4* p = (float4*)(a0 + 1);\nfloat4 x = p[threadIdx.x];  // !\na1[threadIdx.x] = x.x + x.y + x.z + x.w;",
        "float4* p = (float4*)a0;\nfloat4 x = p[threadIdx.x];\na1[threadIdx.x] = x.x + x.y + x.z + x.w;",
        "misaligned",
        block=8,
    ),
    "a barrier in one branch": Planted(
        "if (threadIdx.x < 32)\n__syncthreads();  // !\na1[threadIdx.x] = 1;",
        "__syncthreads();\nif (threadIdx.x < 32)\na1[threadIdx.x] = 1;",
        "barrier divergence",
    ),
    "threads that return before the last barrier": Planted(
        "for (int i = 0; i < 2; ++i) {\nif (i == 1 && threadIdx.x >= 32) return;\n__syncthreads();  // !\n}",
        "for (int i = 0; i < 2; ++i)\n__syncthreads();\nif (threadIdx.x >= 32) return;",
        "barrier divergence: some threads returned",
    ),
    "a double across the end of an array": Planted(
        "double* p = (double*)a0;\np[threadIdx.x] = 1;  // !",
        "double* p = (double*)a0;\nif (threadIdx.x < 32) p[threadIdx.x] = 1;",
        "across the end",
        block=33,
        size=65,
    ),
    "barriers of two branches": Planted(
        "if (threadIdx.x < 32)\n__syncthreads();\nelse\n__syncthreads();  // !",
        "__syncthreads();",
        "barrier divergence",
    ),
    "a shuffle in one branch": Planted(
        "float x = a0[threadIdx.x];\nif (threadIdx.x < 16)\nx += __shfl_xor_sync(0xffffffffu, x, 1);  // !\n"
        "a1[threadIdx.x] = x;",
        "float x = a0[threadIdx.x];\nif (threadIdx.x < 16)\nx += __shfl_xor_sync(0xffffu, x, 1);\na1[threadIdx.x] = x;",
        "warp divergence",
        block=32,
    ),
    "a lane that its mask leaves out": Planted(
        "a1[threadIdx.x] = __shfl_down_sync(0xffffu, a0[threadIdx.x], 1);  // !",
        "a1[threadIdx.x] = __shfl_down_sync(0xffffffffu, a0[threadIdx.x], 1);",
        "warp divergence",
        block=32,
    ),
    "an index outside a thread's own array": Planted(
        "float own[4] = {1, 2, 3, 4};\na1[threadIdx.x] = own[threadIdx.x];  // !",
        "float own[4] = {1, 2, 3, 4};\na1[threadIdx.x] = own[threadIdx.x & 3];",
        "out of bounds",
    ),
}


def run(cupy, planted, body):
    arrays = [cupy.zeros(planted.size, cupy.float32) for _ in range(2)]
    return launch(cupy, body, arrays, planted.block, planted.grid, planted.shared_mem)


@pytest.mark.parametrize("name", PLANTED)
def test_planted_defects_are_reported_at_their_line(either_order, name):
    planted = PLANTED[name]
    with pytest.raises(KernelError, match=planted.message) as caught:
        run(either_order, planted, planted.bad)
    marked = {f"kernel.cu:{i}" for i, line in enumerate(planted.bad.splitlines(), 2) if "// !" in line}
    assert marked & set(re.findall(r"kernel\.cu:\d+", str(caught.value))), caught.value


@pytest.mark.parametrize("name", PLANTED)
def test_the_corrected_kernels_pass(either_order, name):
    run(either_order, PLANTED[name], PLANTED[name].good)


def test_a_launch_after_a_failed_one_works(checked_gpu):
    planted = PLANTED["a barrier in one branch"]
    for _ in range(3):
        with pytest.raises(KernelError):
            run(checked_gpu, planted, planted.bad)
        run(checked_gpu, planted, planted.good)


def test_readers_of_one_warp_do_not_race_with_a_write_behind_a_warp_barrier(checked_gpu):
    body = """__shared__ float s[32]; int t = threadIdx.x;
s[t] = t; __syncwarp();
float all = s[0]; __syncwarp();
if (t == 0) s[0] = 7;
a0[t] = all;"""
    x = checked_gpu.zeros(32, checked_gpu.float32)
    launch(checked_gpu, body, [x], block=32)
    assert (x.get() == 0).all()


@pytest.mark.parametrize("mode", ["gpu", "checked_gpu"])
def test_shuffles_ballots_and_vectors(request, mode):
    cupy = request.getfixturevalue(mode)
    body = """int t = threadIdx.x; float x = a0[t];
for (int d = 16; d; d >>= 1) x += __shfl_down_sync(0xffffffffu, x, d);
float first = __shfl_sync(0xffffffffu, x, 0);
float up = __shfl_up_sync(0xffffffffu, a0[t], 1), swapped = __shfl_xor_sync(0xffffffffu, a0[t], 3, 4);
a1[4 * t] = first; a1[4 * t + 1] = up; a1[4 * t + 2] = swapped;
a1[4 * t + 3] = __popc(__ballot_sync(0xffffffffu, t % 3 == 0));
__syncthreads();
float4 v = ((float4*)a1)[t]; v.w += 1; ((float4*)a1)[t] = v;"""
    x, y = cupy.arange(64, dtype=cupy.float32), cupy.empty(256, cupy.float32)
    launch(cupy, body, [x, y])
    values, lanes = x.get().reshape(2, 32), y.get().reshape(2, 32, 4)
    np.testing.assert_array_equal(lanes[..., 0], np.repeat(values.sum(1, keepdims=True), 32, 1))
    np.testing.assert_array_equal(lanes[:, 1:, 1], values[:, :-1])
    np.testing.assert_array_equal(lanes[:, 0, 1], values[:, 0])
    np.testing.assert_array_equal(lanes[..., 2], values[:, np.arange(32) ^ 3])
    np.testing.assert_array_equal(lanes[..., 3], _thirds(64))


def _thirds(threads):
    """1 + how many threads of each warp have a number divisible by 3, for each of its lanes."""
    return 1 + np.repeat((np.arange(threads).reshape(-1, 32) % 3 == 0).sum(1, keepdims=True), 32, 1)


def test_fresh_memory_and_shared_memory_hold_nans(gpu):
    x = gpu.empty(32, gpu.float32)
    assert np.isnan(x.get()).all()
    launch(gpu, "__shared__ float s[32];\na0[threadIdx.x] = s[threadIdx.x];", [gpu.zeros(32, gpu.float32)], block=32)
    y = gpu.zeros(32, gpu.float32)
    launch(gpu, "__shared__ float s[32];\na0[threadIdx.x] = s[threadIdx.x];", [y], block=32)
    assert np.isnan(y.get()).all()


def test_the_fast_build_finds_a_write_behind_an_array_afterwards(gpu):
    with pytest.raises(EmulationError, match="out of bounds"):
        launch(gpu, "a0[threadIdx.x] = 1;", [gpu.zeros(32, gpu.float32)], block=33)


def test_arrays_behind_a_table_of_addresses_are_known_and_others_are_not(checked_gpu):
    code = """extern "C" __global__ void fill(const unsigned long long* addresses, int count) {
    for (int i = 0; i < count; ++i) ((float*)addresses[i])[threadIdx.x] = i;
}"""
    fill = checked_gpu.RawModule(code=code).get_function("fill")
    arrays = [checked_gpu.zeros(8, checked_gpu.float32) for _ in range(2)]
    addresses = np.array([a._memory.ctypes.data for a in arrays], np.uint64)
    fill((1,), (8,), (checked_gpu.asarray(addresses), np.int32(2)))
    assert [a.get().tolist() for a in arrays] == [[0.0] * 8, [1.0] * 8]
    with pytest.raises(KernelError, match="out of bounds: write"):
        fill((1,), (9,), (checked_gpu.asarray(addresses), np.int32(2)))


def test_a_kernel_that_does_not_compile(gpu):
    with pytest.raises(CompileException, match=r"kernel\.cu:2.*nothing"):
        launch(gpu, "a0[0] = nothing;", [gpu.zeros(1, gpu.float32)])


def test_an_included_file_takes_part_and_is_named(checked_gpu, tmp_path):
    (tmp_path / "common.cuh").write_text("#pragma once\n__device__ void put(REAL* x, int i) {\n    x[i] = 3;\n}\n")
    code = '#include "common.cuh"\nextern "C" __global__ void k(REAL* x) { put(x, threadIdx.x); }\n'
    for real, kind in (("float", checked_gpu.float32), ("double", checked_gpu.float64)):
        k = checked_gpu.RawModule(code=code, options=(f"-DREAL={real}", f"-I{tmp_path}")).get_function("k")
        x = checked_gpu.zeros(4, kind)
        k((1,), (4,), (x,))
        assert (x.get() == 3).all()
        with pytest.raises(KernelError, match=r"common\.cuh:3"):
            k((1,), (5,), (x,))
