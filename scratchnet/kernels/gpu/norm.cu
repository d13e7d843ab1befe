// BatchNorm; formulas and derivation are in scratchnet/ops/norm.py. x is (N, C, S): S pixels of a channel of an example.
//
// What is summed over a channel is summed by one block: its threads take the channel's N * S elements in turn, and the
// sums of the threads are added as in common.cuh. What then happens to each element needs one thread for each.
#include "common.cuh"

// The k-th element of channel c.
__device__ inline Index element(Index k, int c, int channels, int pixels) {
    return (k / pixels * channels + c) * pixels + k % pixels;
}

// mean and inv_std of each channel; in two passes over x, since E[x^2] - E[x]^2 would cancel. With `running` the moving
// statistics go on to new_mean and new_var.
extern "C" __global__ void statistics(
    const REAL* x, REAL* mean, REAL* inv_std, bool running, const REAL* running_mean, const REAL* running_var,
    REAL momentum, REAL eps, REAL* new_mean, REAL* new_var, int examples, int channels, int pixels
) {
    int c = blockIdx.x;
    Index count = (Index)examples * pixels;
    REAL n = count > 0 ? (REAL)count : (REAL)1, sum = 0, squares = 0;
    for (Index k = threadIdx.x; k < count; k += blockDim.x) sum += x[element(k, c, channels, pixels)];
    REAL m = block_sum(sum) / n;
    for (Index k = threadIdx.x; k < count; k += blockDim.x) {
        REAL distance = x[element(k, c, channels, pixels)] - m;
        squares += distance * distance;
    }
    REAL var = block_sum(squares) / n;  // biased
    if (threadIdx.x > 0) return;
    mean[c] = m;
    inv_std[c] = 1 / sqrt(var + eps);
    if (running) {
        new_mean[c] = (1 - momentum) * running_mean[c] + momentum * m;
        new_var[c] = (1 - momentum) * running_var[c] + momentum * (n / (n - 1)) * var;
    }
}

// In evaluation: one thread for each channel.
extern "C" __global__ void inverse_std(const REAL* var, REAL eps, REAL* inv_std, Index channels) {
    Index c = thread_number();
    if (c >= channels) return;
    inv_std[c] = 1 / sqrt(var[c] + eps);
}

// gamma * x_hat + beta; null: gamma 1, beta 0
__device__ inline REAL normalised(
    REAL x, int c, const REAL* mean, const REAL* inv_std, const REAL* weight, const REAL* bias
) {
    REAL x_hat = (x - mean[c]) * inv_std[c];
    return x_hat * (weight ? weight[c] : 1) + (bias ? bias[c] : 0);
}

extern "C" __global__ void batch_norm(
    const REAL* x, const REAL* mean, const REAL* inv_std, const REAL* weight, const REAL* bias, bool relu, REAL* y,
    int channels, int pixels, Index size
) {
    Index i = thread_number();
    if (i >= size) return;
    REAL v = normalised(x[i], i / pixels % channels, mean, inv_std, weight, bias);
    y[i] = relu && v <= 0 ? 0 : v;  // NaN <= 0 is false: NaN stays
}

// dz: dy, or with ReLU behind BatchNorm what passes it
extern "C" __global__ void relu_gate(
    const REAL* dy, const REAL* x, const REAL* mean, const REAL* inv_std, const REAL* weight, const REAL* bias,
    REAL* dz, int channels, int pixels, Index size
) {
    Index i = thread_number();
    if (i >= size) return;
    dz[i] = normalised(x[i], i / pixels % channels, mean, inv_std, weight, bias) <= 0 ? 0 : dy[i];
}

extern "C" __global__ void backward_sums(
    const REAL* dy, const REAL* x, const REAL* mean, const REAL* inv_std, REAL* dweight, REAL* dbias, int examples,
    int channels, int pixels
) {
    int c = blockIdx.x;
    REAL sum = 0, product = 0;
    for (Index k = threadIdx.x; k < (Index)examples * pixels; k += blockDim.x) {
        Index i = element(k, c, channels, pixels);
        sum += dy[i];
        product += dy[i] * ((x[i] - mean[c]) * inv_std[c]);
    }
    sum = block_sum(sum);
    product = block_sum(product);
    if (threadIdx.x == 0) {
        dbias[c] = sum;
        dweight[c] = product;
    }
}

// dx = gamma * s * (dy - dbias / n - x_hat * dweight / n); in evaluation dx = gamma * s * dy
extern "C" __global__ void batch_norm_backward(
    const REAL* dy, const REAL* x, const REAL* mean, const REAL* inv_std, const REAL* weight, const REAL* dweight,
    const REAL* dbias, bool training, REAL n, REAL* dx, int channels, int pixels, Index size
) {
    Index i = thread_number();
    if (i >= size) return;
    int c = i / pixels % channels;
    REAL g = dy[i];
    if (training) g = g - dbias[c] / n - (x[i] - mean[c]) * inv_std[c] * (dweight[c] / n);
    dx[i] = g * (weight ? inv_std[c] * weight[c] : inv_std[c]);
}
