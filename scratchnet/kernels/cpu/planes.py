"""Vector loops over one channel of a batch: `images` planes of `pixels` numbers, from each to the next `step` numbers.

Batch normalisation spends its time in these. A loop over a plane that is written in Python is compiled to vectors too,
but a plane of 8 × 8 pixels has four of them, and what comes before and after such a loop takes longer than they do.

The numbers of a plane are added up in their own precision, by vectors, four sums at a time, as one would wait for its
last addition; planes are added up in double precision.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from scratchnet.kernels.cpu.vector import I64, _Emitter

_SUMS = 4
N, D = types.int64, types.float64


def _add_up(
    emit: _Emitter, count: int, images: Any, step: Any, pixels: Any, terms: Callable[[Any, Any], list[Any]]
) -> list[Any]:
    """The sums over all pixels of the `count` vectors that terms(offset, mask) gives for those at an offset."""
    builder, double = emit.builder, ir.VectorType(ir.DoubleType(), emit.lanes)
    totals = [cgutils.alloca_once_value(builder, ir.Constant(double, [0.0] * emit.lanes)) for _ in range(count)]
    sums = [[emit.variable(emit.zero) for _ in range(count)] for _ in range(_SUMS)]
    lanes, several = ir.Constant(I64, emit.lanes), ir.Constant(I64, _SUMS)
    whole, rest = builder.sdiv(pixels, lanes), builder.srem(pixels, lanes)
    rounds = builder.sdiv(whole, several)
    single, last = builder.mul(rounds, several), emit.mask(rest)
    with emit.loop(images) as image:
        start = builder.mul(image, step)

        def add(k: int, vector: Any, mask: Any = None) -> None:
            values = terms(builder.add(start, builder.mul(vector, lanes)), mask)
            for total, value in zip(sums[k], values, strict=True):
                value = value if mask is None else builder.select(mask, value, emit.zero)
                builder.store(builder.fadd(builder.load(total), value), total)

        for k in range(_SUMS):
            for total in sums[k]:
                builder.store(emit.zero, total)
        with emit.loop(rounds) as i:
            for k in range(_SUMS):
                add(k, builder.add(builder.mul(i, several), ir.Constant(I64, k)))
        with emit.loop(builder.sub(whole, single)) as i:
            add(0, builder.add(single, i))
        with builder.if_then(builder.icmp_signed(">", rest, ir.Constant(I64, 0))):
            add(0, whole, last)
        for i, total in enumerate(totals):
            plane = builder.load(sums[0][i])
            for k in range(1, _SUMS):
                plane = builder.fadd(plane, builder.load(sums[k][i]))
            plane = plane if emit.size == 8 else builder.fpext(plane, double)
            builder.store(builder.fadd(builder.load(total), plane), total)
    kind = ir.FunctionType(ir.DoubleType(), [ir.DoubleType(), double])
    reduce = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{emit.lanes}f64")
    zero = ir.Constant(ir.DoubleType(), 0.0)
    return [builder.call(reduce, [zero, builder.load(total)], fastmath=("reassoc",)) for total in totals]


@intrinsic
def sum_planes(typing_context, x, images, step, pixels):
    """Σ x"""
    signature = D(x, N, N, N)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, images, step, pixels = args
        emit = _Emitter(context, builder, signature.args[0].dtype)
        return _add_up(emit, 1, images, step, pixels, lambda at, mask: [emit.load(emit.at(x, at), mask)])[0]

    return signature, generate


@intrinsic
def sum_squares(typing_context, x, mean, images, step, pixels):
    """Σ (x − mean)²"""
    signature = D(x, x.dtype, N, N, N)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, mean, images, step, pixels = args
        emit = _Emitter(context, builder, signature.args[0].dtype)
        center = emit.splat(mean)

        def terms(at: Any, mask: Any) -> list[Any]:
            distance = builder.fsub(emit.load(emit.at(x, at), mask), center)
            return [builder.fmul(distance, distance)]

        return _add_up(emit, 1, images, step, pixels, terms)[0]

    return signature, generate


@intrinsic
def sum_products(typing_context, dy, x, mean, images, step, pixels):
    """(Σ dy, Σ dy·(x − mean)), for two arrays that lie alike."""
    signature = types.UniTuple(D, 2)(dy, x, x.dtype, N, N, N)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        dy, x, mean, images, step, pixels = args
        emit = _Emitter(context, builder, signature.args[0].dtype)
        center = emit.splat(mean)

        def terms(at: Any, mask: Any) -> list[Any]:
            gradient = emit.load(emit.at(dy, at), mask)
            return [gradient, builder.fmul(gradient, builder.fsub(emit.load(emit.at(x, at), mask), center))]

        return cgutils.pack_array(builder, _add_up(emit, 2, images, step, pixels, terms))

    return signature, generate


def _for_each(emit: _Emitter, images: Any, step: Any, out_step: Any, pixels: Any, change: Callable[..., None]) -> None:
    """change(offset, offset in the result, mask) for the vectors of all pixels."""
    builder = emit.builder
    with emit.loop(images) as image:
        start, out_start = builder.mul(image, step), builder.mul(image, out_step)
        for pixel, mask in emit.row(pixels):
            change(builder.add(start, pixel), builder.add(out_start, pixel), mask)


@intrinsic
def normalise_planes(typing_context, x, mean, scale, shift, relu, y, images, step, y_step, pixels):
    """y = (x − mean)·scale + shift, with relu max(…, 0)."""
    signature = types.void(x, x.dtype, x.dtype, x.dtype, types.boolean, y, N, N, N, N)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, mean, scale, shift, relu, y, images, step, y_step, pixels = args
        emit = _Emitter(context, builder, signature.args[0].dtype)
        center, factor, summand = emit.splat(mean), emit.splat(scale), emit.splat(shift)
        cut = emit.flag(relu)

        def change(at: Any, y_at: Any, mask: Any) -> None:
            value = emit.fma(builder.fsub(emit.load(emit.at(x, at), mask), center), factor, summand)
            dead = builder.and_(cut, builder.fcmp_ordered("<=", value, emit.zero))
            emit.store(builder.select(dead, emit.zero, value), emit.at(y, y_at), mask)

        _for_each(emit, images, step, y_step, pixels, change)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def differentiate_planes(typing_context, dy, x, mean, scale, shift, slope, dx, images, step, pixels):
    """dx = scale·(dy − shift − (x − mean)·slope); dx may be dy."""
    signature = types.void(dy, x, x.dtype, x.dtype, x.dtype, x.dtype, dx, N, N, N)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        dy, x, mean, scale, shift, slope, dx, images, step, pixels = args
        emit = _Emitter(context, builder, signature.args[0].dtype)
        center, factor, summand, minus = (emit.splat(v) for v in (mean, scale, shift, builder.fneg(slope)))

        def change(at: Any, _: Any, mask: Any) -> None:
            distance = builder.fsub(emit.load(emit.at(x, at), mask), center)
            rest = emit.fma(distance, minus, builder.fsub(emit.load(emit.at(dy, at), mask), summand))
            emit.store(builder.fmul(factor, rest), emit.at(dx, at), mask)

        _for_each(emit, images, step, step, pixels, change)
        return context.get_dummy_value()

    return signature, generate
