"""Convolution, bias, ReLU and max pooling as one function, and why its backward pass does a quarter of the work.

Forward computes four rows of a convolution into a small buffer, as conv.py does, and pools them there (or winograd.py
does so with some tiles): what lies between convolution and pooling is never written to memory. It remembers the winner
of each window, or that ReLU let nothing pass.

After max pooling the gradient of the convolution's output is mostly zeros. Of a 2 × 2 window one pixel has a
gradient, and that only if ReLU was active. With P such pixels (o, i, j), each with a gradient g ::

    dweight[o, :, u, v] += g · x̂[:, i·SH + u, j·SW + v]           the image patch that the pixel saw, times g
    dx̂[:, i·SH + u, j·SW + v] += g · weight[o, :, u, v]           the kernel, times g, added where it looked

Either is a sum over patches of KH × KW pixels with all their channels. So that a line of a patch lies in one piece, x
and the weights are copied channels last. Then, one output channel after another: for dweight the patches are added up
in registers (`add_patches`), for dx the kernel stays in registers and is added to where it looked (`spread_patch`).
"""

import functools
from typing import Any, NamedTuple

import numpy
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from scratchnet.kernels.cpu import conv, winograd
from scratchnet.kernels.cpu._arrays import empty, none, optional, ready, steps, sum_of_parts
from scratchnet.kernels.cpu._compile import inner, kernel, parts
from scratchnet.kernels.cpu.vector import (
    BYTES,
    I64,
    PATCH,
    ROWS,
    _Emitter,
    at,
    call_for_patches,
    contract,
    lanes_of,
    max_of_squares,
    patch_functions,
    sum_row,
    transpose,
)
from scratchnet.ops.shape import Array, pooled_size


class ConvPoolCache(NamedTuple):
    x: Array  # (N, C, H, W)
    weight: Array  # (O, C, KH, KW)
    winner: Array  # (N, O, PH, PW) uint8: the position u·KW + v of the window's maximum; KH·KW: nothing passed ReLU
    has_bias: bool
    layout: "Layout"


class Pool(NamedTuple):
    """The numbers that pooling needs."""

    h: int  # PH, PW: the size of the output
    w: int
    kh: int
    kw: int
    sh: int
    sw: int
    ph: int
    pw: int


class Patch(NamedTuple):
    """How images and weights lie in memory channels last."""

    pitch: int  # from one line of the padded image to the next: (W + 2·PW)·C, and room for a vector
    size: int  # of the padded image
    kh: int
    width: int  # KW·C: numbers in a line of a patch
    kernel_pitch: int  # the same, rounded up to whole vectors
    rows: int  # what one call of patch_functions' two covers
    columns: int


class Layout(NamedTuple):
    conv: conv.Layout
    pool: Pool
    window: Array  # (PH·PW,): where the conv output pixel at a window's first position sees the padded image
    position: Array  # (KH·KW + 1,): how much further position k of the window is, and 0 for none


@functools.lru_cache(256)
def layout_of(
    image: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    pool_kernel: tuple[int, int],
    pool_stride: tuple[int, int],
    pool_padding: tuple[int, int],
    ceil_mode: bool,
) -> Layout:
    layout = conv.layout_of(image, weight_shape, stride, padding, (1, 1), 1)
    s = layout.sizes
    (kh, kw), (sh, sw), (ph, pw) = pool_kernel, pool_stride, pool_padding
    out_h, out_w = pooled_size(s.oh, kh, sh, ph, 1, ceil_mode), pooled_size(s.ow, kw, sw, pw, 1, ceil_mode)
    pool = Pool(out_h, out_w, kh, kw, sh, sw, ph, pw)
    line, column = _pitch(s, BYTES // 4) * s.sh, s.sw * s.c
    i, j = numpy.arange(out_h)[:, None] * sh - ph, numpy.arange(out_w) * sw - pw
    u, v = numpy.divmod(numpy.arange(kh * kw), kw)
    return Layout(
        layout,
        pool,
        (i * line + j * column).reshape(-1).astype(numpy.int64),
        numpy.append(u * line + v * column, 0).astype(numpy.int64),
    )


def _pitch(s: conv.Sizes, lanes: int) -> int:
    return -(-(s.w + 2 * s.pw) * s.c // lanes) * lanes


@functools.lru_cache(256)
def patch_of(s: conv.Sizes, kernel: tuple[int, int], itemsize: int) -> Patch:
    """Patches of KH × KW·C numbers in tiles of whole lines, or of parts of one line where those are too long."""
    (kh, kw), lanes = kernel, BYTES // itemsize
    vectors = -(-kw * s.c // lanes)
    rows, columns = (kh, vectors) if kh * vectors <= PATCH else (1, -(-vectors // -(-vectors // PATCH)))
    pitch = _pitch(s, BYTES // 4)
    size = (s.h + 2 * s.ph) * pitch + (vectors + columns) * lanes
    return Patch(pitch, size, kh, kw * s.c, -(-vectors // columns) * columns * lanes, rows, columns)


@kernel
def _forward(t, threads, x, weight, bias, y, winner, s, pool, squares, offset, weight_row, weight_step, line_row, work):
    """work (threads, …): scratch memory, for a padded image, ROWS·OH·Q numbers of the convolution and two vectors."""
    n_images = x.size // (s.c * s.h * s.w)
    columns, lanes = (s.oh - 1) * s.pitch + s.ow, lanes_of(x)
    image, line = work[t, : s.image], work[t, s.image :]
    image[:] = 0
    for n in range(t * n_images // threads, (t + 1) * n_images // threads):
        conv.pad_image(x, n, s, image)
        for o in range(0, s.o, ROWS):
            rows = min(ROWS, s.o - o)
            contract(
                rows, columns, s.k, at(weight, o * s.k), at(weight_row, 0), at(weight_step, 0), at(image, 0),
                at(offset, 0), at(line, 0), at(line_row, 0), False,
            )  # fmt: skip
            for k in range(rows):
                b = bias[o + k] if bias.size else x.dtype.type(0)
                for i in range(pool.h):
                    target = ((n * s.o + o + k) * pool.h + i) * pool.w
                    if squares:
                        top = (k * s.oh + 2 * i) * s.pitch
                        for j in range(0, pool.w, lanes):
                            max_of_squares(
                                True, at(line, top + 2 * j), at(line, top + s.pitch + 2 * j), b, at(y, target + j),
                                at(winner, target + j), min(lanes, pool.w - j),
                            )  # fmt: skip
                    else:
                        for j in range(pool.w):
                            y[target + j], winner[target + j] = _largest(line[k * s.oh * s.pitch :], b, i, j, s, pool)


def _is_squares(s: conv.Sizes, pool: Pool) -> bool:
    """Whether the windows are 2 × 2 pixels side by side."""
    return pool[2:] == (2, 2, 2, 2, 0, 0) and pool.h * 2 <= s.oh and pool.w * 2 <= s.ow


@inner
def _largest(line, bias, i, j, s, pool):
    """ReLU of the largest of one window of any kind, and its position."""
    best, where, found = bias, pool.kh * pool.kw, False
    for u in range(pool.kh):
        row = i * pool.sh - pool.ph + u
        for v in range(pool.kw):
            column = j * pool.sw - pool.pw + v
            if 0 <= row < s.oh and 0 <= column < s.ow:
                value = line[row * s.pitch + column] + bias
                if not found or value > best or value != value:
                    best, where, found = value, u * pool.kw + v, True
    if best <= 0 or not found:
        return line.dtype.type(0), pool.kh * pool.kw
    return best, where


@intrinsic
def _collect_channel(typing_context, winner, dy, windows, window, position, nothing, offsets, factors):
    """The pixels of one output channel that have a gradient: where they see the image, and the gradient. → how many.

    For every window q with a winner k: window[q] + position[k], dy[q].
    """
    signature = types.int64(winner, dy, types.int64, window, position, types.int64, offsets, factors)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        winner, dy, windows, window, position, nothing, offsets, factors = args
        emit = _Emitter(context, builder, signature.args[1].dtype)
        found = cgutils.alloca_once_value(builder, ir.Constant(I64, 0))
        with emit.loop(windows) as q:
            k = builder.zext(emit.entry(winner, q), I64)
            place = builder.load(found)  # in the lists; the next one writes over it if this does not count
            builder.store(builder.add(emit.entry(window, q), emit.entry(position, k)), emit.at(offsets, place))
            builder.store(emit.entry(dy, q), emit.at(factors, place))
            counts = builder.zext(builder.icmp_signed("!=", k, nothing), I64)
            builder.store(builder.add(place, counts), found)
        return builder.load(found)

    return signature, generate


@inner
def _tile_by_tile(function, p, target, target_pitch, source, source_pitch, offsets, factors, count):
    """add_patches or spread_patch for a whole patch."""
    lanes = lanes_of(target)
    for h in range(0, p.kh, p.rows):
        for v in range(0, p.width, p.columns * lanes):
            call_for_patches(
                function, at(target, h * target_pitch + v), target_pitch, at(source, h * source_pitch + v),
                source_pitch, offsets, factors, count, min(p.columns * lanes, p.width - v),
            )  # fmt: skip


@kernel
def _backward(
    t, threads, dy, winner, x, weight, s, p, add_patches, spread_patch, window, position,
    images, gradients, kernels, dkernels, offsets, factors, dx, dweight, dbias,
):  # fmt: skip
    """dweight (threads, O·K) and dbias (threads, O): each thread's sums. An empty dx is not wanted.

    images, gradients (threads, padded image), kernels, dkernels (threads, O·KH·kernel_pitch), offsets, factors:
    scratch memory.
    """
    n_images, windows, kernel_size = x.size // (s.c * s.h * s.w), window.size, p.kh * p.kernel_pitch
    image, gradient, dkernel = images[t], gradients[t], dkernels[t]
    offset, factor = offsets[t], factors[t]
    zero = x.dtype.type(0)
    image[:] = zero
    dkernel[:] = zero
    dbias[t] = 0
    kernel_ = kernels[t]
    kernel_[:] = zero
    kw = p.width // s.c
    for o in range(s.o):
        for u in range(p.kh):  # (C, KW) → (KW, C)
            line, source = o * kernel_size + u * p.kernel_pitch, (o * s.c * p.kh + u) * kw
            transpose(at(kernel_, line), s.c, at(weight, source), s.taps, s.c, kw)
    for n in range(t * n_images // threads, (t + 1) * n_images // threads):
        winograd.load_image(x, n, s, p.pitch, s.c, image)
        if dx.size:
            gradient[:] = zero
        for o in range(s.o):
            first = (n * s.o + o) * windows
            found = _collect_channel(
                at(winner, first), at(dy, first), windows, at(window, 0), at(position, 0), position.size - 1,
                at(offset, 0), at(factor, 0),
            )  # fmt: skip
            dbias[t, o] += sum_row(at(factor, 0), found)
            _tile_by_tile(
                add_patches, p, at(dkernel, o * kernel_size), p.kernel_pitch, at(image, 0), p.pitch, at(offset, 0),
                at(factor, 0), found,
            )  # fmt: skip
            if dx.size:
                _tile_by_tile(
                    spread_patch, p, at(gradient, 0), p.pitch, at(kernel_, o * kernel_size), p.kernel_pitch,
                    at(offset, 0), at(factor, 0), found,
                )  # fmt: skip
        if dx.size:
            for i in range(s.h):
                source = at(gradient, (i + s.ph) * p.pitch + s.pw * s.c)
                transpose(at(dx, (n * s.c * s.h + i) * s.w), s.h * s.w, source, s.c, s.w, s.c)
    for o in range(s.o):
        for u in range(p.kh):  # (KW, C) → (C, KW)
            line, target = o * kernel_size + u * p.kernel_pitch, (o * s.c * p.kh + u) * kw
            transpose(at(dweight, t * s.o * s.k + target), s.taps, at(dkernel, line), s.c, kw, s.c)


def conv_relu_max_pool(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    pool_kernel: tuple[int, int],
    pool_stride: tuple[int, int],
    pool_padding: tuple[int, int],
    ceil_mode: bool,
) -> tuple[Array, ConvPoolCache]:
    """max_pool2d(relu(conv2d(x, weight, bias))): x (N, C, H, W), weight (O, C, KH, KW) → y (N, O, PH, PW).

    No groups, no dilation; at most 255 pixels in a pooling window.
    """
    x, weight = ready(x), ready(weight)
    layout = layout_of(x.shape[1:], weight.shape, stride, padding, pool_kernel, pool_stride, pool_padding, ceil_mode)
    s, pool = layout.conv.sizes, layout.pool
    if _is_squares(s, pool) and winograd.suits(len(x), s, weight.shape[2:], (1, 1)):
        y, winner = winograd.forward(x, weight, bias, s, True, (pool.h, pool.w))
        return y, ConvPoolCache(x, weight, winner, bias is not None, layout)
    threads = parts(x.shape[0] * s.o * s.oh * s.ow * s.k)
    shape = x.shape[0], s.o, pool.h, pool.w
    y, winner = empty(shape, x.dtype), empty(shape, numpy.uint8)
    _forward.on(
        threads, x.reshape(-1), weight.reshape(-1),
        optional(bias, x), y.reshape(-1), winner.reshape(-1), s, pool, _is_squares(s, pool), layout.conv.offset,
        steps(ROWS, s.k), steps(s.k, 1), steps(ROWS, s.oh * s.pitch),
        empty((threads, s.image + ROWS * s.oh * s.pitch + 2 * BYTES // x.itemsize), x.dtype),
    )  # fmt: skip
    return y, ConvPoolCache(x, weight, winner, bias is not None, layout)


def conv_relu_max_pool_backward(
    dy: Array, cache: ConvPoolCache, wants_dx: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """dy (N, O, PH, PW) → dx (N, C, H, W), or None if it is not wanted, dweight (O, C, KH, KW), dbias (O,) or None."""
    x, weight, winner, has_bias, layout = cache
    s, threads = layout.conv.sizes, parts(dy.size * weight[0].size)
    p = patch_of(s, weight.shape[2:], x.itemsize)
    kernels = (threads, s.o * p.kh * p.kernel_pitch)
    dx = empty(x.shape, x.dtype) if wants_dx else none(x)
    dweight, dbias = empty((threads, s.o * s.k), x.dtype), empty((threads, s.o), x.dtype)
    most = layout.window.size + 1
    _backward.on(
        threads, ready(dy).reshape(-1), winner.reshape(-1), x.reshape(-1), weight.reshape(-1), s, p,
        *patch_functions(p.rows, p.columns, x.itemsize), layout.window, layout.position,
        empty((threads, p.size), x.dtype), empty((threads, p.size if wants_dx else 0), x.dtype),
        empty(kernels, x.dtype), empty(kernels, x.dtype), empty((threads, most), numpy.int64),
        empty((threads, most), x.dtype), dx.reshape(-1), dweight, dbias,
    )  # fmt: skip
    dbias = sum_of_parts(dbias) if has_bias else None
    return dx if wants_dx else None, sum_of_parts(dweight).reshape(weight.shape), dbias
