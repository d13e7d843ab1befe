// What surrounds the matrix products of a linear layer, which are cuBLAS's; the formulas are in scratchnet/ops/linear.py.
#include "common.cuh"

// y (N, columns) = dropout(relu(y + bias)), in place; null: no bias, no dropout.
extern "C" __global__ void bias_relu_dropout(
    REAL* y, const REAL* bias, bool relu, const bool* mask, REAL scale, int columns, Index size
) {
    Index i = thread_number();
    if (i >= size) return;
    REAL v = y[i];
    if (bias) v += bias[i % columns];
    if (relu && v <= 0) v = 0;  // NaN <= 0 is false: NaN stays
    if (mask) v = mask[i] ? v * scale : 0;
    y[i] = v;
}

// y is 0 where ReLU or dropout let nothing pass.
extern "C" __global__ void relu_dropout_backward(const REAL* dy, const REAL* y, REAL scale, REAL* dx, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    dx[i] = y[i] <= 0 ? 0 : dy[i] * scale;
}

// dbias_j = sum of column j of dy (rows, columns). A block of 32 x 8 threads has 32 neighbouring columns, so that the
// threads of a warp read neighbouring numbers; thread (x, y) adds the rows y, y + 8, ... of its column. Then the 8
// sums of each column, in shared memory, are added in their order.
extern "C" __global__ void column_sums(const REAL* dy, REAL* dbias, int rows, int columns) {
    __shared__ REAL sums[8][32];
    int j = blockIdx.x * 32 + threadIdx.x;
    REAL sum = 0;
    if (j < columns)
        for (int row = threadIdx.y; row < rows; row += 8) sum += dy[(Index)row * columns + j];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && j < columns) {
        for (int y = 1; y < 8; ++y) sum += sums[y][threadIdx.x];
        dbias[j] = sum;
    }
}
