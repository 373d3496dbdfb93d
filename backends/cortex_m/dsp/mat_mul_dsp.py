"""MatMul of two activations for the DSP extension: two rows by four columns at a time, two products in one SMLAD.

All columns of b are widened to int16 once for a matrix, two rows of a at a time; their zero points go then, or, of
int16, into where sums start (`backends/cortex_m/c/bevel_matmul.h`). Widening costs what one row or column of the result
does. Of int16 times int8 the int16 is a; where it is b, the transposed product is computed, which takes other strides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from tvm.script import tirx as T

from bevel.backends.cortex_m.dsp.dsp import LEAST_SHIFT, call_void
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import Array, Operand, constant, of_type, scratch
from bevel.backends.program.ops import mat_mul
from bevel.backends.program.ops.mat_mul import INT32_LIMIT, MatMul, turned
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.loops import offset_of

COLUMNS = 4  # of a block
SCALE = 7  # words that say how a sum is rescaled
STORED = ("int8", "int16")


@dataclass(frozen=True)
class MatMulDsp(Kernel):
    """The operands and results of `plain`; scale: int32 [7], how sums are rescaled, as `scale_of` makes it.

    In scratch lie b's columns and two rows of a, widened.
    """

    rates: ClassVar[Rates] = Rates(mac=0.87, output=16, code=900)  # 1.1 times those of ConvDsp, measured on a whole net

    plain: MatMul

    @property
    def header(self) -> str:
        return "bevel_matmul.h"

    @property
    def macs(self) -> int:
        return self.plain.macs

    @property
    def words(self) -> int:
        """Of one row or column, in whole fours of elements."""
        return -(-self.plain.k // 4) * 2

    @property
    def block_words(self) -> int:
        return COLUMNS * (1 + self.words)

    @property
    def reversed(self) -> bool:
        """Whether b takes the part of a."""
        return self.plain.b_dtype == "int16"

    @property
    def columns(self) -> int:
        """Of what is computed."""
        return self.plain.m if self.reversed else self.plain.n

    @property
    def blocks(self) -> int:
        return -(-self.columns // COLUMNS)

    def operands(self) -> tuple[Operand, ...]:
        return (
            *self.plain.operands()[:2],
            constant("scale", (SCALE,), "int32"),
            self.plain.operands()[2],
            scratch("packed", (self.blocks * self.block_words,), "int32"),
            scratch("rows", (2 * self.words,), "int32"),
        )

    def reference(self, *arrays: Array) -> Array:
        return self.plain.reference(*arrays[:2])

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (*self.plain.example(rng), scale_of(self.plain))

    def build(self, name: str) -> Any:
        plain, words, block_words, blocks = self.plain, self.words, self.block_words, self.blocks
        a_size, b_size, scale_size, y_size, packed, rows_size = (operand.size for operand in self.operands())
        a_dtype, b_dtype, y_dtype, batch, k = plain.a_dtype, plain.b_dtype, plain.output.dtype, plain.batch, plain.k
        m, columns = (plain.n, plain.m) if self.reversed else (plain.m, plain.n)
        swap = self.reversed
        left, right, result = (
            strides if plain.batch else (0, *strides) for strides in (plain.a_strides, plain.b_strides, plain.y_strides)
        )
        if swap:
            left, right, result = turned(right), turned(left), turned(result)
        (a_row, a_step), (b_step, b_column), (y_row, y_column) = left[-2:], right[-2:], result[-2:]
        a_lead, b_lead, y_lead = left[:-2], right[:-2], result[:-2]
        extents = batch or (1,)
        wide = "int16" in (a_dtype, b_dtype)
        a_zero_point, b_zero_point = (plain.a_zero_point, plain.b_zero_point)[:: -1 if swap else 1]
        shared = a_zero_point if wide else 0
        given = () if wide else (a_zero_point,)
        whole = of_type(y_dtype) == (plain.output.low, plain.output.high)
        widened, products = "int16" if wide else "int8", f"matmul_products_{y_dtype}{'' if whole else '_within'}"

        def rows_of(buffer: Any, axis: Any, row: Any) -> Any:
            return T.address_of(buffer[offset_of(axis, a_lead) + row * a_row])

        def column_of(buffer: Any, axis: Any, block: Any) -> Any:
            return T.address_of(buffer[offset_of(axis, b_lead) + block * COLUMNS * b_column])

        def result_of(buffer: Any, axis: Any, row: Any) -> Any:
            return T.address_of(buffer[offset_of(axis, y_lead) + row * y_row])

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
            left = T.meta_var(B if swap else A)
            right = T.meta_var(A if swap else B)
            for axis in T.grid(*extents):
                for block in T.serial(blocks):
                    call_void(
                        "matmul_block",
                        T.address_of(P[block * block_words]),
                        column_of(right, axis, block),
                        b_step,
                        b_column,
                        T.min(COLUMNS, columns - block * COLUMNS),
                        k,
                        words,
                        b_zero_point,
                        shared,
                    )
                for pair in T.serial((m + 1) // 2):
                    first = T.meta_var(pair * 2)
                    second = T.meta_var(T.min(pair * 2 + 1, m - 1))
                    call_void(
                        f"matmul_rows_{widened}",
                        R.data,
                        rows_of(left, axis, first),
                        rows_of(left, axis, second),
                        a_step,
                        k,
                        words,
                        *given,
                    )
                    call_void(
                        products,
                        R.data,
                        P.data,
                        words,
                        columns,
                        result_of(Y, axis, first),
                        result_of(Y, axis, second),
                        y_column,
                        S.data,
                    )

        return mat_mul


def scale_of(plain: MatMul) -> Array:
    """`BEVEL_MATMUL_PRODUCTS` of the header says what these are."""
    raised, output = raised_by(plain), plain.output
    beyond = plain.shift + raised - LEAST_SHIFT
    numbers = (raised, plain.multiplier, 1 << beyond, beyond + 1, output.zero_point, output.low, output.high)
    return np.array(numbers, np.int32)


def raised_by(plain: MatMul) -> int:
    """How far sums are shifted left, so that the ratio's rounding bit lies in the product's upper word."""
    return max(0, LEAST_SHIFT - plain.shift)


def specialize(call: Call, target: Target) -> Special | str:
    """Products of int8, or of int8 and int16, whose sums fit a word, on targets with the DSP extension."""
    plain = call.kernel
    if not isinstance(plain, MatMul):
        return "no product of two activations"
    if "dsp" not in target.abilities:
        return f"{target.name} has no DSP extension"
    reason = obstacle(plain)
    return reason or Special(MatMulDsp(plain), (scale_of(plain),))


def obstacle(plain: MatMul) -> str | None:
    types = {plain.a_dtype, plain.b_dtype}
    if not types <= set(STORED) or plain.output.dtype not in STORED:
        return "its integers are wider than int16"
    if types == {"int16"} or plain.reach << raised_by(plain) >= INT32_LIMIT:
        return "its sums may pass a word"
    return "its sums may lie on halves" if plain.output.even else None


def cases() -> Iterable[MatMulDsp]:
    """What the plain operator has; then rows and columns that are no pairs and fours, and depths on both sides of
    fours."""
    yield from (MatMulDsp(plain) for plain in mat_mul.cases() if obstacle(plain) is None)
    for m, k, n in ((1, 4, 4), (2, 7, 8), (3, 8, 6), (4, 12, 3), (5, 21, 1)):
        yield MatMulDsp(mat_mul.product((), m, k, n, 0.001, a_zero_point=m, b_zero_point=-n))
