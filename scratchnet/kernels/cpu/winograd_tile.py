"""Winograd's minimal filtering: the three matrices, and the micro-kernel that applies them.

Four neighbouring outputs of a filter of three taps depend on six inputs. Computed one by one they take 12
multiplications; six are enough. Read the taps g, the outputs and the inputs as coefficients of polynomials, and
multiply polynomials by their values: a product of degree 5 is known from its values at six points, and there it takes
one multiplication each. For m outputs and r taps with m + r − 1 = 6 ::

    y = Aᵀ [ (G g) ⊙ (Bᵀ d) ]             1-D: d (6,), g (r,) → y (m,)
    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A      2-D: d (6, 6), g (r, r) → Y (m, m), the same along lines and columns

G g holds the values of the taps at the points. B and A multiply polynomials by their values, and filtering is the
transpose of that multiplication: docs/layers/conv2d.md derives it, and the gradients. With the finite points p and
"∞", whose value is the leading coefficient ::

    A[p, k] = pᵏ          G[p, k] = pᵏ / Π_{q ≠ p} (p − q)          Bᵀ[p] = the coefficients of Π_{q ≠ p} (x − q)

So 5 × 5 taps give 2 × 2 outputs from 36 multiplications instead of 100, and 3 × 3 taps 4 × 4 outputs from 36 instead
of 144, from one and the same Bᵀ. What that costs is exactness: outputs are differences of larger numbers. How large
depends on the points; these were chosen by trying out binary fractions with few digits. A float32 convolution of 64
channels of noise is wrong by 7e-7 then, against 4e-7 for the plain sum, and 1.7e-6 with the usual points 0, ±1, ±2.

Sources: S. Winograd, "Arithmetic Complexity of Computations", 1980; A. Lavin, S. Gray, "Fast Algorithms for
Convolutional Neural Networks", 2015; points ±p with few digits: S. Alam et al., "Winograd Convolution for Deep Neural
Networks: Efficient Point Selection", 2022.
"""

import functools
from typing import Any

import numpy
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from scratchnet.kernels.cpu._compile import compile_c_function
from scratchnet.kernels.cpu.vector import _Emitter, at, call_by_address, keep_alive, lanes_of

POINTS = 0.0, 0.625, -0.625, 1.5, -1.5  # and ∞
SIZE = len(POINTS) + 1  # 6, of a tile of inputs

BT, B, AT4, A4, G3, GT3, AT2, A2, G5, GT5 = range(10)  # the number says how many outputs or taps


def _matrices(taps: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """A (6, m), G (6, r), Bᵀ (6, 6) for r taps."""
    points, outputs = numpy.array(POINTS), SIZE + 1 - taps
    a, g, bt = numpy.zeros((SIZE, outputs)), numpy.zeros((SIZE, taps)), numpy.zeros((SIZE, SIZE))
    for i, p in enumerate(points):
        others = numpy.delete(points, i)
        a[i], g[i] = p ** numpy.arange(outputs), p ** numpy.arange(taps) / numpy.prod(p - others)
        bt[i, :-1] = numpy.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    bt[-1] = numpy.poly(points)[::-1]
    return a, g, bt


def _all_matrices() -> dict[int, numpy.ndarray]:
    (a4, g3, bt), (a2, g5, _) = _matrices(3), _matrices(5)
    return {
        BT: bt, B: bt.T, AT4: a4.T, A4: a4, G3: g3, GT3: g3.T, AT2: a2.T, A2: a2, G5: g5, GT5: g5.T
    }  # fmt: skip


MATRICES = _all_matrices()


def _multiply(emit: _Emitter, matrix: numpy.ndarray, x: list[Any]) -> list[Any]:
    """matrix · x, for a list of vectors.

    The rows, or in a transpose the columns, of the points p and −p differ in the sign of every other number alone:
    the even and the odd half of the sum are computed once for both.
    """
    add, subtract = emit.builder.fadd, emit.builder.fsub

    def total(terms: list[tuple[float, Any]]) -> Any:
        result = None
        for factor, vector in terms:
            if factor == 0:
                continue
            constant = ir.Constant(emit.vector, [factor] * emit.lanes)
            if result is None:
                result = vector if factor == 1 else emit.builder.fmul(constant, vector)
            else:
                result = add(result, vector) if factor == 1 else emit.fma(constant, vector, result)
        return emit.zero if result is None else result

    rows, columns = matrix.shape
    if _paired(matrix):
        y: list[Any] = [None] * rows
        for i in (0, SIZE - 1):
            y[i] = total(list(zip(matrix[i], x, strict=True)))
        for i in (1, 3):
            even = total([(matrix[i, j], x[j]) for j in range(0, columns, 2)])
            odd = total([(matrix[i, j], x[j]) for j in range(1, columns, 2)])
            y[i], y[i + 1] = add(even, odd), subtract(even, odd)
        return y
    sums = {i: (add(x[i], x[i + 1]), subtract(x[i], x[i + 1])) for i in (1, 3)}
    ends = (0, SIZE - 1)
    return [
        total([(matrix[i, j], sums[j][i % 2]) for j in (1, 3)] + [(matrix[i, j], x[j]) for j in ends])
        for i in range(rows)
    ]


def _paired(matrix: numpy.ndarray) -> bool:
    """Whether rows 1, 2 and rows 3, 4 belong to points p, −p; else the columns do."""
    rows, columns = matrix.shape
    signs = (-1.0) ** numpy.arange(columns)
    return rows == SIZE and all(numpy.array_equal(matrix[i + 1], signs * matrix[i]) for i in (1, 3))


@intrinsic(prefer_literal=True)
def _sandwich(typing_context, which, x, x_row, x_column, y, y_row, y_column):
    """Y = T X Tᵀ in every lane, T being MATRICES[which]; B adds to Y, as tiles of inputs overlap."""
    signature = types.void(which, x, types.int64, types.int64, y, types.int64, types.int64)
    which = which.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, x, x_row, x_column, y, y_row, y_column = args
        emit = _Emitter(context, builder, signature.args[1].dtype)
        matrix = MATRICES[which]
        rows, columns = matrix.shape

        def place(pointer: Any, row: Any, column: Any, i: int, j: int) -> Any:
            number = functools.partial(ir.Constant, x_row.type)
            return emit.at(pointer, builder.add(builder.mul(row, number(i)), builder.mul(column, number(j))))

        half = []  # of columns: T X
        for j in range(columns):
            half.append(_multiply(emit, matrix, [emit.load(place(x, x_row, x_column, i, j)) for i in range(columns)]))
        for i in range(rows):
            for j, value in enumerate(_multiply(emit, matrix, [column[i] for column in half])):
                target = place(y, y_row, y_column, i, j)
                emit.store(builder.fadd(emit.load(target), value) if which == B else value, target)
        return context.get_dummy_value()

    return signature, generate


_N = types.int64


def _arguments(element: Any) -> list[Any]:
    pointer = types.CPointer(element)
    return [pointer, _N, _N, _N, pointer, _N, _N, _N, _N, _N]


@functools.cache
def transformer(which: int, itemsize: int) -> int:
    """The address of a compiled `transform` by MATRICES[which], for numbers of 4 or 8 bytes."""
    signature = types.void(*_arguments(types.float32 if itemsize == 4 else types.float64))

    def transform_tiles(x, x_row, x_column, x_tile, y, y_row, y_column, y_tile, tiles, vectors):
        lanes = lanes_of(x)
        for t in range(tiles):
            for v in range(vectors):
                _sandwich(
                    which, at(x, t * x_tile + v * lanes), x_row, x_column, at(y, t * y_tile + v * lanes), y_row,
                    y_column,
                )  # fmt: skip

    return keep_alive(compile_c_function(signature, transform_tiles)).address


@intrinsic
def transform(typing_context, address, x, x_row, x_column, x_tile, y, y_row, y_column, y_tile, tiles, vectors):
    """Y = T X Tᵀ for some tiles, each `vectors` vectors of channels deep.

    X[i, j] of tile t lies at x + t·x_tile + i·x_row + j·x_column, Y likewise. `address` is what `transformer` gave for
    T.
    """
    return call_by_address(_arguments(x.dtype))
