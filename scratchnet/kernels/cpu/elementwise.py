"""What plain loops need so that the compiler makes vector instructions of them.

LLVM turns a loop into vector instructions by itself if every element goes the same way: indices that count from 0, no
branch, no call into a library. These are the replacements for slices with unknown ends and for `x if c else y`, and
what 2 × 2 pooling does to a vector of windows, which no loop would tell the compiler.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from scratchnet.kernels.cpu._compile import inner
from scratchnet.kernels.cpu.vector import I8, I32, I64, _Emitter


@inner
def piece(x, t, threads):
    """Thread t's share of a one-dimensional array."""
    return x[t * x.size // threads : (t + 1) * x.size // threads]


@intrinsic
def select(typing_context, condition, yes, no):
    """`yes if condition else no` for two numbers of one type, without a branch: both are computed, one is taken."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return yes(types.boolean, yes, yes), generate


@intrinsic
def spread_to_squares(typing_context, dy, winner, top, bottom, count):
    """2 × 2 max pooling backwards, one vector of windows: dy[j] goes where winner[j] says, 0 elsewhere.

    winner is 0 … 3 for top[2j], top[2j + 1], bottom[2j], bottom[2j + 1]; j < count, which is at most a vector's lanes.
    """
    signature = types.void(dy, winner, top, bottom, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        dy, winner, top, bottom, count = args
        emit = _Emitter(context, builder, signature.args[0].dtype)
        lanes = emit.lanes
        mask = emit.mask(count)
        gradient = emit.load(dy, mask)
        numbers = ir.VectorType(I8, lanes)
        pointer = builder.bitcast(winner, numbers.as_pointer())
        load = emit.declare(f"llvm.masked.load.v{lanes}i8.p0", numbers, [pointer.type, I32, mask.type, numbers])
        where = builder.call(load, [pointer, ir.Constant(I32, 1), mask, ir.Constant(numbers, [0] * lanes)])
        twice = builder.shl(count, ir.Constant(I64, 1))
        masks = [emit.mask(twice), emit.mask(builder.sub(twice, ir.Constant(I64, lanes)))]
        for row, first in ((top, 0), (bottom, 2)):
            even, odd = (
                builder.select(builder.icmp_signed("==", where, ir.Constant(numbers, [k] * lanes)), gradient, emit.zero)
                for k in (first, first + 1)
            )
            for half in (0, 1):  # even 0, odd 0, even 1, odd 1, …: lane l of even, lane l of odd (lanes + l)
                order = [half * lanes // 2 + k // 2 + k % 2 * lanes for k in range(lanes)]
                columns = builder.shuffle_vector(even, odd, ir.Constant(ir.VectorType(I32, lanes), order))
                emit.store(columns, emit.at(row, half * lanes), masks[half])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def mean_of_squares(typing_context, top, bottom, y, count):
    """2 × 2 average pooling of a vector of windows: y[j] from top[2j], top[2j + 1] and the same of bottom; j < count.

    Two vectors of each row are read.
    """
    signature = types.void(top, bottom, y, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        top, bottom, y, count = args
        emit = _Emitter(context, builder, signature.args[0].dtype)
        rows = [[emit.load(emit.at(row, k * emit.lanes)) for k in (0, 1)] for row in (top, bottom)]
        sums = [builder.fadd(above, below) for above, below in zip(*rows, strict=True)]
        even, odd = (
            builder.shuffle_vector(
                *sums, ir.Constant(ir.VectorType(I32, emit.lanes), list(range(k, 2 * emit.lanes, 2)))
            )
            for k in (0, 1)
        )
        quarter = ir.Constant(emit.vector, [0.25] * emit.lanes)
        emit.store(builder.fmul(builder.fadd(even, odd), quarter), y, emit.mask(count))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def share_with_squares(typing_context, dy, top, bottom, count):
    """2 × 2 average pooling backwards, one vector of windows: a quarter of dy[j] for each of its pixels; j < count."""
    signature = types.void(dy, top, bottom, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        dy, top, bottom, count = args
        emit = _Emitter(context, builder, signature.args[0].dtype)
        share = builder.fmul(emit.load(dy, emit.mask(count)), ir.Constant(emit.vector, [0.25] * emit.lanes))
        twice = builder.shl(count, ir.Constant(I64, 1))
        masks = [emit.mask(twice), emit.mask(builder.sub(twice, ir.Constant(I64, emit.lanes)))]
        for half in (0, 1):
            order = [half * emit.lanes // 2 + k // 2 for k in range(emit.lanes)]
            pixels = builder.shuffle_vector(share, share, ir.Constant(ir.VectorType(I32, emit.lanes), order))
            for row in (top, bottom):
                emit.store(pixels, emit.at(row, half * emit.lanes), masks[half])
        return context.get_dummy_value()

    return signature, generate
