"""2-D convolution of small images: the batch lies in the lanes.

conv.py puts the pixels of a line into the lanes of a vector. An image of 4 × 4 has too few of them. But training has
many images, and what is done to a pixel is the same in all. Put one pixel of every image side by side ::

    x̃[c, q, n] = x[n, c, q]                                q: a pixel, n: an image of the batch

and convolution is a sum of matrix products, one for each output pixel p and each kernel position r = (u, v) ::

    ỹ[:, p, :]    = Σ_r  weight[:, :, r] · x̃[:, q, :]             (O, N) = (O, C) · (C, N)      `contract`
    dx̃[:, q, :]   = Σ_r  weight[:, :, r]ᵀ · dỹ[:, p, :]           (C, N) = (C, O) · (O, N)      `contract`
    dweight[:, :, r] = Σ_p  dỹ[:, p, :] · x̃[:, q, :]ᵀ             (O, C) = (O, N) · (N, C)      `contract`

where q is the pixel that kernel position r of output p reads; positions beside the image are left out, so that there
are no zeros to pad with and none to multiply by. For dweight the vectors run along the channels, which takes the image
in another order: x[n, c, q] at [q, n, c].

Which convolutions go this way, `suits` says; winograd.py comes first.
"""

from scratchnet.kernels.cpu._arrays import empty, none, ready, steps
from scratchnet.kernels.cpu._compile import kernel, parts
from scratchnet.kernels.cpu.vector import ROWS, at, contract, lanes
from scratchnet.ops.shape import Array

_BLOCK = 16  # rows and columns that are transposed at a time: both sides stay in the level-1 cache
_PIXELS = 100  # of an image: conv.py's lines are long enough in larger ones


def suits(x: Array, sizes) -> bool:
    """Whether the batch and the channels fill vectors better than the lines of the image do."""
    width = lanes(x.dtype)
    full = len(x) >= width and 4 * (-(-len(x) // width) * width) <= 5 * len(x)  # at most a fifth of the lanes is empty
    return full and sizes.groups == 1 and min(sizes.c, sizes.o) >= 2 * width and sizes.oh * sizes.ow <= _PIXELS


@kernel
def _turn(t, threads, x, y, rows, columns, out):
    """out[j, i] = x[i, j] for x (rows, columns); 0 where y is given and ReLU did not pass x on."""
    zero = x.dtype.type(0)
    for first in range(t * columns // threads, (t + 1) * columns // threads, _BLOCK):
        last = min(first + _BLOCK, (t + 1) * columns // threads)
        for i0 in range(0, rows, _BLOCK):
            for j in range(first, last):
                for i in range(i0, min(i0 + _BLOCK, rows)):
                    value = x[i * columns + j]
                    if y.size and y[i * columns + j] <= zero:
                        value = zero
                    out[j * rows + i] = value


@kernel
def _turn_back(t, threads, x, bias, pixels, relu, rows, columns, out):
    """out[j, i] = x[i, j] + bias[i // pixels] for x (rows, columns), with relu max(…, 0)."""
    zero = x.dtype.type(0)
    for first in range(t * columns // threads, (t + 1) * columns // threads, _BLOCK):
        last = min(first + _BLOCK, (t + 1) * columns // threads)
        for i0 in range(0, rows, _BLOCK):
            for j in range(first, last):
                for i in range(i0, min(i0 + _BLOCK, rows)):
                    value = x[i * columns + j]
                    if bias.size:
                        value += bias[i // pixels]
                    if relu and value <= zero:
                        value = zero
                    out[j * rows + i] = value


@kernel
def _pixels_last(t, threads, x, images, channels, pixels, out):
    """out[q, n, c] = x[n, c, q]"""
    for n in range(t * images // threads, (t + 1) * images // threads):
        for q in range(pixels):
            for c in range(channels):
                out[(q * images + n) * channels + c] = x[(n * channels + c) * pixels + q]


@kernel
def _forward(t, threads, x, weight, s, n, kw, dh, dw, weight_row, weight_step, x_step, y_row, y):
    """x (C, H·W, N), weight (KH·KW, O, C) → y (O, OH·OW, N)"""
    for p in range(t * s.oh * s.ow // threads, (t + 1) * s.oh * s.ow // threads):
        begun = False
        for r in range(s.taps):
            row, column = p // s.ow * s.sh - s.ph + r // kw * dh, p % s.ow * s.sw - s.pw + r % kw * dw
            if 0 <= row < s.h and 0 <= column < s.w:
                contract(
                    s.o, n, s.c, at(weight, r * s.o * s.c), at(weight_row, 0), at(weight_step, 0),
                    at(x, (row * s.w + column) * n), at(x_step, 0), at(y, p * n), at(y_row, 0), begun,
                )  # fmt: skip
                begun = True
        if not begun:
            for o in range(s.o):
                y[(o * s.oh * s.ow + p) * n : (o * s.oh * s.ow + p + 1) * n] = 0


@kernel
def _gather_dx(t, threads, dy, weight, s, n, kw, dh, dw, weight_row, weight_step, dy_step, dx_row, dx):
    """dy (O, OH·OW, N), weight (KH·KW, C, O) → dx (C, H·W, N)"""
    for q in range(t * s.h * s.w // threads, (t + 1) * s.h * s.w // threads):
        begun = False
        for r in range(s.taps):
            row, column = q // s.w + s.ph - r // kw * dh, q % s.w + s.pw - r % kw * dw
            i, j = row // s.sh, column // s.sw
            if row % s.sh == 0 and column % s.sw == 0 and 0 <= i < s.oh and 0 <= j < s.ow:
                contract(
                    s.c, n, s.o, at(weight, r * s.o * s.c), at(weight_row, 0), at(weight_step, 0),
                    at(dy, (i * s.ow + j) * n), at(dy_step, 0), at(dx, q * n), at(dx_row, 0), begun,
                )  # fmt: skip
                begun = True
        if not begun:
            for c in range(s.c):
                dx[(c * s.h * s.w + q) * n : (c * s.h * s.w + q + 1) * n] = 0


@kernel
def _sum_dweight(t, threads, dy, x, s, n, kw, dh, dw, dy_row, dy_step, x_step, dweight_row, dweight, dbias):
    """dy (O, OH·OW, N), x (H·W, N, C) → dweight (KH·KW, O, C), dbias (O,). A thread has some rows of dweight."""
    blocks = (s.o + ROWS - 1) // ROWS
    first, last = t * blocks // threads * ROWS, min((t + 1) * blocks // threads * ROWS, s.o)
    pixels = s.oh * s.ow
    for o in range(first, last):
        total = dy.dtype.type(0)
        for k in range(o * pixels * n, (o + 1) * pixels * n):
            total += dy[k]
        dbias[o] = total
    for r in range(s.taps):
        dweight[(r * s.o + first) * s.c : (r * s.o + last) * s.c] = 0
        for p in range(pixels):
            row, column = p // s.ow * s.sh - s.ph + r // kw * dh, p % s.ow * s.sw - s.pw + r % kw * dw
            if 0 <= row < s.h and 0 <= column < s.w:
                contract(
                    last - first, s.c, n, at(dy, (first * pixels + p) * n), at(dy_row, 0), at(dy_step, 0),
                    at(x, (row * s.w + column) * n * s.c), at(x_step, 0), at(dweight, (r * s.o + first) * s.c),
                    at(dweight_row, 0), True,
                )  # fmt: skip


def forward(x: Array, weight: Array, bias: Array, sizes, dilation: tuple[int, int], relu: bool) -> Array:
    """x and weight as `ready` gives them, bias too or empty → y (N, O, OH, OW), with relu max(y, 0)."""
    s, n, work = sizes, len(x), x.shape[0] * sizes.o * sizes.oh * sizes.ow * sizes.k
    threads, pixels = parts(work), s.oh * s.ow
    turned, result = empty((s.c * s.h * s.w, n), x.dtype), empty((s.o * pixels, n), x.dtype)
    _turn.on(threads, x.reshape(-1), none(x), n, s.c * s.h * s.w, turned.reshape(-1))
    taps_first = ready(weight.reshape(s.o, s.c, s.taps).transpose(2, 0, 1))  # (KH·KW, O, C)
    _forward.on(
        threads, turned.reshape(-1), taps_first.reshape(-1), s, n, weight.shape[3], *dilation, steps(s.o, s.c),
        steps(s.c, 1), steps(s.c, s.h * s.w * n), steps(s.o, pixels * n), result.reshape(-1),
    )  # fmt: skip
    y = empty((n, s.o, s.oh, s.ow), x.dtype)
    _turn_back.on(threads, result.reshape(-1), bias, pixels, relu, s.o * pixels, n, y.reshape(-1))
    return y


def backward(
    dy: Array, y: Array | None, x: Array, weight: Array, sizes, dilation: tuple[int, int], wants_dx: bool
) -> tuple[Array | None, Array, Array]:
    """dx (None if it is not wanted), dweight, dbias; y (N, O, OH, OW) is given where forward applied ReLU."""
    s, n, work = sizes, len(x), x.shape[0] * sizes.o * sizes.oh * sizes.ow * sizes.k
    threads, pixels, kw = parts(2 * work), s.oh * s.ow, weight.shape[3]
    turned = empty((s.o * pixels, n), x.dtype)
    active = none(x) if y is None else y.reshape(-1)
    _turn.on(threads, ready(dy).reshape(-1), active, n, s.o * pixels, turned.reshape(-1))
    channels_last = empty((s.h * s.w, n, s.c), x.dtype)
    _pixels_last.on(threads, x.reshape(-1), n, s.c, s.h * s.w, channels_last.reshape(-1))
    taps_first, dbias = empty((s.taps, s.o, s.c), x.dtype), empty((s.o,), x.dtype)
    _sum_dweight.on(
        threads, turned.reshape(-1), channels_last.reshape(-1), s, n, kw, *dilation, steps(s.o, pixels * n),
        steps(n, 1), steps(n, s.c), steps(s.o, s.c), taps_first.reshape(-1), dbias,
    )  # fmt: skip
    dweight = taps_first.transpose(1, 2, 0).reshape(weight.shape)
    if not wants_dx:
        return None, dweight, dbias
    transposed = ready(weight.reshape(s.o, s.c, s.taps).transpose(2, 1, 0))  # (KH·KW, C, O)
    result = empty((s.c * s.h * s.w, n), x.dtype)
    _gather_dx.on(
        threads, turned.reshape(-1), transposed.reshape(-1), s, n, kw, *dilation, steps(s.c, s.o), steps(s.o, 1),
        steps(s.o, pixels * n), steps(s.c, s.h * s.w * n), result.reshape(-1),
    )  # fmt: skip
    dx = empty(x.shape, x.dtype)
    _turn_back.on(threads, result.reshape(-1), none(x), 1, False, s.c * s.h * s.w, n, dx.reshape(-1))
    return dx, dweight, dbias
