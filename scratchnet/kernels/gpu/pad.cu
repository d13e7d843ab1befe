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

// One thread for each pixel of x: it adds up every place where the pixel is shown. A row is compared with all rows of
// y, and only those that show it are looked through, so this takes OH + OW steps for a pixel shown once.
extern "C" __global__ void pad2d_backward(
    const REAL* dy, REAL* dx, int mode, int top, int left, int h, int w, int oh, int ow, Index size
) {
    Index k = thread_number();
    if (k >= size) return;
    const REAL* plane = dy + k / w / h * oh * ow;
    REAL sum = 0;
    for (int i = 0; i < oh; ++i) {
        if (source(i, h, top, mode) != k / w % h) continue;
        for (int j = 0; j < ow; ++j)
            if (source(j, w, left, mode) == k % w) sum += plane[(Index)i * ow + j];
    }
    dx[k] = sum;
}
