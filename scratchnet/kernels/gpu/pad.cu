// Padding; the modes are in scratchnet/ops/pad.py. Images are (planes, H, W).
#include "common.cuh"

// The source of position i of an axis that begins `before` positions in front of its first pixel: -1 for a zero.
// mode: 0 zeros, 1 reflect, 2 replicate, 3 circular.
__device__ inline int source(int i, int size, int before, int mode) {
    i -= before;
    if (i >= 0 && i < size) return i;
    if (mode == 0) return -1;
    if (mode == 1) return i < 0 ? -i : 2 * (size - 1) - i;
    if (mode == 2) return i < 0 ? 0 : size - 1;
    return (i % size + size) % size;
}

// One thread for each element of y.
extern "C" __global__ void pad2d(
    const REAL* x, REAL* y, int mode, int top, int left, int h, int w, int oh, int ow, Index size
) {
    Index k = thread_number();
    if (k >= size) return;
    int row = source(k / ow % oh, h, top, mode), column = source(k % ow, w, left, mode);
    y[k] = row < 0 || column < 0 ? 0 : x[(k / ow / oh * h + row) * w + column];
}

// The k-th position of the padded axis that may show pixel p: one of the border's, or p's own.
__device__ inline int candidate(int k, int p, int size, int before) {
    return k < before ? k : k == before ? before + p : size + k - 1;
}

// One thread for each pixel of x: it adds up every place where the pixel is shown. Only the border repeats pixels, so
// only rows of the border are compared with the pixel's, and only those that show it are looked through.
extern "C" __global__ void pad2d_backward(
    const REAL* dy, REAL* dx, int mode, int top, int left, int h, int w, int oh, int ow, Index size
) {
    Index k = thread_number();
    if (k >= size) return;
    int row = k / w % h, column = k % w;
    const REAL* plane = dy + k / w / h * oh * ow;
    REAL sum = 0;
    for (int u = 0; u <= oh - h; ++u) {
        int i = candidate(u, row, h, top);
        if (source(i, h, top, mode) != row) continue;
        for (int v = 0; v <= ow - w; ++v) {
            int j = candidate(v, column, w, left);
            if (source(j, w, left, mode) == column) sum += plane[(Index)i * ow + j];
        }
    }
    dx[k] = sum;
}
