// Activation functions; formulas and derivatives are in scratchnet/ops/activation.py.
// Elementwise: one thread for each element. Softmax: one block for each row.
#include "common.cuh"

extern "C" __global__ void relu(const REAL* x, REAL* y, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    y[i] = x[i] <= 0 ? 0 : x[i];  // NaN <= 0 is false: NaN stays
}

extern "C" __global__ void relu_backward(const REAL* dy, const REAL* y, REAL* dx, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    dx[i] = y[i] <= 0 ? 0 : dy[i];
}

extern "C" __global__ void leaky_relu(const REAL* x, REAL slope, REAL* y, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    y[i] = x[i] > 0 ? x[i] : x[i] * slope;
}

extern "C" __global__ void leaky_relu_backward(const REAL* dy, const REAL* x, REAL slope, REAL* dx, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    dx[i] = x[i] > 0 ? dy[i] : dy[i] * slope;
}

extern "C" __global__ void sigmoid(const REAL* x, REAL* y, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    REAL e = exp(-fabs(x[i]));  // never overflows: for x < 0 the fraction is widened by e^x
    y[i] = (x[i] < 0 ? e : 1) / (1 + e);
}

extern "C" __global__ void sigmoid_backward(const REAL* dy, const REAL* y, REAL* dx, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    dx[i] = dy[i] * y[i] * (1 - y[i]);
}

extern "C" __global__ void tanh_(const REAL* x, REAL* y, Index size) {  // tanh is CUDA's own
    Index i = thread_number();
    if (i >= size) return;
    y[i] = tanh(x[i]);
}

extern "C" __global__ void tanh_backward(const REAL* dy, const REAL* y, REAL* dx, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    dx[i] = dy[i] * (1 - y[i] * y[i]);
}

#define ROOT_HALF ((REAL)0.70710678118654752440)
#define ROOT_2_BY_PI ((REAL)0.79788456080286535588)
#define CUBIC ((REAL)0.044715)
#define HALF ((REAL)0.5)

__device__ inline REAL tanh_u(REAL v) { return tanh(ROOT_2_BY_PI * (v + CUBIC * v * v * v)); }

extern "C" __global__ void gelu(const REAL* x, bool exact, REAL* y, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    REAL v = x[i];
    y[i] = HALF * v * (1 + (exact ? erf(v * ROOT_HALF) : tanh_u(v)));
}

extern "C" __global__ void gelu_backward(const REAL* dy, const REAL* x, bool exact, REAL* dx, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    REAL v = x[i];
    if (exact) {
        REAL distribution = HALF * (1 + erf(v * ROOT_HALF));                // Phi(x)
        REAL density = exp(-HALF * v * v) * (HALF * ROOT_2_BY_PI);          // phi(x): 1/sqrt(2 pi) = sqrt(2/pi) / 2
        dx[i] = dy[i] * (distribution + v * density);
    } else {
        REAL t = tanh_u(v), slope = ROOT_2_BY_PI * (1 + 3 * CUBIC * v * v);
        dx[i] = dy[i] * (HALF * (1 + t) + HALF * v * (1 - t * t) * slope);
    }
}

// x (outer, size, inner): a row of `size` elements, `inner` apart. Block b works on row b; its threads take the
// elements threadIdx.x, threadIdx.x + blockDim.x, ...
__device__ inline Index row_start(Index row, int size, int inner) { return row / inner * size * inner + row % inner; }

__device__ inline REAL largest(const REAL* x, int size, int inner) {
    REAL most = Max::none();
    for (int k = threadIdx.x; k < size; k += blockDim.x) most = Max::of(most, x[(Index)k * inner]);
    return block_max(most);
}

__device__ inline REAL sum_of_exp(const REAL* x, REAL shift, int size, int inner) {
    REAL sum = 0;
    for (int k = threadIdx.x; k < size; k += blockDim.x) sum += exp(x[(Index)k * inner] - shift);
    return block_sum(sum);
}

// y = softmax(x); log_y = log softmax(x), or null
extern "C" __global__ void softmax(const REAL* x, REAL* y, REAL* log_y, int size, int inner) {
    Index start = row_start(blockIdx.x, size, inner);
    x += start;
    REAL shift = largest(x, size, inner), sum = sum_of_exp(x, shift, size, inner), log_sum = log(sum);
    for (int k = threadIdx.x; k < size; k += blockDim.x) {
        Index i = (Index)k * inner;
        y[start + i] = exp(x[i] - shift) / sum;
        if (log_y) log_y[start + i] = x[i] - shift - log_sum;
    }
}

extern "C" __global__ void softmax_backward(const REAL* dy, const REAL* y, REAL* dx, int size, int inner) {
    Index start = row_start(blockIdx.x, size, inner);
    REAL dot = 0;
    for (int k = threadIdx.x; k < size; k += blockDim.x) {
        Index i = start + (Index)k * inner;
        dot += dy[i] * y[i];
    }
    dot = block_sum(dot);
    for (int k = threadIdx.x; k < size; k += blockDim.x) {
        Index i = start + (Index)k * inner;
        dx[i] = y[i] * (dy[i] - dot);
    }
}

extern "C" __global__ void log_softmax_backward(const REAL* dy, const REAL* y, REAL* dx, int size, int inner) {
    Index start = row_start(blockIdx.x, size, inner);
    REAL sum = 0;
    for (int k = threadIdx.x; k < size; k += blockDim.x) sum += dy[start + (Index)k * inner];
    sum = block_sum(sum);
    for (int k = threadIdx.x; k < size; k += blockDim.x) {
        Index i = start + (Index)k * inner;
        dx[i] = dy[i] - y[i] * sum;
    }
}
