// Convolution; the mathematics is in scratchnet/ops/conv.py: a matrix product with the columns that im2col makes. Here
// the columns are never written to memory: whoever needs an element of them works out which pixel it is ("implicit
// GEMM"). Forward, dX and dW are three such products, which differ in what a row, a column and a term of the sum are:
//
//            rows of the result   columns of the result   summed over
//   y        output channels o    positions (n, i, j)     (c, u, v)
//   dX       input channels c     pixels (n, row, col)    (o, u, v): the gather form of col2im
//   dW       output channels o    (c, u, v)               positions (n, i, j)
//
// All three are `product` with other functions for the elements of its factors A (rows, K) and B (K, columns).
//
// How a tile is computed. A block of 256 threads makes TILE_ROWS x 64 elements of the result. In each round it loads 16
// columns of A and 16 rows of B into shared memory, where every element is used many times:
//
//             64 columns           thread (ty, tx) = (t / 16, t % 16) keeps the elements
//            +-----------+         rows ty, ty + 16, ... and columns tx, tx + 16, tx + 32, tx + 48
//        16  |  b        |         in registers: ROWS x 4 of them. In a round it reads 16 (ROWS + 4) numbers from
//            +-----------+         shared memory for 16 * ROWS * 4 multiplications.
//      16
//    +----+  +-----------+
//    | a  |  | TILE_ROWS |
//    +----+  +-----------+
#include "common.cuh"

#ifndef ROWS
#define ROWS 4  // rows of the result that a thread keeps: 4 for many channels, 1 for few
#endif
#define COLUMNS 4
#define SIDE 16  // the threads of a block are SIDE x SIDE
#define DEPTH 16  // terms of the sum in a round
#define TILE_ROWS (SIDE * ROWS)
#define TILE_COLUMNS (SIDE * COLUMNS)

struct Sizes {
    int n, c, h, w, o, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw, groups;  // as in ops/conv.py
};

// A number 0 ... taken apart into three, of which the last two run up to `middle` and `last`: (c, u, v), (n, i, j)
struct Triple {
    int first, middle, last;
    __device__ Triple(Index number, int middles, int lasts)
        : first(number / lasts / middles), middle(number / lasts % middles), last(number % lasts) {}
};

// x at channel c of group g, in the window at `position`, under the kernel's element (u, v); 0 in the padding
__device__ inline REAL under_kernel(const REAL* x, const Sizes& s, int g, const Triple& position, const Triple& tap) {
    int row = position.middle * s.sh - s.ph + tap.middle * s.dh;
    int column = position.last * s.sw - s.pw + tap.last * s.dw;
    if (row < 0 || row >= s.h || column < 0 || column >= s.w) return 0;
    return x[(((Index)position.first * s.c + g * (s.c / s.groups) + tap.first) * s.h + row) * s.w + column];
}

// The window whose row u (column v) lies on this row of x, or -1
__device__ inline int window_of(int row, int u, int stride, int padding, int dilation, int windows) {
    int begin = row + padding - u * dilation;
    return begin >= 0 && begin % stride == 0 && begin / stride < windows ? begin / stride : -1;
}

// The three kinds of factors. Each has its sizes, the elements a(row, k) and b(k, column), and column(q): what b wants to
// know of column q, worked out once, since a thread loads the same column in every round.
struct Forward {
    const REAL *x, *weight;
    Sizes s;
    int g;
    __device__ int rows() const { return s.o / s.groups; }
    __device__ Index columns() const { return (Index)s.n * s.oh * s.ow; }
    __device__ Index terms() const { return (Index)(s.c / s.groups) * s.kh * s.kw; }
    __device__ Triple column(Index q) const { return Triple(q, s.oh, s.ow); }
    __device__ REAL a(int row, Index k) const { return weight[((Index)g * rows() + row) * terms() + k]; }
    __device__ REAL b(Index k, const Triple& q) const { return under_kernel(x, s, g, q, Triple(k, s.kh, s.kw)); }
};

struct BackwardX {
    const REAL *dy, *weight;
    Sizes s;
    int g;
    __device__ int rows() const { return s.c / s.groups; }
    __device__ Index columns() const { return (Index)s.n * s.h * s.w; }
    __device__ Index terms() const { return (Index)(s.o / s.groups) * s.kh * s.kw; }
    __device__ Triple column(Index q) const { return Triple(q, s.h, s.w); }
    __device__ REAL a(int row, Index k) const {
        Index o = k / (s.kh * s.kw), tap = k % (s.kh * s.kw);
        return weight[(((Index)g * (s.o / s.groups) + o) * rows() + row) * s.kh * s.kw + tap];
    }
    __device__ REAL b(Index k, const Triple& q) const {
        Triple t(k, s.kh, s.kw);  // (o, u, v)
        int i = window_of(q.middle, t.middle, s.sh, s.ph, s.dh, s.oh);
        int j = window_of(q.last, t.last, s.sw, s.pw, s.dw, s.ow);
        if (i < 0 || j < 0) return 0;
        return dy[(((Index)q.first * s.o + g * (s.o / s.groups) + t.first) * s.oh + i) * s.ow + j];
    }
};

struct BackwardWeight {
    const REAL *dy, *x;
    Sizes s;
    int g;
    __device__ int rows() const { return s.o / s.groups; }
    __device__ Index columns() const { return (Index)(s.c / s.groups) * s.kh * s.kw; }
    __device__ Index terms() const { return (Index)s.n * s.oh * s.ow; }
    __device__ Triple column(Index q) const { return Triple(q, s.kh, s.kw); }
    __device__ REAL a(int row, Index k) const {
        Index n = k / (s.oh * s.ow), position = k % (s.oh * s.ow);
        return dy[(n * s.o + g * rows() + row) * s.oh * s.ow + position];
    }
    __device__ REAL b(Index k, const Triple& q) const { return under_kernel(x, s, g, Triple(k, s.oh, s.ow), q); }
};

// The block's tile of A B, of the terms `first` ... `end` of the sum: sums[r][c] is at row first_row + ty + 16 r and
// column first_column + tx + 16 c. Beyond the edges the factors are 0.
template <class Factors>
__device__ inline void product(
    const Factors& factors, int first_row, Index first_column, Index first, Index end, REAL sums[ROWS][COLUMNS]
) {
    __shared__ REAL a[DEPTH][TILE_ROWS + 1];  // + 1: threads that write a column of it use different banks
    __shared__ REAL b[DEPTH][TILE_COLUMNS];
    int t = threadIdx.x, tx = t % SIDE, ty = t / SIDE;
    int row_end = factors.rows() - first_row, my_column = t % TILE_COLUMNS;
    bool inside = first_column + my_column < factors.columns();
    auto column = factors.column(inside ? first_column + my_column : 0);
    for (int r = 0; r < ROWS; ++r)
        for (int c = 0; c < COLUMNS; ++c) sums[r][c] = 0;

    for (Index k0 = first; k0 < end; k0 += DEPTH) {
        // A: thread (ty, tx) loads term tx of the rows ty, ty + 16, ...: neighbours read neighbours
        for (int row = ty; row < TILE_ROWS; row += SIDE)
            a[tx][row] = row < row_end && k0 + tx < end ? factors.a(first_row + row, k0 + tx) : 0;
        // B: thread t loads its column's terms t / 64, t / 64 + 4, ...
        for (int k = t / TILE_COLUMNS; k < DEPTH; k += SIDE * SIDE / TILE_COLUMNS)
            b[k][my_column] = inside && k0 + k < end ? factors.b(k0 + k, column) : 0;
        __syncthreads();
        for (int k = 0; k < DEPTH; ++k) {
            REAL left[ROWS], right[COLUMNS];
            for (int r = 0; r < ROWS; ++r) left[r] = a[k][ty + SIDE * r];
            for (int c = 0; c < COLUMNS; ++c) right[c] = b[k][tx + SIDE * c];
            for (int r = 0; r < ROWS; ++r)
                for (int c = 0; c < COLUMNS; ++c) sums[r][c] += left[r] * right[c];
        }
        __syncthreads();  // nobody loads the next round while somebody still reads this one
    }
}

// What the three kernels do with `write(row, column, sum)` for each element of the tile that lies inside.
template <class Factors, class Write>
__device__ inline void tile(const Factors& factors, Index first, Index end, Write write) {
    REAL sums[ROWS][COLUMNS];
    int first_row = blockIdx.y * TILE_ROWS;
    Index first_column = (Index)blockIdx.x * TILE_COLUMNS;
    product(factors, first_row, first_column, first, end, sums);
    int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
    for (int r = 0; r < ROWS; ++r)
        for (int c = 0; c < COLUMNS; ++c) {
            int row = first_row + ty + SIDE * r;
            Index column = first_column + tx + SIDE * c;
            if (row < factors.rows() && column < factors.columns()) write(row, column, sums[r][c]);
        }
}

// Grid: tiles of positions, tiles of channels, groups. y = the product + bias, cut off at 0 with `relu`.
extern "C" __global__ void conv2d(const REAL* x, const REAL* weight, const REAL* bias, bool relu, REAL* y, Sizes s) {
    int g = blockIdx.z;
    Forward factors = {x, weight, s, g};
    tile(factors, 0, factors.terms(), [&](int row, Index q, REAL sum) {
        Triple at = factors.column(q);
        int o = g * factors.rows() + row;
        if (bias) sum += bias[o];
        if (relu && sum <= 0) sum = 0;  // NaN <= 0 is false: NaN stays
        y[(((Index)at.first * s.o + o) * s.oh + at.middle) * s.ow + at.last] = sum;
    });
}

// Grid: tiles of pixels, tiles of channels, groups. The bias is that of a transposed convolution, whose output this is.
extern "C" __global__ void conv2d_backward_x(
    const REAL* dy, const REAL* weight, const REAL* bias, REAL* dx, Sizes s
) {
    int g = blockIdx.z;
    BackwardX factors = {dy, weight, s, g};
    tile(factors, 0, factors.terms(), [&](int row, Index q, REAL sum) {
        Triple at = factors.column(q);
        int c = g * factors.rows() + row;
        if (bias) sum += bias[c];
        dx[(((Index)at.first * s.c + c) * s.h + at.middle) * s.w + at.last] = sum;
    });
}

// Grid: tiles of (c, u, v), tiles of channels, groups * parts. There are few elements of dW and many terms, so the terms
// are cut into parts; dweight is (parts, O, C/G, KH, KW), and `sum_of_parts` adds the parts up, in their order.
extern "C" __global__ void conv2d_backward_weight(
    const REAL* dy, const REAL* x, REAL* dweight, int parts, Sizes s
) {
    int g = blockIdx.z / parts, part = blockIdx.z % parts;
    BackwardWeight factors = {dy, x, s, g};
    Index share = (factors.terms() + parts - 1) / parts, first = part * share;
    Index end = first + share < factors.terms() ? first + share : factors.terms();
    tile(factors, first, end, [&](int row, Index q, REAL sum) {
        dweight[((Index)part * s.o + g * factors.rows() + row) * factors.columns() + q] = sum;
    });
}

extern "C" __global__ void sum_of_parts(const REAL* dweight, int parts, REAL* total, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    REAL sum = 0;
    for (int part = 0; part < parts; ++part) sum += dweight[part * size + i];
    total[i] = sum;
}

// One block for each channel: dbias_o = the sum of dy over examples and pixels.
extern "C" __global__ void channel_sums(const REAL* dy, REAL* dbias, int examples, int channels, int pixels) {
    REAL sum = 0;
    for (Index k = threadIdx.x; k < (Index)examples * pixels; k += blockDim.x)
        sum += dy[(k / pixels * channels + blockIdx.x) * pixels + k % pixels];
    sum = block_sum(sum);
    if (threadIdx.x == 0) dbias[blockIdx.x] = sum;
}

// The plain second way: the columns in memory, (N, C, KH, KW, OH, OW), for a matrix product by cuBLAS. One thread for
// each element of the columns ...
extern "C" __global__ void im2col(const REAL* x, REAL* cols, Sizes s, Index size) {
    Index i = thread_number();
    if (i >= size) return;
    Triple position(i % ((Index)s.oh * s.ow), s.oh, s.ow), tap(i / ((Index)s.oh * s.ow), s.kh, s.kw);
    position.first = tap.first / s.c;
    tap.first %= s.c;
    s.groups = 1;
    cols[i] = under_kernel(x, s, 0, position, tap);
}

// ... and back, one thread for each pixel: it adds up the columns' elements that were read from it.
extern "C" __global__ void col2im(const REAL* dcols, REAL* dx, Sizes s, Index size) {
    Index k = thread_number();
    if (k >= size) return;
    Triple at(k, s.h, s.w);  // (n and c, row, column)
    REAL sum = 0;
    for (int u = 0; u < s.kh; ++u) {
        int i = window_of(at.middle, u, s.sh, s.ph, s.dh, s.oh);
        for (int v = 0; i >= 0 && v < s.kw; ++v) {
            int j = window_of(at.last, v, s.sw, s.pw, s.dw, s.ow);
            if (j >= 0) sum += dcols[((((Index)at.first * s.kh + u) * s.kw + v) * s.oh + i) * s.ow + j];
        }
    }
    dx[k] = sum;
}
