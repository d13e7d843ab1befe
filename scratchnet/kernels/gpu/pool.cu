// Pooling; the rules are in scratchnet/ops/pool.py. Images are (planes, H, W); a plane is a channel of an example.
//
// Forward: one thread for each window. Backward: one thread for each pixel of x, which looks up the windows that it is
// in and adds what they send back. Were it one thread for each window, two that overlap would write to one pixel at the
// same time.
#include "common.cuh"

// A window begins at row i * stride - padding and has the rows begin + u * dilation, u < kernel. Given a row and u,
// this is the window's i, or -1 if no window has that row as its u-th.
__device__ inline int window_of(int row, int u, int stride, int padding, int dilation, int windows) {
    int begin = row + padding - u * dilation;
    return begin >= 0 && begin % stride == 0 && begin / stride < windows ? begin / stride : -1;
}

extern "C" __global__ void max_pool2d(
    const REAL* x, REAL* y, int* winner, int h, int w, int oh, int ow, int kh, int kw, int sh, int sw, int ph, int pw,
    int dh, int dw, Index size
) {
    Index k = thread_number();
    if (k >= size) return;
    int j = k % ow, i = k / ow % oh, best = -1;  // -1: no pixel seen yet
    const REAL* plane = x + k / ow / oh * h * w;
    REAL most = Max::none();
    for (int u = 0; u < kh; ++u) {
        int row = i * sh - ph + u * dh;
        for (int v = 0; v < kw; ++v) {
            int column = j * sw - pw + v * dw;
            if (row < 0 || row >= h || column < 0 || column >= w) continue;
            REAL pixel = plane[(Index)row * w + column];
            if (pixel > most || pixel != pixel || best < 0) {  // > and not >=: the first of equals stays
                most = pixel;
                best = u * kw + v;
            }
        }
    }
    y[k] = most;
    winner[k] = best;
}

extern "C" __global__ void max_pool2d_backward(
    const REAL* dy, const int* winner, REAL* dx, int h, int w, int oh, int ow, int kh, int kw, int sh, int sw, int ph,
    int pw, int dh, int dw, Index size
) {
    Index k = thread_number();
    if (k >= size) return;
    int column = k % w, row = k / w % h;
    Index plane = k / w / h * oh * ow;
    REAL sum = 0;
    for (int u = 0; u < kh; ++u) {
        int i = window_of(row, u, sh, ph, dh, oh);
        for (int v = 0; i >= 0 && v < kw; ++v) {
            int j = window_of(column, v, sw, pw, dw, ow);
            if (j < 0) continue;
            Index window = plane + (Index)i * ow + j;
            if (winner[window] == u * kw + v) sum += dy[window];
        }
    }
    dx[k] = sum;
}

// How many rows of a window count: those in the image, or, with the border, in the padded image.
__device__ inline int counted(int i, int size, int kernel, int stride, int padding, bool include_pad) {
    int begin = i * stride - padding, first = include_pad ? -padding : 0, last = include_pad ? size + padding : size;
    return min(begin + kernel, last) - max(begin, first);
}

__device__ inline REAL divisor(
    int i, int j, int h, int w, int kh, int kw, int sh, int sw, int ph, int pw, bool include_pad, REAL override
) {
    return override != 0 ? override : counted(i, h, kh, sh, ph, include_pad) * counted(j, w, kw, sw, pw, include_pad);
}

extern "C" __global__ void avg_pool2d(
    const REAL* x, REAL* y, int h, int w, int oh, int ow, int kh, int kw, int sh, int sw, int ph, int pw,
    bool include_pad, REAL override, Index size
) {
    Index k = thread_number();
    if (k >= size) return;
    int j = k % ow, i = k / ow % oh;
    const REAL* plane = x + k / ow / oh * h * w;
    REAL sum = 0;
    for (int row = max(i * sh - ph, 0); row < min(i * sh - ph + kh, h); ++row)
        for (int column = max(j * sw - pw, 0); column < min(j * sw - pw + kw, w); ++column)
            sum += plane[(Index)row * w + column];
    y[k] = sum / divisor(i, j, h, w, kh, kw, sh, sw, ph, pw, include_pad, override);
}

extern "C" __global__ void avg_pool2d_backward(
    const REAL* dy, REAL* dx, int h, int w, int oh, int ow, int kh, int kw, int sh, int sw, int ph, int pw,
    bool include_pad, REAL override, Index size
) {
    Index k = thread_number();
    if (k >= size) return;
    int column = k % w, row = k / w % h;
    const REAL* plane = dy + k / w / h * oh * ow;
    REAL sum = 0;
    for (int u = 0; u < kh; ++u) {
        int i = window_of(row, u, sh, ph, 1, oh);
        for (int v = 0; i >= 0 && v < kw; ++v) {
            int j = window_of(column, v, sw, pw, 1, ow);
            if (j >= 0)
                sum += plane[(Index)i * ow + j] / divisor(i, j, h, w, kh, kw, sh, sw, ph, pw, include_pad, override);
        }
    }
    dx[k] = sum;
}

// Adaptive pooling: window i has the rows floor(i * size / out) ... ceil((i + 1) * size / out) - 1.
__device__ inline int first_row(int i, int size, int out) { return (Index)i * size / out; }
__device__ inline int end_row(int i, int size, int out) { return ((Index)(i + 1) * size + out - 1) / out; }

extern "C" __global__ void adaptive_avg_pool2d(const REAL* x, REAL* y, int h, int w, int oh, int ow, Index size) {
    Index k = thread_number();
    if (k >= size) return;
    int j = k % ow, i = k / ow % oh;
    const REAL* plane = x + k / ow / oh * h * w;
    int top = first_row(i, h, oh), bottom = end_row(i, h, oh), left = first_row(j, w, ow), right = end_row(j, w, ow);
    REAL sum = 0;
    for (int row = top; row < bottom; ++row)
        for (int column = left; column < right; ++column) sum += plane[(Index)row * w + column];
    y[k] = sum / ((bottom - top) * (right - left));
}

// A row is in the windows floor(row * out / size) ... ceil((row + 1) * out / size) - 1: the same formula, with windows
// and rows exchanged.
extern "C" __global__ void adaptive_avg_pool2d_backward(
    const REAL* dy, REAL* dx, int h, int w, int oh, int ow, Index size
) {
    Index k = thread_number();
    if (k >= size) return;
    int column = k % w, row = k / w % h;
    const REAL* plane = dy + k / w / h * oh * ow;
    REAL sum = 0;
    for (int i = first_row(row, oh, h); i < end_row(row, oh, h); ++i) {
        int rows = end_row(i, h, oh) - first_row(i, h, oh);
        for (int j = first_row(column, ow, w); j < end_row(column, ow, w); ++j)
            sum += plane[(Index)i * ow + j] / (rows * (end_row(j, w, ow) - first_row(j, w, ow)));
    }
    dx[k] = sum;
}
