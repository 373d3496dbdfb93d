"""MatMul of two activations for the DSP extension: two rows by four columns at a time, two products in one SMLAD.

All columns of b are widened to int16 once for a matrix, two rows of a at a time; their zero points go then, or, of
int16, into where sums start (`backends/cortex_m/c/bevel_matmul.h`). Widening costs what one row or column of the result
does. Of int16 times int8 the int16 is a; where it is b, the transposed product is computed, which takes other strides.
Of int16 times int16 a number for each row is added behind, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.dsp import LEAST_SHIFT, call_void
from bevel.backends.cortex_m.sides import obstacle, raised_by, sides_of
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import Array, Op, Operand, constant, of_type, scratch
from bevel.backends.program.ops import mat_mul
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T

COLUMNS = 4  # of a block
SCALE = 7  # words that say how a sum is rescaled


@dataclass(frozen=True)
class MatMulDsp(Kernel):
    """The operands and results of `plain`; scale: int32 [7], how sums are rescaled, as `scale_of` makes it.

    In scratch lie b's columns and two rows of a, widened.
    """

    rates: ClassVar[Rates] = Rates(mac=1.09, output=4.1, besides=5.1, code=130)

    plain: MatMul

    @property
    def op(self) -> Op:
        return self.plain

    @property
    def header(self) -> str:
        return "bevel_matmul.h"

    @property
    def words(self) -> int:
        """Of one row or column, in whole fours of elements."""
        return -(-self.plain.k // 4) * 2

    @property
    def block_words(self) -> int:
        return COLUMNS * (1 + self.words)

    @property
    def blocks(self) -> int:
        return -(-sides_of(self.plain).n // COLUMNS)

    @property
    def besides(self) -> int:
        return sides_of(self.plain).packed

    def operands(self) -> tuple[Operand, ...]:
        return (
            *self.plain.operands()[:2],
            constant("scale", (SCALE,), "int32"),
            self.plain.operands()[2],
            scratch("packed", (self.blocks * self.block_words,), "int32"),
            scratch("rows", (2 * self.words + (2 if self.both else 0),), "int32"),
        )

    @property
    def both(self) -> bool:
        """Whether both factors are int16: behind two rows lies what each adds to its sums."""
        sides = sides_of(self.plain)
        return (sides.row_dtype, sides.column_dtype) == ("int16", "int16")

    def reference(self, *arrays: Array) -> Array:
        return self.plain.reference(*arrays[:2])

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (*self.plain.example(rng), scale_of(self.plain))

    def build(self, name: str) -> Any:
        plain, words, block_words, blocks = self.plain, self.words, self.block_words, self.blocks
        a_size, b_size, scale_size, y_size, packed, rows_size = (operand.size for operand in self.operands())
        a_dtype, b_dtype, y_dtype, k = plain.a_dtype, plain.b_dtype, plain.output.dtype, plain.k
        sides = sides_of(plain)
        rows, columns, result, m, n = sides.rows, sides.columns, sides.result, sides.m, sides.n
        shared = sides.row_zero_point if sides.row_dtype == "int16" else 0
        widen, products, given = self.functions()
        pack = f"matmul_block_{sides.column_dtype}"

        @T.prim_func(s_tir=True)
        def mat_mul(
            A: T.Buffer((a_size,), a_dtype),
            B: T.Buffer((b_size,), b_dtype),
            S: T.Buffer((scale_size,), "int32"),
            Y: T.Buffer((y_size,), y_dtype),
            P: T.Buffer((packed,), "int32"),
            R: T.Buffer((rows_size,), "int32"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            left, right = T.meta_var((B, A) if sides.swapped else (A, B))
            for at in T.grid(*sides.extents):
                for block in T.serial(blocks):
                    call_void(
                        pack,
                        T.address_of(P[block * block_words]),
                        columns.at(right, at, 0, block * COLUMNS),
                        columns.down,
                        columns.along,
                        T.min(COLUMNS, n - block * COLUMNS),
                        k,
                        words,
                        sides.column_zero_point,
                        shared,
                    )
                for pair in T.serial((m + 1) // 2):
                    first = T.meta_var(pair * 2)
                    second = T.meta_var(T.min(pair * 2 + 1, m - 1))
                    two = T.meta_var((rows.at(left, at, first), rows.at(left, at, second)))
                    call_void(widen, R.data, *two, rows.along, k, words, *given)
                    places = T.meta_var((result.at(Y, at, first), result.at(Y, at, second)))
                    call_void(products, R.data, P.data, words, n, *places, result.along, S.data)

        return mat_mul

    def functions(self) -> tuple[str, str, tuple[int, ...]]:
        """What widens two rows, what multiplies them, and what the first is told of zero points."""
        sides, output = sides_of(self.plain), self.plain.output
        whole = of_type(output.dtype) == (output.low, output.high)
        products = f"matmul_products_{output.dtype}{'' if whole else '_within'}"
        if self.both:
            return "matmul_rows_both", f"{products}_both", (sides.column_zero_point,)
        return f"matmul_rows_{sides.row_dtype}", products, () if sides.row_dtype == "int16" else (sides.row_zero_point,)


def scale_of(plain: MatMul) -> Array:
    """`BEVEL_MATMUL_PRODUCTS` of the header says what these are."""
    raised, output = raised_by(plain), plain.output
    beyond = plain.shift + raised - LEAST_SHIFT
    numbers = (raised, plain.multiplier, 1 << beyond, beyond + 1, output.zero_point, output.low, output.high)
    return np.array(numbers, np.int32)


def specialize(call: Call, target: Target) -> Special | str:
    """Products of int8 and int16 whose sums fit a word, on targets with the DSP extension."""
    plain = call.kernel
    if not isinstance(plain, MatMul):
        return "no product of two activations"
    if "dsp" not in target.abilities:
        return f"{target.name} has no DSP extension"
    return obstacle(plain) or Special(MatMulDsp(plain), (scale_of(plain),))


def cases() -> Iterable[MatMulDsp]:
    """What the plain operator has; then rows and columns that are no pairs and fours, and depths on both sides of
    fours."""
    yield from (MatMulDsp(plain) for plain in mat_mul.cases() if obstacle(plain) is None)
    for m, k, n in ((1, 4, 4), (2, 7, 8), (3, 8, 6), (4, 12, 3), (5, 21, 1)):
        yield MatMulDsp(mat_mul.product((), m, k, n, 0.001, a_zero_point=m, b_zero_point=-n))
