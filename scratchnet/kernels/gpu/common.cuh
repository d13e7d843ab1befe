// What every kernel file includes. REAL, float or double, is defined by the compiler's command line (_launch.py), so
// one source serves both. A constant is written (REAL)0.5: a plain 0.5 is a double, and float kernels would slow down.
#pragma once

typedef long long Index;  // of an element: an array may have more than 2^31 of them

// The number of this thread in the whole grid, for kernels that give each element one thread. The last block may reach
// beyond the end; hence `if (i >= size) return;` in all of them.
__device__ inline Index thread_number() { return (Index)blockIdx.x * blockDim.x + threadIdx.x; }

// The sum of one value of each thread of a block, given to all of them. Within a warp (32 threads that run in step)
// each round adds the value of the lane `step` further on, so 5 rounds add 32; then the warps' sums are added
// alike. The order of the additions depends on nothing but the size of the block: the result is always the same.
// blockDim.x must be a multiple of 32; all threads must call.
struct Sum {
    static __device__ REAL of(REAL a, REAL b) { return a + b; }
    static __device__ REAL none() { return (REAL)0; }
};
struct Max {  // NaN wins, as in torch
    static __device__ REAL of(REAL a, REAL b) { return a > b || a != a ? a : b; }
    static __device__ REAL none() { return (REAL)-1 / (REAL)0; }
};

template <class Operation>
__device__ inline REAL over_block(REAL value) {
    __shared__ REAL of_warp[32];
    for (int step = 16; step > 0; step /= 2)
        value = Operation::of(value, __shfl_xor_sync(0xffffffffu, value, step));
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    __syncthreads();  // of_warp may still be read from the call before
    if (lane == 0) of_warp[warp] = value;
    __syncthreads();
    value = lane < blockDim.x / 32 ? of_warp[lane] : Operation::none();
    for (int step = 16; step > 0; step /= 2)
        value = Operation::of(value, __shfl_xor_sync(0xffffffffu, value, step));
    return value;
}

__device__ inline REAL block_sum(REAL value) { return over_block<Sum>(value); }
__device__ inline REAL block_max(REAL value) { return over_block<Max>(value); }
