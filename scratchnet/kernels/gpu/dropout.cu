// Dropout from a counter; the mathematics is in scratchnet/ops/dropout.py.
#include "common.cuh"

// Philox4x32-10: (key, counter) -> four random 32-bit numbers, in place of the counter.
__device__ inline void philox(unsigned k0, unsigned k1, unsigned counter[4]) {
    for (int round = 0; round < 10; ++round) {
        unsigned high0 = __umulhi(counter[0], 0xD2511F53u), low0 = counter[0] * 0xD2511F53u;
        unsigned high1 = __umulhi(counter[2], 0xCD9E8D57u), low1 = counter[2] * 0xCD9E8D57u;
        counter[0] = high1 ^ counter[1] ^ k0;
        counter[1] = low1;
        counter[2] = high0 ^ counter[3] ^ k1;
        counter[3] = low0;
        k0 += 0x9E3779B9u;  // the golden ratio, times 2^32
        k1 += 0xBB67AE85u;  // the square root of 3, less 1, times 2^32
    }
}

// Thread b makes the elements 4b ... 4b + 3 of the mask from the counter (b, 0, call, call >> 32).
extern "C" __global__ void keep_mask(
    unsigned seed, unsigned stream, unsigned long long call, unsigned long long threshold, bool* mask, Index size
) {
    Index b = thread_number();
    if (4 * b >= size) return;
    unsigned bits[4] = {(unsigned)b, 0, (unsigned)call, (unsigned)(call >> 32)};
    philox(seed, stream, bits);
    for (int j = 0; j < 4; ++j)
        if (4 * b + j < size) mask[4 * b + j] = bits[j] >= threshold;
}

// Each element of the mask stands for `inner` neighbours in x: 1, or the pixels of a channel.
extern "C" __global__ void apply_mask(const REAL* x, const bool* mask, REAL scale, REAL* y, int inner, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    y[i] = mask[i / inner] ? x[i] * scale : 0;
}
