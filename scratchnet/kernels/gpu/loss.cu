// Losses; the mathematics is in scratchnet/ops/loss.py. Logits are (N, C, S): S positions, such as pixels, for each of N
// examples. A class index outside 0 ... C - 1 cannot raise an error here: its loss and its gradient are NaN.
#include "common.cuh"

__device__ inline REAL not_a_number() { return (REAL)0 / (REAL)0 * (REAL)-1; }

// The result of a reduction by a whole warp, given to all of its threads.
template <class Operation>
__device__ inline REAL over_warp(REAL value) {
    for (int step = 16; step > 0; step /= 2)
        value = Operation::of(value, __shfl_xor_sync(0xffffffffu, value, step));
    return value;
}

// What is known of one position: where its logits begin, its class, and how much each class counts there:
// q_c = w_c * ((1 - smoothing) * [c = truth] + smoothing / C)
struct Position {
    Index start, truth;
    bool counts, valid;

    __device__ Position(Index k, const long long* target, long long ignore_index, int classes, int positions)
        : start(k / positions * classes * positions + k % positions), truth(target[k]),
          counts(truth != ignore_index), valid(truth >= 0 && truth < classes) {}

    __device__ REAL share(int c, REAL smoothing, int classes) const {
        return (c == truth ? 1 - smoothing : (REAL)0) + smoothing / classes;
    }
};

// One warp for each position: lane l takes the classes l, l + 32, ... p = softmax; losses and counted (the weight of
// the truth) have a number for each position.
extern "C" __global__ void cross_entropy(
    const REAL* logits, const long long* target, const REAL* weight, long long ignore_index, REAL smoothing, REAL* p,
    REAL* losses, REAL* counted, int classes, int positions, Index size
) {
    Index k = thread_number() / 32;
    int lane = threadIdx.x % 32;
    if (k >= size) return;  // for all threads of the warp, or for none
    Position at(k, target, ignore_index, classes, positions);
    const REAL* x = logits + at.start;
    REAL shift = Max::none(), sum = 0, loss = 0;
    for (int c = lane; c < classes; c += 32) shift = Max::of(shift, x[(Index)c * positions]);
    shift = over_warp<Max>(shift);
    for (int c = lane; c < classes; c += 32) sum += exp(x[(Index)c * positions] - shift);
    sum = over_warp<Sum>(sum);
    REAL log_sum = log(sum);
    for (int c = lane; c < classes; c += 32) {
        Index i = (Index)c * positions;
        REAL share = at.share(c, smoothing, classes);
        p[at.start + i] = exp(x[i] - shift) / sum;
        if (share != 0) loss -= (weight ? weight[c] : 1) * share * (x[i] - shift - log_sum);  // 0 log 0 = 0
    }
    loss = over_warp<Sum>(loss);
    if (lane == 0) {
        losses[k] = !at.counts ? 0 : at.valid ? loss : not_a_number();
        counted[k] = !at.counts ? 0 : !at.valid ? not_a_number() : weight ? weight[at.truth] : 1;
    }
}

// dlogits_c = g * (p_c * sum(q) - q_c). dloss has one number (step 0), or one for each position (step 1).
extern "C" __global__ void cross_entropy_backward(
    const REAL* dloss, int step, const REAL* divisor, const REAL* p, const long long* target, const REAL* weight,
    long long ignore_index, REAL smoothing, REAL* dlogits, int classes, int positions, Index size
) {
    Index k = thread_number() / 32;
    int lane = threadIdx.x % 32;
    if (k >= size) return;
    Position at(k, target, ignore_index, classes, positions);
    REAL g = dloss[k * step] / (divisor ? divisor[0] : 1), sum = 0;
    if (!at.valid) g = not_a_number();
    for (int c = lane; c < classes; c += 32) sum += (weight ? weight[c] : 1) * at.share(c, smoothing, classes);
    sum = over_warp<Sum>(sum);
    for (int c = lane; c < classes; c += 32) {
        Index i = at.start + (Index)c * positions;
        REAL q = (weight ? weight[c] : 1) * at.share(c, smoothing, classes);
        dlogits[i] = at.counts ? g * (p[i] * sum - q) : 0;
    }
}

extern "C" __global__ void nll_loss(
    const REAL* log_p, const long long* target, const REAL* weight, long long ignore_index, REAL* losses,
    REAL* counted, int classes, int positions, Index size
) {
    Index k = thread_number();
    if (k >= size) return;
    Position at(k, target, ignore_index, classes, positions);
    REAL w = !at.counts ? 0 : !at.valid ? not_a_number() : weight ? weight[at.truth] : 1;
    losses[k] = at.counts && at.valid ? -w * log_p[at.start + at.truth * positions] : w;
    counted[k] = w;
}

// One thread for each position: its gradient is 0 but for the truth.
extern "C" __global__ void nll_loss_backward(
    const REAL* dloss, int step, const REAL* divisor, const long long* target, const REAL* weight,
    long long ignore_index, REAL* dx, int classes, int positions, Index size
) {
    Index k = thread_number();
    if (k >= size) return;
    Position at(k, target, ignore_index, classes, positions);
    REAL g = dloss[k * step] / (divisor ? divisor[0] : 1);
    for (int c = 0; c < classes; ++c) {
        REAL dx_c = c == at.truth ? -(weight ? weight[c] : 1) * g : 0;
        dx[at.start + (Index)c * positions] = !at.counts ? 0 : at.valid ? dx_c : not_a_number();
    }
}

extern "C" __global__ void mse_loss(const REAL* x, const REAL* target, REAL* difference, REAL* losses, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    REAL d = x[i] - target[i];
    difference[i] = d;
    losses[i] = d * d;
}

extern "C" __global__ void mse_loss_backward(
    const REAL* dloss, int step, REAL divisor, const REAL* difference, REAL* dx, Index size
) {
    Index i = thread_number();
    if (i >= size) return;
    dx[i] = 2 * (dloss[i * step] / divisor) * difference[i];
}

// loss = sum of losses, by one block; for the mean it is divided by the sum of what counts (null: by their number).
extern "C" __global__ void total(
    const REAL* losses, const REAL* counted, bool mean, REAL* loss, REAL* divisor, Index size
) {
    REAL sum = 0, count = 0;
    for (Index k = threadIdx.x; k < size; k += blockDim.x) {
        sum += losses[k];
        count += counted ? counted[k] : 1;
    }
    sum = block_sum(sum);
    count = block_sum(count);
    if (threadIdx.x == 0) {
        loss[0] = mean ? sum / count : sum;  // 0/0 = NaN where nothing counts, as torch
        divisor[0] = count;
    }
}
