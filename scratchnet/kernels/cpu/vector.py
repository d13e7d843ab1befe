"""The micro-kernels: the few loops in which all the arithmetic of convolution and linear layers happens.

A processor multiplies and adds whole vectors: 16 float32 numbers at once with AVX-512. It does so fast only if the
numbers are in registers already, since it can load one or two vectors in the time of one multiplication. So an inner
loop has to do many multiplications with few loads. A *tile* does that. To compute 4 rows × 4 vectors of a matrix
product C = A·B, it keeps all 16 vectors of C in registers while it runs over the whole reduction r::

                        B[r]   vector 0   vector 1   vector 2   vector 3      4 loads
                             +----------+----------+----------+----------+
        A[0, r] broadcast →  |   C 0,0  |   C 0,1  |   C 0,2  |   C 0,3  |
        A[1, r] broadcast →  |   C 1,0  |   C 1,1  |   C 1,2  |   C 1,3  |
        A[2, r] broadcast →  |   C 2,0  |   C 2,1  |   C 2,2  |   C 2,3  |
        A[3, r] broadcast →  |   C 3,0  |   C 3,1  |   C 3,2  |   C 3,3  |
                             +----------+----------+----------+----------+
        4 loads of one number          16 multiply-adds

The 16 sums, 4 vectors of B and one number of A fit the 32 vector registers of AVX-512, and the 4 row pointers with the
tables and counters fit its 16 address registers: 8 rows spill those, and are three times slower. 16 sums are also
enough to hide that a sum has to wait for its last addition, some 4 cycles. A loop written in Python and compiled would
keep the sums in memory and run ten times slower; LLVM's vector instructions, emitted by Numba's `intrinsic`, say
exactly what is to stay in a register.

**Tables instead of strides.** Where the numbers lie is told by tables of offsets, so that one micro-kernel serves
every layer. Row i of A starts at a_row[i], and step r of the reduction moves on by a_step[r] in A and b_step[r] in B.
In a matrix product these are multiples of a stride. In a convolution b_step[r] is where kernel position r = (c, u, v)
lies in the padded image: the shifted images that im2col would copy are read where they are.

Lanes and tiles follow the CPU: 16 × float32 and 16 sums with AVX-512, 8 and 12 with AVX2 (16 registers), and 4 and 12
without either, where vectors of 128 bits are what every processor has.

Nothing here checks a bound. The callers do, before they hand over an array: see conv.py and linear.py.

Source: K. Goto, R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008 (the tile); M. Dukhan,
"The Indirect Convolution Algorithm", 2019 (the tables).
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from scratchnet.kernels.cpu._compile import compile_c_function

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))


def _cpu_features() -> set[str]:
    if numba.config.CPU_NAME:  # NUMBA_CPU_NAME: compile for another CPU than this one
        name, features = numba.config.CPU_NAME, numba.config.CPU_FEATURES or ""
        known = {"haswell": "+avx2,+fma", "skylake-avx512": "+avx512f,+avx2,+fma", "generic": ""}
        return {f.strip()[1:] for f in (features or known.get(name, "")).split(",") if f.strip().startswith("+")}
    return {name for name, there in llvmlite.binding.get_host_cpu_features().items() if there}


_FEATURES = _cpu_features()
AVX512 = "avx512f" in _FEATURES
FMA = "fma" in _FEATURES or AVX512
BYTES = 64 if AVX512 else 32 if "avx2" in _FEATURES and FMA else 16  # of a vector
# The tiles: rows × vectors of `contract`, rows × columns of `dot`.
ROWS, VECTORS = 4, 4 if AVX512 else 3
DOT_ROWS, DOT_COLUMNS = (4, 5) if AVX512 else (2, 4)
PATCH = 25 if AVX512 else 12  # vectors of the largest patch of `patch_functions`


def lanes(dtype: Any) -> int:
    """How many numbers of a dtype a vector holds."""
    return BYTES // dtype.itemsize


def lanes_of(array: Any) -> int:
    """`lanes` inside a kernel, of an array or pointer: a constant there."""
    return lanes(array.dtype)


@overload(lanes_of, inline="always")
def _lanes_of(array):
    count = BYTES // (array.dtype.bitwidth // 8)
    return lambda array: count


class _Emitter:
    """Vector instructions for elements of one type; `pointer` arguments point to one element."""

    def __init__(self, context: Any, builder: Any, element: Any) -> None:
        self.builder, self.module = builder, builder.module
        self.element = context.get_value_type(element)
        self.size = element.bitwidth // 8
        self.lanes = BYTES // self.size
        self.vector = ir.VectorType(self.element, self.lanes)
        self.name = f"v{self.lanes}f{element.bitwidth}"
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)

    def at(self, pointer: Any, offset: Any) -> Any:
        return self.builder.gep(pointer, [offset if isinstance(offset, ir.Value) else ir.Constant(I64, offset)])

    def declare(self, name: str, result: Any, arguments: list[Any]) -> Any:
        return cgutils.get_or_insert_function(self.module, ir.FunctionType(result, arguments), name)

    def splat(self, number: Any, vector: Any = None) -> Any:
        """The number in every lane."""
        vector = vector or self.vector
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count)
        )

    def flag(self, value: Any) -> Any:
        """A bool for every lane."""
        return self.splat(value, ir.VectorType(I1, self.lanes))

    def broadcast(self, pointer: Any) -> Any:
        return self.splat(self.builder.load(pointer))

    def multiply_add(self, x: Any, y: Any, register: Any) -> None:
        """register += x · y"""
        self.builder.store(self.fma(x, y, self.builder.load(register)), register)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """x · y + z"""
        if not FMA:
            return self.builder.fadd(z, self.builder.fmul(x, y))
        fma = self.declare(f"llvm.fma.{self.name}", self.vector, [self.vector] * 3)
        return self.builder.call(fma, [x, y, z])

    def mask(self, count: Any) -> Any:
        """True in the first `count` lanes."""
        numbers = ir.VectorType(I64, self.lanes)
        lane = ir.Constant(numbers, list(range(self.lanes)))
        return self.builder.icmp_signed("<", lane, self.splat(count, numbers))

    def masks(self, vectors: int, columns: Any) -> list[Any]:
        """For that many vectors that hold `columns` numbers: no mask (None) but for the last."""
        before = ir.Constant(I64, (vectors - 1) * self.lanes)
        return [None] * (vectors - 1) + [self.mask(self.builder.sub(columns, before))]

    def entry(self, table: Any, index: Any) -> Any:
        return self.builder.load(self.at(table, index))

    def clamp(self, first: Any, i: int, end: Any) -> Any:
        """first + i, but at most end − 1."""
        index, last = self.builder.add(first, ir.Constant(I64, i)), self.builder.sub(end, ir.Constant(I64, 1))
        return self.builder.select(self.builder.icmp_signed("<", index, last), index, last)

    def load(self, pointer: Any, mask: Any = None) -> Any:
        """A vector; with a mask zeros, and no access to memory, in the other lanes."""
        pointer = self.builder.bitcast(pointer, self.vector.as_pointer())
        if mask is None:
            value = self.builder.load(pointer)
            value.align = self.size
            return value
        load = self.declare(
            f"llvm.masked.load.{self.name}.p0", self.vector, [pointer.type, I32, mask.type, self.vector]
        )
        return self.builder.call(load, [pointer, ir.Constant(I32, self.size), mask, self.zero])

    def store(self, value: Any, pointer: Any, mask: Any = None) -> None:
        pointer = self.builder.bitcast(pointer, value.type.as_pointer())
        if mask is None:
            self.builder.store(value, pointer).align = 1 if value.type.element == I8 else self.size
            return
        kind = f"v{self.lanes}i8" if value.type.element == I8 else self.name
        store = self.declare(f"llvm.masked.store.{kind}.p0", ir.VoidType(), [value.type, pointer.type, I32, mask.type])
        self.builder.call(store, [value, pointer, ir.Constant(I32, 1 if value.type.element == I8 else self.size), mask])

    def total(self, value: Any) -> Any:
        """The sum of all lanes."""
        add = self.declare(f"llvm.vector.reduce.fadd.{self.name}", self.element, [self.element, self.vector])
        return self.builder.call(add, [ir.Constant(self.element, 0.0), value], fastmath=("reassoc",))

    def totals(self, vectors: list[Any]) -> Any:
        """A vector with the sum of all lanes of vectors[l] in lane l. There are as many as lanes; None is zeros.

        Of two vectors, one half of each sum goes into one vector: the lower halves of both plus the upper halves of
        both. Of four, the two results are treated alike within their halves, and so on: in half the steps that it
        takes to add up the lanes of each.
        """
        block = self.lanes // 2
        while block:
            order = [
                [half * block + (j if j & block == 0 else self.lanes + j - block) for j in range(self.lanes)]
                for half in (0, 1)
            ]
            lower, upper = (ir.Constant(ir.VectorType(I32, self.lanes), lanes) for lanes in order)
            pairs = zip(vectors[:block], vectors[block:], strict=True)
            vectors = [None if pair == (None, None) else self._halves_added(pair, lower, upper) for pair in pairs]
            block //= 2
        return vectors[0]

    def _halves_added(self, pair: tuple[Any, Any], lower: Any, upper: Any) -> Any:
        a, b = (self.zero if vector is None else vector for vector in pair)
        return self.builder.fadd(self.builder.shuffle_vector(a, b, lower), self.builder.shuffle_vector(a, b, upper))

    def patch(self, pointer: Any, pitch: Any, rows: int, masks: list[Any]) -> list[tuple[Any, Any]]:
        """Where the vectors of a patch begin, row after row, pitch apart, each with its mask; of a row one a mask."""
        starts = [self.at(pointer, self.builder.mul(pitch, ir.Constant(I64, h))) for h in range(rows)]
        return [(self.at(start, v * self.lanes), mask) for start in starts for v, mask in enumerate(masks)]

    def variable(self, value: Any) -> Any:
        """A register that a loop changes."""
        register = cgutils.alloca_once(self.builder, self.vector)
        self.builder.store(value, register)
        return register

    def row(self, count: Any) -> Iterator[tuple[Any, Any]]:
        """Go over `count` numbers by vectors: yields (first number, mask), twice; what is emitted there is looped."""
        lanes = ir.Constant(I64, self.lanes)
        whole, rest = self.builder.sdiv(count, lanes), self.builder.srem(count, lanes)
        with self.loop(whole) as i:
            yield self.builder.mul(i, lanes), None
        with self.builder.if_then(self.builder.icmp_signed(">", rest, ir.Constant(I64, 0))):
            yield self.builder.mul(whole, lanes), self.mask(rest)

    @contextmanager
    def loop(self, count: Any) -> Iterator[Any]:
        with cgutils.for_range(self.builder, count) as loop:
            yield loop.index


@intrinsic
def at(typing_context, base, offset):
    """A pointer to element number `offset` of an array (counted in memory order) or after another pointer."""
    element = base.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = args[0]
        if isinstance(base, types.Array):
            pointer = context.make_array(base)(context, builder, pointer).data
        return builder.gep(pointer, [args[1]])

    return types.CPointer(element)(base, types.int64), generate


@intrinsic
def clear(typing_context, pointer, count):
    """pointer[i] = 0 for i < count."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = ir.Constant(I64, signature.args[0].dtype.bitwidth // 8)
        cgutils.memset(builder, args[0], builder.mul(args[1], size), 0)
        return context.get_dummy_value()

    return types.void(pointer, types.int64), generate


# The types of a shared function's arguments: a number, a pointer to elements, a pointer to a table of offsets, a flag.
N, X, T, B = types.int64, "element", types.CPointer(types.int64), types.boolean


def shared(*arguments: Any) -> Callable[[Callable[..., None]], Any]:
    """Compile a function once for each element type, for all kernels to call.

    Numba would compile it again as a part of each kernel that uses it, and tiles take long to compile. So it is
    compiled as a C function, and its address becomes a symbol that the compiled kernels, in memory or from the cache,
    are linked with.
    """

    def decorate(function: Callable[..., None]) -> Any:
        name = f"scratchnet_{function.__name__}"
        for element in (types.float32, types.float64):
            signature = types.void(*[types.CPointer(element) if kind is X else kind for kind in arguments])
            compiled = keep_alive(compile_c_function(signature, function))
            llvmlite.binding.add_symbol(f"{name}_{element}", compiled.address)

        @intrinsic
        def call(typing_context, *given):
            (element,) = {kind.dtype for kind, wanted in zip(given, arguments, strict=True) if wanted is X}
            kinds = [types.CPointer(element) if kind is X else kind for kind in arguments]

            def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                values = cgutils.unpack_tuple(builder, args[0])
                values = [context.cast(builder, *each) for each in zip(values, given, kinds, strict=True)]
                values, kind = _c_arguments(context, builder, kinds, values)
                builder.call(cgutils.get_or_insert_function(builder.module, kind, f"{name}_{element}"), values)
                return context.get_dummy_value()

            return types.void(types.StarArgTuple(given)), generate

        return call

    return decorate


def _c_arguments(context: Any, builder: Any, kinds: list[Any], values: Any) -> tuple[list[Any], Any]:
    """Values as C passes them, and the type of a C function that takes them."""
    passed = [context.get_value_as_argument(builder, *each) for each in zip(kinds, values, strict=True)]
    return passed, ir.FunctionType(ir.VoidType(), [value.type for value in passed])


def call_by_address(kinds: list[Any]) -> tuple[Any, Callable[..., Any]]:
    """What an intrinsic (address, *arguments of these kinds) returns that calls the compiled C function there."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, kind = _c_arguments(context, builder, kinds, args[1:])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(types.int64, *kinds), generate


_alive: list[Any] = []


def keep_alive(compiled: Any) -> Any:
    """compiled itself: its code lives as long as the object that holds it."""
    _alive.append(compiled)
    return compiled


@intrinsic(prefer_literal=True)
def _contract_tile(
    typing_context, rows, vectors, a, a_row, a_step, b, b_step, steps, c, c_row, first, end, columns, accumulate
):  # fmt: skip
    """One tile of `contract`: rows first, first + 1, …, where a row beyond the last repeats the last."""
    signature = types.void(
        rows, vectors, a, a_row, a_step, b, b_step, types.int64, c, c_row, types.int64, types.int64, types.int64,
        types.boolean,
    )  # fmt: skip
    height, width = rows.literal_value, vectors.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, _, a, a_row, a_step, b, b_step, steps, c, c_row, first, end, columns, accumulate = args
        emit = _Emitter(context, builder, signature.args[2].dtype)
        masks = emit.masks(width, columns)
        rows = [emit.clamp(first, i, end) for i in range(height)]
        row_a = [emit.at(a, emit.entry(a_row, row)) for row in rows]
        row_c = [emit.at(c, emit.entry(c_row, row)) for row in rows]
        sums = [[emit.variable(emit.zero) for _ in range(width)] for _ in rows]
        with builder.if_then(accumulate):
            for i, j in product(range(height), range(width)):
                builder.store(emit.load(emit.at(row_c[i], j * emit.lanes), masks[j]), sums[i][j])
        with emit.loop(steps) as r:
            row_b = emit.at(b, emit.entry(b_step, r))
            vector_b = [emit.load(emit.at(row_b, j * emit.lanes), masks[j]) for j in range(width)]
            step = emit.entry(a_step, r)
            for i in range(height):
                number = emit.broadcast(emit.at(row_a[i], step))
                for j in range(width):
                    emit.multiply_add(number, vector_b[j], sums[i][j])
        for i, j in product(range(height), range(width)):
            emit.store(builder.load(sums[i][j]), emit.at(row_c[i], j * emit.lanes), masks[j])
        return context.get_dummy_value()

    return signature, generate


@shared(N, N, N, X, T, T, X, T, X, T, B)
def contract(m, n, steps, a, a_row, a_step, b, b_step, c, c_row, accumulate):
    """C[c_row[i] + j] (+)= Σ_r A[a_row[i] + a_step[r]] · B[b_step[r] + j] for i < m, j < n, r < steps.

    a, b, c are pointers, the others tables of offsets. All of A's numbers are broadcast, B and C are read and written
    by vectors.
    """
    lanes = lanes_of(c)
    for i in range(0, m, ROWS):
        j = 0
        while j < n:
            p_b, p_c, rest = at(b, j), at(c, j), n - j
            if rest > (VECTORS - 1) * lanes:
                _contract_tile(ROWS, VECTORS, a, a_row, a_step, p_b, b_step, steps, p_c, c_row, i, m, rest, accumulate)
                j += VECTORS * lanes
            elif rest > lanes:
                _contract_tile(ROWS, 2, a, a_row, a_step, p_b, b_step, steps, p_c, c_row, i, m, rest, accumulate)
                j += 2 * lanes
            else:
                _contract_tile(ROWS, 1, a, a_row, a_step, p_b, b_step, steps, p_c, c_row, i, m, rest, accumulate)
                j += lanes


@intrinsic(prefer_literal=True)
def _dot_tile(
    typing_context, rows, columns, a, a_row, a_group, b, b_row, b_group, groups, length, c, c_row, i, m, j, n,
    accumulate
):  # fmt: skip
    """One tile of `dot`: rows i, i + 1, … and columns j, j + 1, …; one beyond the last reads what the last does."""
    signature = types.void(
        rows, columns, a, a_row, types.int64, b, b_row, types.int64, types.int64, types.int64, c, c_row, types.int64,
        types.int64, types.int64, types.int64, types.boolean,
    )  # fmt: skip
    height, width = rows.literal_value, columns.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, _, a, a_row, a_group, b, b_row, b_group, groups, length, c, c_row, i, m, j, n, accumulate = args
        emit = _Emitter(context, builder, signature.args[2].dtype)
        rows = [emit.clamp(i, k, m) for k in range(height)]
        columns = [emit.clamp(j, k, n) for k in range(width)]
        row_a = [emit.entry(a_row, row) for row in rows]
        row_b = [emit.entry(b_row, column) for column in columns]
        sums = [[emit.variable(emit.zero) for _ in columns] for _ in rows]

        def multiply_add(a: Any, b: Any, mask: Any = None) -> None:
            vector_a = [emit.load(emit.at(a, row), mask) for row in row_a]
            for k, column in enumerate(row_b):
                vector_b = emit.load(emit.at(b, column), mask)
                for h in range(height):
                    emit.multiply_add(vector_a[h], vector_b, sums[h][k])

        lanes = ir.Constant(I64, emit.lanes)
        whole, rest = builder.sdiv(length, lanes), builder.srem(length, lanes)
        mask = emit.mask(rest)
        with emit.loop(groups) as g:
            group_a, group_b = emit.at(a, builder.mul(g, a_group)), emit.at(b, builder.mul(g, b_group))
            with emit.loop(whole) as p:
                start = builder.mul(p, lanes)
                multiply_add(emit.at(group_a, start), emit.at(group_b, start))
            with builder.if_then(builder.icmp_signed(">", rest, ir.Constant(I64, 0))):
                start = builder.mul(whole, lanes)
                multiply_add(emit.at(group_a, start), emit.at(group_b, start), mask)
        # A few rows, and as many columns as they leave lanes for, are added up at once.
        slots = min(emit.lanes, 1 << (width - 1).bit_length())
        at_once = emit.lanes // slots
        left = builder.sub(n, j)
        whole = builder.icmp_signed(">", left, ir.Constant(I64, width))
        there = builder.select(whole, ir.Constant(I64, width), left)  # columns that are written
        pieces = []
        for first, k in product(range(0, height, at_once), range(0, width, slots)):
            own = [sums[h][k : k + slots] for h in range(first, first + at_once) if h < height]
            vectors = [v for row in own for v in [*map(builder.load, row), *[None] * (slots - len(row))]]
            packed = emit.totals(vectors + [None] * (emit.lanes - len(vectors)))
            mask = emit.mask(builder.sub(there, ir.Constant(I64, k)))
            for q in range(len(own)):
                lanes_of_row = ir.Constant(
                    ir.VectorType(I32, emit.lanes), [q * slots + l % slots for l in range(emit.lanes)]
                )
                target = emit.at(
                    c, builder.add(emit.entry(c_row, rows[first + q]), builder.add(j, ir.Constant(I64, k)))
                )
                pieces.append((builder.shuffle_vector(packed, packed, lanes_of_row), target, mask))
        # All of C is read before any of it is written, since a repeated row is written twice.
        old = [emit.variable(emit.zero) for _ in pieces]
        with builder.if_then(accumulate):
            for register, (_, target, mask) in zip(old, pieces, strict=True):
                builder.store(emit.load(target, mask), register)
        for register, (piece, target, mask) in zip(old, pieces, strict=True):
            emit.store(builder.fadd(piece, builder.load(register)), target, mask)
        return context.get_dummy_value()

    return signature, generate


@shared(N, N, N, X, T, X, T, X, T, B, N, N, N)
def dot(m, n, length, a, a_row, b, b_row, c, c_row, accumulate, groups, a_group, b_group):
    """C[c_row[i] + j] (+)= Σ_g Σ_p A[a_row[i] + g·a_group + p] · B[b_row[j] + g·b_group + p], p < length, g < groups.

    Both factors are read by vectors along p, and the lanes are added up at the end: that costs as much as some ten
    steps, so a sum should be long, and the outer sum over g makes it so.
    """
    for j in range(0, n, DOT_COLUMNS):
        for i in range(0, m, DOT_ROWS):
            _dot_tile(
                DOT_ROWS, DOT_COLUMNS, a, a_row, a_group, b, b_row, b_group, groups, length, c, c_row, i, m, j, n,
                accumulate,
            )  # fmt: skip


@intrinsic(prefer_literal=True)
def _add_patches_tile(typing_context, rows, vectors, total, total_pitch, x, pitch, offsets, factors, count, width):
    signature = types.void(rows, vectors, *_patch_arguments(total.dtype))
    height, columns = rows.literal_value, vectors.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, _, total, total_pitch, x, pitch, offsets, factors, count, width = args
        emit = _Emitter(context, builder, signature.args[2].dtype)
        masks = emit.masks(columns, width)
        totals = emit.patch(total, total_pitch, height, masks)
        sums = [emit.variable(emit.load(*place)) for place in totals]
        with emit.loop(count) as q:
            patch = emit.at(x, emit.entry(offsets, q))
            factor = emit.broadcast(emit.at(factors, q))
            for register, (place, _) in zip(sums, emit.patch(patch, pitch, height, masks), strict=True):
                emit.multiply_add(factor, emit.load(place), register)
        for register, place in zip(sums, totals, strict=True):
            emit.store(builder.load(register), *place)
        return context.get_dummy_value()

    return signature, generate


def _largest_of_four(emit: _Emitter, window: list[Any], relu: Any) -> tuple[Any, Any]:
    """The maximum of four vectors, lane by lane, and which it is, 0 … 3, the first of equals; NaN wins.

    Where the flag `relu` is set and that is not above 0: 0, and 4.
    """
    builder, numbers = emit.builder, ir.VectorType(I32, emit.lanes)

    def position(k: int) -> Any:
        return ir.Constant(numbers, [k] * emit.lanes)

    best, where = window[0], position(0)
    for k in (1, 2, 3):
        nan = builder.fcmp_unordered("uno", window[k], window[k])
        better = builder.or_(builder.fcmp_ordered(">", window[k], best), nan)
        best = builder.select(better, window[k], best)
        where = builder.select(better, position(k), where)
    dead = builder.and_(relu, builder.fcmp_ordered("<=", best, emit.zero))
    return builder.select(dead, emit.zero, best), builder.select(dead, position(4), where)


@intrinsic
def max_of_pixels(typing_context, top, bottom, pixel, y, winner, vectors):
    """ReLU of the maximum of 2 × 2 pixels, channel by channel: of top, top + pixel, bottom and bottom + pixel.

    winner, a number like y: which it is, 0 … 3, or 4 where ReLU passes nothing. So many vectors of channels.
    """
    signature = types.void(top, bottom, types.int64, y, winner, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        top, bottom, pixel, y, winner, vectors = args
        emit = _Emitter(context, builder, signature.args[0].dtype)
        with emit.loop(vectors) as v:
            start = builder.mul(v, ir.Constant(I64, emit.lanes))
            window = [emit.load(emit.at(emit.at(p, start), k)) for p in (top, bottom) for k in (0, pixel)]
            best, where = _largest_of_four(emit, window, ir.Constant(ir.VectorType(I1, emit.lanes), [1] * emit.lanes))
            emit.store(best, emit.at(y, start))
            emit.store(builder.sitofp(where, emit.vector), emit.at(winner, start))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def max_of_squares(typing_context, relu, top, bottom, bias, y, winner, count):
    """2 × 2 max pooling of a vector of windows: y[j], winner[j] from top[2j], top[2j + 1], bottom[2j], bottom[2j + 1].

    bias is added to the four numbers first. winner (uint8) is the position 0 … 3 of the maximum in its window; with
    relu, y is max(y, 0), and winner is 4 where that is 0 and no gradient passes. Two vectors of each row are read, the
    first `count` lanes of the results are written.
    """
    signature = types.void(types.boolean, top, bottom, types.float64, y, winner, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        relu, top, bottom, bias, y, winner, count = args
        emit = _Emitter(context, builder, signature.args[1].dtype)
        numbers = ir.VectorType(I32, emit.lanes)
        bias = emit.splat(bias if emit.size == 8 else builder.fptrunc(bias, emit.element))
        mask = emit.mask(count)
        window = []
        for row in (top, bottom):
            pair = [emit.load(emit.at(row, k * emit.lanes)) for k in (0, 1)]
            for k in (0, 1):  # the even and the odd columns
                columns = ir.Constant(numbers, list(range(k, 2 * emit.lanes, 2)))
                window.append(builder.fadd(builder.shuffle_vector(*pair, columns), bias))
        best, where = _largest_of_four(emit, window, emit.flag(relu))
        emit.store(best, y, mask)
        emit.store(builder.trunc(where, ir.VectorType(I8, emit.lanes)), winner, mask)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def copy_row(typing_context, relu, out, x, bias, count):
    """out[j] = x[j] + bias for j < count; with relu max(x[j] + bias, 0), where NaN stays NaN."""
    signature = types.void(types.boolean, out, x, x.dtype, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        relu, out, x, bias, count = args
        emit = _Emitter(context, builder, signature.args[1].dtype)
        bias, relu = emit.splat(bias), emit.flag(relu)
        for start, mask in emit.row(count):
            value = builder.fadd(emit.load(emit.at(x, start), mask), bias)
            dead = builder.and_(relu, builder.fcmp_ordered("<=", value, emit.zero))
            value = builder.select(dead, emit.zero, value)
            emit.store(value, emit.at(out, start), mask)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def copy_row_where_active(typing_context, out, dy, y, count):
    """out[j] = dy[j] where ReLU passed on what it got, that is where not y[j] ≤ 0, else 0; for j < count."""
    signature = types.void(out, dy, y, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, dy, y, count = args
        emit = _Emitter(context, builder, signature.args[0].dtype)
        for start, mask in emit.row(count):
            active = builder.fcmp_unordered(">", emit.load(emit.at(y, start), mask), emit.zero)
            value = builder.select(active, emit.load(emit.at(dy, start), mask), emit.zero)
            emit.store(value, emit.at(out, start), mask)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def sum_row(typing_context, x, count):
    """Σ_j x[j] for j < count, lane by lane first."""
    signature = x.dtype(x, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, count = args
        emit = _Emitter(context, builder, signature.args[0].dtype)
        total = emit.variable(emit.zero)
        for start, mask in emit.row(count):
            builder.store(builder.fadd(builder.load(total), emit.load(emit.at(x, start), mask)), total)
        return emit.total(builder.load(total))

    return signature, generate


@intrinsic(prefer_literal=True)
def _spread_patch_tile(typing_context, rows, vectors, x, pitch, patch, patch_pitch, offsets, factors, count, width):
    signature = types.void(rows, vectors, *_patch_arguments(x.dtype))
    height, columns = rows.literal_value, vectors.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, _, x, pitch, patch, patch_pitch, offsets, factors, count, width = args
        emit = _Emitter(context, builder, signature.args[2].dtype)
        # What lies beyond the patch stays, even if a factor is NaN. Of several rows it begins in the last vector.
        masks = emit.masks(columns, width)
        if height == 1:
            masks = [emit.mask(builder.sub(width, ir.Constant(I64, v * emit.lanes))) for v in range(columns)]
        values = [emit.load(*place) for place in emit.patch(patch, patch_pitch, height, masks)]
        with emit.loop(count) as q:
            place = emit.at(x, emit.entry(offsets, q))
            factor = emit.broadcast(emit.at(factors, q))
            for value, (target, mask) in zip(values, emit.patch(place, pitch, height, masks), strict=True):
                old = emit.load(target)
                new = emit.fma(factor, value, old)
                emit.store(new if mask is None else builder.select(mask, new, old), target)
        return context.get_dummy_value()

    return signature, generate


@functools.cache
def patch_functions(rows: int, vectors: int, itemsize: int) -> tuple[int, int]:
    """The addresses of two functions for `call_for_patches`, compiled for patches of one size, so many rows and
    vectors of numbers of 4 or 8 bytes. For h < rows, v < width, q < count they do ::

        add_patches    target[h·target_pitch + v] += Σ_q factors[q] · source[offsets[q] + h·source_pitch + v]
        spread_patch   target[offsets[q] + h·target_pitch + v] += factors[q] · source[h·source_pitch + v]

    The first adds up patches that lie anywhere in the source, the second adds one patch to many places of the target;
    the sum of the one, the patch of the other stays in registers, all of it. Where patches lie anywhere, memory is read
    up to the end of each row's last vector, and what lies beyond the patch is written as it was.
    """
    signature = types.void(*_patch_arguments(types.float32 if itemsize == 4 else types.float64))

    def add_patches(target, target_pitch, source, source_pitch, offsets, factors, count, width):
        _add_patches_tile(rows, vectors, target, target_pitch, source, source_pitch, offsets, factors, count, width)

    def spread_patch(target, target_pitch, source, source_pitch, offsets, factors, count, width):
        _spread_patch_tile(rows, vectors, target, target_pitch, source, source_pitch, offsets, factors, count, width)

    added, spread = (keep_alive(compile_c_function(signature, f)) for f in (add_patches, spread_patch))
    return added.address, spread.address


def _patch_arguments(element: Any) -> list[Any]:
    return [types.CPointer(element), N, types.CPointer(element), N, T, types.CPointer(element), N, N]


@intrinsic
def call_for_patches(
    typing_context, function, target, target_pitch, source, source_pitch, offsets, factors, count, width
):  # fmt: skip
    """Do one of the two things that patch_functions compiles; `function` is its address."""
    return call_by_address(_patch_arguments(target.dtype))


@intrinsic
def _transpose_tile(typing_context, out, out_pitch, x, x_pitch, rows, columns):
    """One tile of `transpose`, at most lanes × lanes: rows are loaded, swapped in registers, and columns stored.

    To transpose 2 × 2 blocks of a matrix, swap the two that are off the diagonal; then do the same inside each block.
    Every step combines two vectors, lane by lane from one or the other.
    """
    signature = types.void(out, types.int64, x, types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, out_pitch, x, x_pitch, rows, columns = args
        emit = _Emitter(context, builder, signature.args[0].dtype)
        lanes = emit.lanes
        zero, wanted = ir.Constant(I64, 0), emit.mask(columns)
        lines = [emit.load(emit.at(x, builder.mul(emit.clamp(zero, i, rows), x_pitch)), wanted) for i in range(lanes)]
        block = lanes // 2
        while block:
            upper = [j if j & block == 0 else lanes + j - block for j in range(lanes)]
            lower = [j + block if j & block == 0 else lanes + j for j in range(lanes)]
            upper, lower = (ir.Constant(ir.VectorType(I32, lanes), order) for order in (upper, lower))
            for i in range(lanes):
                if i & block == 0:
                    a, b = lines[i], lines[i + block]
                    lines[i], lines[i + block] = (
                        builder.shuffle_vector(a, b, upper),
                        builder.shuffle_vector(a, b, lower),
                    )
            block //= 2
        written = emit.mask(rows)
        for j, line in enumerate(lines):
            with builder.if_then(builder.icmp_signed("<", ir.Constant(I64, j), columns)):
                emit.store(line, emit.at(out, builder.mul(out_pitch, ir.Constant(I64, j))), written)
        return context.get_dummy_value()

    return signature, generate


@shared(X, N, X, N, N, N)
def transpose(out, out_pitch, x, x_pitch, rows, columns):
    """out[j·out_pitch + i] = x[i·x_pitch + j] for i < rows, j < columns."""
    lanes = lanes_of(x)
    for i in range(0, rows, lanes):
        for j in range(0, columns, lanes):
            _transpose_tile(
                at(out, j * out_pitch + i), out_pitch, at(x, i * x_pitch + j), x_pitch, min(lanes, rows - i),
                min(lanes, columns - j),
            )  # fmt: skip
