"""2-D convolution of 3 × 3 and 5 × 5 taps with a quarter, or a third, of the multiplications.

winograd_tile.py has the idea: a tile Y of m × m outputs is Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A, where d are the 6 × 6 inputs
that it depends on. With channels, and t counting the tiles of all images, each of the 36 numbers ξ of a tile is a
matrix product of its own ::

    U[ξ] = G g Gᵀ                       (C, O), the weights, once
    V[ξ] = Bᵀ d B                       (T, C), every tile of every channel once, however many outputs use it
    M[ξ] = V[ξ] · U[ξ]                  (T, O)                                                       `contract`
    Y    = Aᵀ M A                       (T, O), m × m of them

Backward goes back through the same four lines; each is linear, so its gradient is its transpose ::

    dM = A dY Aᵀ
    dU[ξ] = dM[ξ]ᵀ · V[ξ]               (O, C) = (O, T) · (T, C)                                     `contract`
    dV[ξ] = dM[ξ] · U[ξ]ᵀ               (T, C) = (T, O) · (O, C)                                     `contract`
    dg = Gᵀ dU G                        dd = B dV Bᵀ, added up where tiles overlap

All vectors run along channels: images are copied channels last, into a frame of zeros, and results are copied back. So
it makes no difference how small an image is or how few they are, but the channels have to fill vectors.

A thread has some images. It takes some lines of tiles at a time, if it can so many that V and M stay in the level-2
cache. Pooling of 2 × 2 may follow, which then costs no trip to memory. Which convolutions go this way, `suits` says.

A tile is computed as a whole. So an output whose window sees nothing but zeros is 0 up to rounding alone, ±1e-8 say,
where the other windows of its tile see more, and ReLU then passes a gradient or not as it happens. And an infinite
pixel, or NaN, reaches all outputs of the tiles that it lies in.
"""

import functools
from typing import Any, NamedTuple

import numpy

from scratchnet.kernels.cpu._arrays import empty, none, optional, ready, steps, sum_of_parts
from scratchnet.kernels.cpu._compile import inner, kernel, parts
from scratchnet.kernels.cpu.elementwise import select
from scratchnet.kernels.cpu.vector import (
    at,
    clear,
    contract,
    copy_row_where_active,
    lanes,
    lanes_of,
    max_of_pixels,
    sum_row,
    transpose,
)
from scratchnet.kernels.cpu.winograd_tile import (
    A2,
    A4,
    AT2,
    AT4,
    BT,
    G3,
    G5,
    GT3,
    GT5,
    SIZE,
    B,
    transform,
    transformer,
)
from scratchnet.ops.shape import Array

_XI = SIZE * SIZE  # ξ
_BLOCK = 512 * 1024  # bytes of V and M together
_CHANNELS = 12  # with fewer, more than a quarter of a vector of 16 lanes would be empty
_NO_WINNER = numpy.empty(0, numpy.uint8)
_LEAST = 16  # tiles in a block: so often is a number of U used when it has been loaded


class Sizes(NamedTuple):
    """What the kernels need to know. Frames and planes are counted in numbers."""

    c: int
    h: int
    w: int
    o: int
    oh: int
    ow: int
    r: int  # taps, along lines and columns
    m: int  # outputs of a tile, likewise
    ph: int
    pw: int
    cp: int  # channels with which vectors are full
    op: int
    lines: int  # of tiles in an image
    across: int  # tiles in a line
    frame_w: int  # pixels in a line of the padded image
    frame: int  # of the padded image
    block: int  # lines of tiles in a block
    v_plane: int  # from V[ξ] to V[ξ + 1]
    m_plane: int
    u_plane: int  # of U (C, O) in forward, of U (O, C) and dU in backward


def suits(images: int, s: Any, kernel_size: tuple[int, int], dilation: tuple[int, int]) -> bool:
    """Whether a convolution of so many images, given by conv.Sizes, is one of this kind and faster this way."""
    r = kernel_size[0]
    if r not in (3, 5) or kernel_size != (r, r) or dilation != (1, 1) or (s.sh, s.sw) != (1, 1) or s.groups > 1:
        return False
    m = SIZE + 1 - r
    tiles = -(-s.oh // m) * -(-s.ow // m)  # of an image
    worth = images * tiles >= max(8, s.c * s.o // 32768)  # to transform the weights for so few
    return worth and min(s.c, s.o) >= _CHANNELS and tiles * m * m <= 2 * s.oh * s.ow


@functools.lru_cache(256)
def sizes_of(images: int, s: Any, r: int, itemsize: int, backward: bool) -> Sizes:
    width, m = lanes(numpy.dtype(f"float{8 * itemsize}")), SIZE + 1 - r
    cp, op = (-(-channels // width) * width for channels in (s.c, s.o))
    lines, across = -(-s.oh // m), -(-s.ow // m)
    frame_w, frame_h = across * m + r - 1, lines * m + r - 1
    # Backward adds to dU once for each block: a block should be no smaller than that.
    block_bytes = max(_BLOCK, _XI * s.o * cp * itemsize) if backward else _BLOCK
    block = max(block_bytes // (across * _XI * (cp + op) * itemsize), -(-_LEAST // across))
    block = max(1, min(block, images * lines))
    # A vector more than needed: numbers that lie a power of two apart fall into the same few places of a cache.
    return Sizes(
        s.c, s.h, s.w, s.o, s.oh, s.ow, r, m, s.ph, s.pw, cp, op, lines, across, frame_w, frame_h * frame_w * cp, block,
        block * across * cp + width, block * across * op + width, (s.o * cp if backward else s.c * op) + width,
    )  # fmt: skip


@kernel
def _transform_weight(t, threads, weight, taps, g, outer, outer_step, inner_step, count, pitch, r, plane, work, out):
    """out[ξ][k, i] = (G g Gᵀ)[ξ] for the taps g at weight[k·outer_step + i·inner_step], k < outer, i < count.

    work (threads, r·r·pitch): scratch memory.
    """
    lanes, line = lanes_of(weight), at(work, t * taps * pitch)
    clear(line, taps * pitch)
    for k in range(t * outer // threads, (t + 1) * outer // threads):
        transpose(line, pitch, at(weight, k * outer_step), inner_step, count, taps)  # (taps, count)
        transform(
            g, line, r * pitch, pitch, 0, at(out, k * pitch), SIZE * plane, plane, 0, 1, pitch // lanes
        )  # fmt: skip


@kernel
def _transform_dweight(t, threads, du, gt, s, work, dweight):
    """dweight (O, C, r, r) = Gᵀ dU G; work (threads, …): scratch memory for r·r·cp numbers."""
    lanes, taps = lanes_of(du), s.r * s.r
    line = at(work, t * taps * s.cp)
    for o in range(t * s.o // threads, (t + 1) * s.o // threads):
        transform(
            gt, at(du, o * s.cp), SIZE * s.u_plane, s.u_plane, 0, line, s.r * s.cp, s.cp, 0, 1, s.cp // lanes
        )  # fmt: skip
        transpose(at(dweight, o * s.c * taps), taps, line, s.cp, taps, s.c)


@inner
def load_image(x, n, s, line, pixel, frame):
    """Image n of x (N, C, H, W), channels last, in a frame of zeros, which is there already.

    From one line of the frame to the next it is `line` numbers, from one pixel to the next `pixel`.
    """
    for i in range(s.h):
        target = at(frame, (i + s.ph) * line + s.pw * pixel)
        transpose(target, pixel, at(x, (n * s.c * s.h + i) * s.w), s.h * s.w, s.c, s.w)


@inner
def _transform_inputs(bt, frame, i, s, v, k, lanes):
    """Line k of the block's tiles V = Bᵀ d B, from line i of the image's."""
    transform(
        bt, at(frame, i * s.m * s.frame_w * s.cp), s.frame_w * s.cp, s.cp, s.m * s.cp, at(v, k * s.across * s.cp),
        SIZE * s.v_plane, s.v_plane, s.cp, s.across, s.cp // lanes,
    )  # fmt: skip


@inner
def _multiply(rows, columns, length, a, a_row, a_step, a_plane, b, b_step, b_plane, c, c_row, c_plane):
    """C[ξ] = A[ξ] · B[ξ] for all ξ."""
    for xi in range(_XI):
        contract(
            rows, columns, length, at(a, xi * a_plane), at(a_row, 0), at(a_step, 0), at(b, xi * b_plane), at(b_step, 0),
            at(c, xi * c_plane), at(c_row, 0), False,
        )  # fmt: skip


@inner
def _add_bias(line, bias, relu, count, zero):
    """line (pixels, O) += bias, which is as long, with relu max(…, 0)."""
    for i in range(count):
        line[i] += bias[i]
    if relu:
        for i in range(count):
            line[i] = select(line[i] <= 0, zero, line[i])


@inner
def _store_pooled(pooled, where, n, s, windows, buffer, y, winner):
    """Image n of y and winner (N, O, PH, PW) from pooled and where (PH·PW, O)."""
    target = n * s.o * windows
    transpose(at(y, target), windows, pooled, s.op, windows, s.o)
    transpose(buffer, windows, where, s.op, windows, s.o)
    winners = at(winner, target)
    for i in range(s.o * windows):
        winners[i] = numpy.uint8(buffer[i])


@kernel
def _forward(
    t, threads, x, u, bias, relu, bt, at_, s, v_row, v_step, u_step, m_row, work, y, pooled, winner
):  # fmt: skip
    """y (N, O, OH, OW), or, if winner is not empty, its max pooling: `pooled` lines and columns of that.

    work (threads, …): scratch memory. An empty bias is none.
    """
    n_images, lanes, zero, (ph, pw) = x.size // (s.c * s.h * s.w), lanes_of(x), x.dtype.type(0), pooled
    wide = s.across * s.m * s.op  # a line of output pixels
    frame = at(work, t * work.shape[1])
    v = at(frame, s.frame)
    products = at(v, _XI * s.v_plane)
    line = at(products, _XI * s.m_plane)
    added = at(line, s.m * wide)  # bias, for every pixel of a line
    small = at(added, wide)
    where = at(small, ph * pw * s.op)
    buffer = at(where, ph * pw * s.op)
    clear(frame, s.frame)
    clear(added, wide)
    for pixel in range(s.across * s.m if bias.size else 0):
        for o in range(s.o):
            added[pixel * s.op + o] = bias[o]
    first, end = t * n_images // threads * s.lines, (t + 1) * n_images // threads * s.lines
    for start in range(first, end, s.block):
        count = min(s.block, end - start)
        for k in range(count):
            n, i = (start + k) // s.lines, (start + k) % s.lines
            if i == 0:
                load_image(x, n, s, s.frame_w * s.cp, s.cp, frame)
            _transform_inputs(bt, frame, i, s, v, k, lanes)
        _multiply(
            count * s.across, s.op, s.c, v, v_row, v_step, s.v_plane, u, u_step, s.u_plane, products, m_row, s.m_plane
        )  # fmt: skip
        for k in range(count):
            n, i = (start + k) // s.lines, (start + k) % s.lines
            transform(
                at_, at(products, k * s.across * s.op), SIZE * s.m_plane, s.m_plane, s.op, line, wide, s.op,
                s.m * s.op, s.across, s.op // lanes,
            )  # fmt: skip
            if winner.size:
                for h in range(s.m):
                    _add_bias(at(line, h * wide), added, False, wide, zero)
                for row in range(i * s.m // 2, min((i + 1) * s.m // 2, ph)):
                    for j in range(pw):
                        top, target = (2 * row - i * s.m) * wide + 2 * j * s.op, (row * pw + j) * s.op
                        max_of_pixels(
                            at(line, top), at(line, top + wide), s.op, at(small, target), at(where, target),
                            s.op // lanes,
                        )  # fmt: skip
                if i == s.lines - 1:
                    _store_pooled(small, where, n, s, ph * pw, buffer, y, winner)
            else:
                for h in range(min(s.m, s.oh - i * s.m)):
                    _add_bias(at(line, h * wide), added, relu, wide, zero)
                    target = at(y, (n * s.o * s.oh + i * s.m + h) * s.ow)
                    transpose(target, s.oh * s.ow, at(line, h * wide), s.op, s.ow, s.o)


@kernel
def _backward(
    t, threads, dy, y, x, u, a, bt, b, s, channel, m_row, v_row, u_row, work, dx, du, dbias
):  # fmt: skip
    """du (threads, …) and dbias (threads, op): each thread's sums. An empty y: no ReLU; an empty dx: not wanted.

    work (threads, …): scratch memory.
    """
    n_images, lanes = x.size // (s.c * s.h * s.w), lanes_of(x)
    wide = s.across * s.m * s.op  # a line of output pixels
    output_size = s.lines * s.m * wide
    frame = at(work, t * work.shape[1])
    dframe = at(frame, s.frame)
    output = at(dframe, s.frame)
    v = at(output, output_size)
    products = at(v, _XI * s.v_plane)
    active = at(products, _XI * s.m_plane)
    block_du = at(active, s.op * s.oh * s.ow)
    total, own_du = at(dbias, t * s.op), at(du, t * _XI * s.u_plane)
    clear(frame, s.frame)
    clear(output, output_size)
    clear(total, s.op)
    clear(own_du, _XI * s.u_plane)
    clear(block_du, _XI * s.u_plane)
    first, end = t * n_images // threads * s.lines, (t + 1) * n_images // threads * s.lines
    for start in range(first, end, s.block):
        count = min(s.block, end - start)
        for k in range(count):
            n, i = (start + k) // s.lines, (start + k) % s.lines
            if i == 0:
                load_image(x, n, s, s.frame_w * s.cp, s.cp, frame)
                _load_gradient(dy, y, n, s, active, output, total)
            _transform_inputs(bt, frame, i, s, v, k, lanes)
            transform(
                a, at(output, i * s.m * wide), wide, s.op, s.m * s.op,
                at(products, k * s.across * s.op), SIZE * s.m_plane, s.m_plane, s.op, s.across, s.op // lanes,
            )  # fmt: skip
        tiles = count * s.across
        _multiply(
            s.o, s.cp, tiles, products, channel, m_row, s.m_plane, v, v_row, s.v_plane, block_du, u_row, s.u_plane
        )  # fmt: skip
        for i in range(_XI * s.u_plane):  # block by block: one sum over all tiles would lose digits
            own_du[i] += block_du[i]
        if dx.size:
            _multiply(
                tiles, s.cp, s.o, products, m_row, channel, s.m_plane, u, u_row, s.u_plane, v, v_row, s.v_plane
            )  # fmt: skip
            for k in range(count):
                n, i = (start + k) // s.lines, (start + k) % s.lines
                if i == 0:
                    clear(dframe, s.frame)
                transform(
                    b, at(v, k * s.across * s.cp), SIZE * s.v_plane, s.v_plane, s.cp,
                    at(dframe, i * s.m * s.frame_w * s.cp), s.frame_w * s.cp, s.cp, s.m * s.cp, s.across, s.cp // lanes,
                )  # fmt: skip
                if i == s.lines - 1:
                    for h in range(s.h):
                        source = at(dframe, ((h + s.ph) * s.frame_w + s.pw) * s.cp)
                        transpose(at(dx, (n * s.c * s.h + h) * s.w), s.h * s.w, source, s.cp, s.w, s.c)


@inner
def _load_gradient(dy, y, n, s, active, output, total):
    """Image n of dy (N, O, OH, OW), 0 where y says that ReLU did not pass it on, channels last; its sum into total."""
    pixels, wide = s.oh * s.ow, s.across * s.m * s.op
    source = at(dy, n * s.o * pixels)
    if y.size:
        copy_row_where_active(active, source, at(y, n * s.o * pixels), s.o * pixels)
        source = active
    for o in range(s.o):
        total[o] += sum_row(at(source, o * pixels), pixels)
    for i in range(s.oh):
        transpose(at(output, i * wide), s.op, at(source, i * s.ow), pixels, s.o, s.ow)


def _weights(weight: Array, s: Sizes, threads: int, backward: bool) -> Array:
    """U: (36, C, op) for forward, (36, O, cp) for backward."""
    taps = s.r * s.r
    outer, count, pitch = (s.o, s.c, s.cp) if backward else (s.c, s.o, s.op)
    steps_ = (s.c * taps, taps) if backward else (taps, s.c * taps)
    u = empty((_XI * s.u_plane,), weight.dtype)
    _transform_weight.on(
        threads, weight.reshape(-1), taps, transformer(G3 if s.r == 3 else G5, weight.itemsize), outer, steps_[0],
        steps_[1], count, pitch, s.r, s.u_plane, empty((threads, taps * pitch), weight.dtype), u,
    )  # fmt: skip
    return u


def forward(
    x: Array, weight: Array, bias: Array | None, conv: Any, relu: bool, pooled: tuple[int, int] | None = None
) -> tuple[Array, Array | None]:
    """x and weight as `ready` gives them → y (N, O, OH, OW), with relu max(y, 0), and None.

    With pooled, the height and width of what 2 × 2 pooling after ReLU leaves: that, and the winners (uint8).
    """
    r, n, kind = weight.shape[2], len(x), x.dtype
    s = sizes_of(n, conv, r, x.itemsize, False)
    threads = parts(n * s.o * s.oh * s.ow * s.c * r * r)
    y = empty((n, s.o, *(pooled or (s.oh, s.ow))), kind)
    winner = empty(y.shape, numpy.uint8) if pooled else _NO_WINNER
    tiles = s.block * s.across
    pixels = (s.m + 1) * s.across * s.m + (3 * pooled[0] * pooled[1] if pooled else 0)
    scratch = s.frame + _XI * (s.v_plane + s.m_plane) + pixels * s.op
    _forward.on(
        threads, x.reshape(-1), _weights(weight, s, threads, False), optional(bias, x), relu,
        transformer(BT, x.itemsize), transformer(AT4 if r == 3 else AT2, x.itemsize), s, steps(tiles, s.cp),
        steps(s.c, 1), steps(s.c, s.op), steps(tiles, s.op), empty((threads, scratch), kind), y.reshape(-1),
        pooled or (0, 0), winner.reshape(-1),
    )  # fmt: skip
    return y, winner if pooled else None


def backward(
    dy: Array, y: Array | None, x: Array, weight: Array, conv: Any, wants_dx: bool
) -> tuple[Array | None, Array, Array]:
    """dx (None if it is not wanted), dweight, dbias; y (N, O, OH, OW) is given where forward applied ReLU."""
    r, n, kind = weight.shape[2], len(x), x.dtype
    s = sizes_of(n, conv, r, x.itemsize, True)
    threads = parts(2 * n * s.o * s.oh * s.ow * s.c * r * r)
    dx = empty(x.shape, kind) if wants_dx else none(x)
    du, dbias = empty((threads, _XI * s.u_plane), kind), empty((threads, s.op), kind)
    u = _weights(weight, s, threads, True) if wants_dx else none(x)
    tiles, pixels = s.block * s.across, s.lines * s.across * s.m * s.m
    scratch = 2 * s.frame + pixels * s.op + _XI * (s.v_plane + s.m_plane + s.u_plane) + s.op * s.oh * s.ow
    _backward.on(
        threads, ready(dy).reshape(-1), none(x) if y is None else y.reshape(-1), x.reshape(-1), u,
        transformer(A4 if r == 3 else A2, x.itemsize), transformer(BT, x.itemsize), transformer(B, x.itemsize), s,
        steps(s.o, 1), steps(tiles, s.op), steps(tiles, s.cp), steps(s.o, s.cp), empty((threads, scratch), kind),
        dx.reshape(-1), du, dbias,
    )  # fmt: skip
    dweight = empty(weight.shape, kind)
    _transform_dweight.on(
        threads, sum_of_parts(du), transformer(GT3 if r == 3 else GT5, x.itemsize), s,
        empty((threads, r * r * s.cp), kind), dweight.reshape(-1),
    )  # fmt: skip
    return dx if wants_dx else None, dweight, sum_of_parts(dbias)[: s.o]
