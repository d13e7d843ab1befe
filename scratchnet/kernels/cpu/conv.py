"""2-D convolution without im2col. The formula and the derivation are in scratchnet/ops/conv.py.

Forward
-------
im2col copies the image once for each kernel position r = (c, u, v), shifted by (u, v), and multiplies the weights by
the result. Here the image is copied once, into a frame of zeros, and the shifted images are read where they are. Take
the padded channel as one long row of numbers: with a pitch of Q numbers a line, pixel (i, j) is number q = i·Q + j, and
kernel position (u, v) reads number q + u·Q + v for every output q at once. So ::

    y[o, q] = Σ_r weight[o, r] · x̂[offset[r] + q]                  offset[c, u, v] = c·P + u·Q + v

is a matrix product whose second factor is told by a table of offsets: `contract`. Outputs q that lie between two
lines are computed and thrown away; since the zeros right of a line serve as the zeros left of the next, Q is only
W + padding, and few are lost.

With stride s, outputs i = 0, 1, … read lines i·s + u. The lines and columns with one remainder modulo s, a *phase*,
are kept together, as an image of their own: in it the lines of kernel position u are consecutive again, from ⌊u/s⌋ on.
Dilation only changes the offsets.

Backward
--------
    dweight[o, r] = Σ_n Σ_q dy[n, o, q] · x̂[n, offset[r] + q]              `dot`
    dx̂[c, q]      = Σ_{o, u, v} weight[o, c, u, v] · dy[o, q − u·Q − v]      `contract`

where dy lies in a frame of zeros with the same pitch Q. dx is a convolution with the same tables, read backwards:
where col2im adds what each window leaves at a pixel, this gathers for each pixel what all windows leave there. With
a stride, each phase of dx̂ gathers from the kernel positions of that phase.

A thread works on some images. Each keeps a dweight of its own, and these are added in the end.

Two kinds of convolution have a faster way: winograd.py and, for small images, conv_batch.py. This file serves all.
"""

import functools
from typing import NamedTuple

import numpy

from scratchnet.kernels.cpu import conv_batch, winograd
from scratchnet.kernels.cpu._arrays import empty, none, optional, ready, steps, sum_of_parts
from scratchnet.kernels.cpu._compile import inner, kernel, parts
from scratchnet.kernels.cpu.vector import (
    DOT_ROWS,
    ROWS,
    at,
    clear,
    contract,
    copy_row,
    copy_row_where_active,
    dot,
    sum_row,
)
from scratchnet.ops.shape import Array, Pair, output_size, pair

_GROUP = 4096  # numbers of dy that dweight's inner loop goes over, to and fro: half of a usual level-1 cache


class Conv2dCache(NamedTuple):
    x: Array  # (N, C, H, W)
    weight: Array  # (O, C/G, KH, KW)
    y: Array | None  # (N, O, OH, OW), where ReLU is part of the kernel
    has_bias: bool
    layout: "Layout"
    dilation: tuple[int, int]


class Sizes(NamedTuple):
    """The numbers that the kernels need; everything is counted in elements."""

    c: int  # input channels, of all groups
    h: int
    w: int
    o: int
    oh: int
    ow: int
    k: int  # C/G·KH·KW: the length of the sum in forward
    taps: int  # KH·KW
    groups: int
    sh: int
    sw: int
    ph: int
    pw: int
    pitch: int  # Q: from one line of a padded image to the next
    rows: int  # lines of the padded input that are read
    image: int  # of a padded input
    x_plane: int  # from one phase of a channel of the padded input to the next
    dy_plane: int  # from one channel of the padded dy to the next
    dy_first: int  # where dy[0, 0] lies in its plane
    read_h: int  # phases from this one on are not read: a 1 × 1 kernel with stride 2 reads one pixel in four
    read_w: int
    together: int  # images whose products are summed before lanes are


class Layout(NamedTuple):
    """How one shape of convolution lies in memory."""

    sizes: Sizes
    offset: Array  # (K,): where kernel position r = (c, u, v) reads in the padded image, for output pixel 0
    weight_steps: Array  # where weight[o, 0, u, v] is, for (o, u, v) of phase 0, then of phase 1, …
    dy_steps: Array  # and where that kernel position reads in the padded dy, for pixel 0 of the phase
    phases: Array  # (phases, 8): first table entry, entries, remainders a, b, first line, lines, first column, columns


@functools.lru_cache(256)
def layout_of(
    image: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Layout:
    (c, h, w), (o, c_group, kh, kw) = image, weight_shape
    (sh, sw), (ph, pw), (dh, dw) = stride, padding, dilation
    oh, ow = output_size(h, kh, sh, ph, dh), output_size(w, kw, sw, pw, dw)
    taps, o_group = kh * kw, o // groups

    # Zeros that dx reads around dy: for the first and the last pixel of x, at either end of the kernel.
    above, left = max(0, (dh * (kh - 1) - ph) // sh), max(0, (dw * (kw - 1) - pw) // sw)
    below, right = max(0, (ph + h - 1) // sh - (oh - 1)), max(0, (pw + w - 1) // sw - (ow - 1))
    pitch = max(-(-(w + pw) // sw), ow + max(left, right))
    rows = (oh - 1) * sh + dh * (kh - 1) + 1
    x_plane = (-(-rows // sh) + 1) * pitch + pw
    dy_plane = (above + oh + below + 1) * pitch + left
    dy_first = above * pitch + left

    u, v = numpy.divmod(numpy.arange(taps, dtype=numpy.int64), kw)
    line, column = u * dh, v * dw
    read_h, read_w = int((line % sh).max()) + 1, int((column % sw).max()) + 1
    within = (line % sh * sw + column % sw) * x_plane + line // sh * pitch + column // sw
    offset = (numpy.arange(c_group)[:, None] * (sh * sw * x_plane) + within).reshape(-1)  # (K,)

    a_steps, b_steps, limits, start = [], [], [], 0
    outputs = numpy.arange(o_group)[:, None]
    for a in range(sh):
        for b in range(sw):
            mine = numpy.flatnonzero((line % sh == a) & (column % sw == b))
            first_line, first_column = max(0, -(-(ph - a) // sh)), max(0, -(-(pw - b) // sw))
            lines = (ph + h - 1 - a) // sh - first_line + 1
            columns = (pw + w - 1 - b) // sw - first_column + 1
            a_steps.append((outputs * (c_group * taps) + mine).reshape(-1))
            shift = line[mine] // sh * pitch + column[mine] // sw
            b_steps.append((outputs * dy_plane + dy_first - shift).reshape(-1))
            if lines > 0 and columns > 0:
                limits.append((start, mine.size * o_group, a, b, first_line, lines, first_column, columns))
            start += mine.size * o_group
    sizes = Sizes(
        c, h, w, o, oh, ow, c_group * taps, taps, groups, sh, sw, ph, pw, pitch, rows,
        c * sh * sw * x_plane, x_plane, dy_plane, dy_first, read_h, read_w,
        max(1, min(16, _GROUP // (DOT_ROWS * dy_plane))),
    )  # fmt: skip
    table = functools.partial(numpy.array, dtype=numpy.int64)
    return Layout(
        sizes, table(offset), table(numpy.concatenate(a_steps)), table(numpy.concatenate(b_steps)),
        table(limits).reshape(-1, 8),
    )  # fmt: skip


@inner
def pad_image(x, n, s, out):
    """Image n of x (N, C, H, W) → its phases, each in a frame of zeros. Only pixels are written, so out has to be 0."""
    for i in range(min(s.h, s.rows - s.ph)):
        a, line = (i + s.ph) % s.sh, (i + s.ph) // s.sh
        for b in range(s.read_w if a < s.read_h else 0):
            start = (b - s.pw) % s.sw  # the first column of x that belongs to the phase
            columns, shift = (s.w - start + s.sw - 1) // s.sw, line * s.pitch + (start + s.pw) // s.sw
            for c in range(s.c):
                source = ((n * s.c + c) * s.h + i) * s.w + start
                target = ((c * s.sh + a) * s.sw + b) * s.x_plane + shift
                if s.sw == 1:
                    copy_row(False, at(out, target), at(x, source), x.dtype.type(0), s.w)
                else:
                    _copy_strided(at(out, target), 1, at(x, source), s.sw, columns)


@inner
def _copy_strided(out, out_step, x, x_step, count):
    """out[k·out_step] = x[k·x_step]; the compiler makes vectors of a step that it knows."""
    if x_step == 2 and out_step == 1:
        for k in range(count):
            out[k] = x[2 * k]
    else:
        for k in range(count):
            out[k * out_step] = x[k * x_step]


@inner
def pad_gradient(dy, y, n, s, out):
    """Image n of dy (N, O, OH, OW), 0 where y says that ReLU did not pass it on, in a frame of zeros."""
    for o in range(s.o):
        for i in range(s.oh):
            source = ((n * s.o + o) * s.oh + i) * s.ow
            target = at(out, o * s.dy_plane + s.dy_first + i * s.pitch)
            if y.size:
                copy_row_where_active(target, at(dy, source), at(y, source), s.ow)
            else:
                copy_row(False, target, at(dy, source), dy.dtype.type(0), s.ow)


@kernel
def _forward(t, threads, x, weight, bias, y, s, relu, offset, weight_row, weight_step, line_row, work):
    """work (threads, …): scratch memory, for a padded image and ROWS·OH·Q numbers of the result."""
    n_images, o_group, zero = y.size // (s.o * s.oh * s.ow), s.o // s.groups, x.dtype.type(0)
    columns = (s.oh - 1) * s.pitch + s.ow
    image = at(work, t * work.shape[1])
    line = at(image, s.image)
    clear(image, s.image)
    for n in range(t * n_images // threads, (t + 1) * n_images // threads):
        pad_image(x, n, s, image)
        for g in range(s.groups):
            first = g * (s.c // s.groups) * s.sh * s.sw * s.x_plane
            for o in range(g * o_group, (g + 1) * o_group, ROWS):
                rows = min(ROWS, (g + 1) * o_group - o)
                contract(
                    rows, columns, s.k, at(weight, o * s.k), at(weight_row, 0), at(weight_step, 0),
                    at(image, first), at(offset, 0), line, at(line_row, 0), False,
                )  # fmt: skip
                for k in range(rows):
                    b = bias[o + k] if bias.size else zero
                    for i in range(s.oh):
                        target = at(y, ((n * s.o + o + k) * s.oh + i) * s.ow)
                        source = at(line, (k * s.oh + i) * s.pitch)
                        copy_row(relu, target, source, b, s.ow)


@inner
def _gather_dx(weight, gradient, n, s, tap_row, weight_steps, dy_steps, phases, line_row, line, dx):
    """dx of image n, phase by phase."""
    c_group, o_group, zero = s.c // s.groups, s.o // s.groups, dx.dtype.type(0)
    for p in range(phases.shape[0]):
        start, count, a, b, first_line, lines, first_column, columns = phases[p]
        first = first_line * s.pitch + first_column
        for c in range(0, s.c, c_group):
            for block in range(c, c + c_group, ROWS):
                rows = min(ROWS, c + c_group - block)
                group = c // c_group * o_group
                contract(
                    rows, (lines - 1) * s.pitch + columns, count, at(weight, group * s.k + (block - c) * s.taps),
                    at(tap_row, 0), at(weight_steps, start), at(gradient, group * s.dy_plane + first),
                    at(dy_steps, start), line, at(line_row, 0), False,
                )  # fmt: skip
                for k in range(rows):
                    for i in range(lines):
                        row = (n * s.c + block + k) * s.h + (first_line + i) * s.sh + a - s.ph
                        source = k * line_row[1] + i * s.pitch
                        column = first_column * s.sw + b - s.pw
                        if s.sw == 1:
                            copy_row(False, at(dx, row * s.w + column), at(line, source), zero, columns)
                        else:
                            _copy_strided(at(dx, row * s.w + column), s.sw, at(line, source), 1, columns)


@kernel
def _backward(
    t, threads, dy, y, x, weight, s, offset, weight_row, tap_row, weight_steps, dy_steps, phases, dy_row, line_row,
    work, dx, dweight, dbias,
):  # fmt: skip
    """dweight (threads, O·K) and dbias (threads, O): each thread's sums.

    work (threads, …): scratch memory for padded images, padded gradients, and rows of dx. An empty y: no ReLU; an empty
    dx: not wanted.
    """
    n_images, o_group = x.size // (s.c * s.h * s.w), s.o // s.groups
    first_channel = (s.c // s.groups) * s.sh * s.sw * s.x_plane
    image_size, gradient_size = s.image, s.o * s.dy_plane
    columns = (s.oh - 1) * s.pitch + s.ow
    images, gradients = s.together * image_size, s.together * gradient_size
    image = at(work, t * work.shape[1])
    gradient, line = at(image, images), at(image, images + gradients)
    own_dweight, own_dbias = at(dweight, t * s.o * s.k), at(dbias, t * s.o)
    clear(image, images + gradients)
    clear(own_dbias, s.o)
    start, end = t * n_images // threads, (t + 1) * n_images // threads
    if start == end:
        clear(own_dweight, s.o * s.k)
    for n in range(start, end, s.together):
        together = min(s.together, end - n)
        for k in range(together):
            own_image, own_gradient = at(image, k * image_size), at(gradient, k * gradient_size)
            pad_image(x, n + k, s, own_image)
            pad_gradient(dy, y, n + k, s, own_gradient)
            for o in range(s.o):
                own_dbias[o] += sum_row(at(own_gradient, o * s.dy_plane), s.dy_plane)
            if dx.size:
                _gather_dx(weight, own_gradient, n + k, s, tap_row, weight_steps, dy_steps, phases, line_row, line, dx)
        for g in range(s.groups):
            for o in range(g * o_group, (g + 1) * o_group, DOT_ROWS):
                dot(
                    min(DOT_ROWS, (g + 1) * o_group - o), s.k, columns, at(gradient, o * s.dy_plane + s.dy_first),
                    at(dy_row, 0), at(image, g * first_channel), at(offset, 0), at(own_dweight, o * s.k),
                    at(weight_row, 0), n > start, together, gradient_size, image_size,
                )  # fmt: skip


def forward(x: Array, weight: Array, bias: Array | None, layout: Layout, relu: bool) -> Array:
    """x and weight as `ready` gives them → y (N, O, OH, OW), with relu max(y, 0)."""
    s, n = layout.sizes, x.shape[0]
    y = empty((n, s.o, s.oh, s.ow), x.dtype)
    threads = parts(n * s.o * s.oh * s.ow * s.k)
    _forward.on(
        threads, x.reshape(-1), weight.reshape(-1), optional(bias, x),
        y.reshape(-1), s, relu, layout.offset, steps(ROWS, s.k), steps(s.k, 1), steps(ROWS, s.oh * s.pitch),
        empty((threads, s.image + ROWS * s.oh * s.pitch), x.dtype),
    )  # fmt: skip
    return y


def backward(
    dy: Array, y: Array | None, x: Array, weight: Array, layout: Layout, wants_dx: bool
) -> tuple[Array | None, Array, Array]:
    """dx (None if it is not wanted), dweight, dbias; y (N, O, OH, OW) is given where forward applied ReLU."""
    s = layout.sizes
    threads = parts(2 * x.shape[0] * s.o * s.oh * s.ow * s.k)
    dx = empty(x.shape, x.dtype) if wants_dx else none(x)
    dweight, dbias = empty((threads, s.o * s.k), x.dtype), empty((threads, s.o), x.dtype)
    lines = -(-s.h // s.sh) * s.pitch
    _backward.on(
        threads, ready(dy).reshape(-1), none(x) if y is None else y.reshape(-1), x.reshape(-1),
        weight.reshape(-1), s, layout.offset, steps(s.o, s.k), steps(ROWS, s.taps), layout.weight_steps,
        layout.dy_steps, layout.phases, steps(s.o, s.dy_plane), steps(ROWS, lines),
        empty((threads, s.together * (s.image + s.o * s.dy_plane) + ROWS * lines), x.dtype), dx.reshape(-1), dweight,
        dbias,
    )  # fmt: skip
    return dx if wants_dx else None, sum_of_parts(dweight).reshape(weight.shape), sum_of_parts(dbias)


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Conv2dCache]:
    """Convolve x (N, C, H, W) with weight (O, C/G, KH, KW) and bias (O,) or None → y (N, O, OH, OW)."""
    return conv2d_relu(x, weight, bias, stride, padding, dilation, groups, relu=False)


def conv2d_relu(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    relu: bool = True,
) -> tuple[Array, Conv2dCache]:
    """max(conv2d, 0): the kernel cuts off a row as it writes it. Its backward function is conv2d_backward."""
    x, weight = ready(x), ready(weight)
    layout = layout_of(x.shape[1:], weight.shape, pair(stride), pair(padding), pair(dilation), groups)
    if winograd.suits(len(x), layout.sizes, weight.shape[2:], pair(dilation)):
        y, _ = winograd.forward(x, weight, bias, layout.sizes, relu)
    elif conv_batch.suits(x, layout.sizes):
        y = conv_batch.forward(x, weight, optional(bias, x), layout.sizes, pair(dilation), relu)
    else:
        y = forward(x, weight, bias, layout, relu)
    return y, Conv2dCache(x, weight, y if relu else None, bias is not None, layout, pair(dilation))


def conv2d_backward(dy: Array, cache: Conv2dCache, wants_dx: bool = True) -> tuple[Array | None, Array, Array | None]:
    """dy (N, O, OH, OW) → dx (N, C, H, W) if it is wanted, dweight (O, C/G, KH, KW), dbias (O,) or None."""
    x, weight, y, has_bias, layout, dilation = cache
    if winograd.suits(len(x), layout.sizes, weight.shape[2:], dilation):
        dx, dweight, dbias = winograd.backward(dy, y, x, weight, layout.sizes, wants_dx)
    elif conv_batch.suits(x, layout.sizes):
        dx, dweight, dbias = conv_batch.backward(dy, y, x, weight, layout.sizes, dilation, wants_dx)
    else:
        dx, dweight, dbias = backward(dy, y, x, weight, layout, wants_dx)
    return dx, dweight, dbias if has_bias else None
