"""MatMul of two activations on Helium: two rows by four columns at a time, sixteen products of int8 an instruction, or
eight where one factor is int16.

Columns are brought side by side once for a matrix, rows two at a time, both as they are: what zero points leave out is
one number a column and one a row (`backends/cortex_m/c/bevel_matmul_mve.h`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.dsp import call_void
from bevel.backends.cortex_m.sides import obstacle, raised_by, sides_of
from bevel.backends.encodings.helium import LANES, blocks_of
from bevel.backends.program.kernel import Special, Unpacked
from bevel.backends.program.op import Operand, scratch
from bevel.backends.program.ops import mat_mul
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T

COLUMNS = 4  # of a tile
FARTHEST = 2**16 // 8  # elements between two of a vector's, whose places are halfwords


@dataclass(frozen=True)
class MatMulMve(Unpacked):
    """The operands and results of `plain`; in scratch lie b's columns, a number for each, and two rows of a."""

    rates: ClassVar[Rates] = Rates(mac=0.29, output=2.3, code=900)  # of attention on 65 tokens, heads of 16

    plain: MatMul

    @property
    def header(self) -> str:
        return "bevel_matmul_mve.h"

    @property
    def blocks(self) -> int:
        """Vectors along the summed axis."""
        lanes = LANES // 2 if sides_of(self.plain).row_dtype == "int16" else LANES
        return blocks_of(self.plain.k, lanes)

    def operands(self) -> tuple[Operand, ...]:
        tiles, words = blocks_of(sides_of(self.plain).n, COLUMNS), LANES // 4
        return (
            *self.plain.operands(),
            scratch("packed", (tiles * self.blocks * COLUMNS * words,), "int32"),
            scratch("column", (tiles * COLUMNS,), "int32"),
            scratch("rows", (2 * self.blocks * words,), "int32"),
        )

    def build(self, name: str) -> Any:
        plain, blocks, k = self.plain, self.blocks, self.plain.k
        a_size, b_size, y_size, packed_size, column_size, rows_size = (operand.size for operand in self.operands())
        a_dtype, b_dtype, y_dtype = plain.a_dtype, plain.b_dtype, plain.output.dtype
        sides = sides_of(plain)
        rows, columns, result, m, n = sides.rows, sides.columns, sides.result, sides.m, sides.n
        wide = int(sides.row_dtype == "int16")
        zeros = int(np.int64(k * sides.row_zero_point * sides.column_zero_point).astype(np.int32))
        scale = output_of(plain)
        products, pack = f"mve_matmul_{sides.row_dtype}", f"mve_matmul_columns_{sides.column_dtype}"
        forms = () if sides.column_dtype == "int16" else (wide,)

        @T.prim_func(s_tir=True)
        def mat_mul(
            A: T.Buffer((a_size,), a_dtype),
            B: T.Buffer((b_size,), b_dtype),
            Y: T.Buffer((y_size,), y_dtype),
            P: T.Buffer((packed_size,), "int32"),
            C: T.Buffer((column_size,), "int32"),
            R: T.Buffer((rows_size,), "int32"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            left, right = T.meta_var((B, A) if sides.swapped else (A, B))
            for at in T.grid(*sides.extents):
                call_void(
                    pack,
                    P.data,
                    C.data,
                    columns.at(right, at),
                    columns.down,
                    columns.along,
                    n,
                    k,
                    blocks,
                    *forms,
                    sides.row_zero_point,
                    zeros,
                )
                for pair in T.serial((m + 1) // 2):
                    first = T.meta_var(pair * 2)
                    second = T.meta_var(T.min(pair * 2 + 1, m - 1))
                    places = T.meta_var((result.at(Y, at, first), result.at(Y, at, second)))
                    two = T.meta_var((rows.at(left, at, first), rows.at(left, at, second)))
                    call_void(
                        products,
                        *places,
                        *two,
                        rows.along,
                        k,
                        R.data,
                        P.data,
                        C.data,
                        blocks,
                        n,
                        sides.column_zero_point,
                        *scale,
                    )

        return mat_mul


def output_of(plain: MatMul) -> tuple[int, ...]:
    """BEVEL_MATMUL_OUTPUT of the header."""
    lift, output = raised_by(plain), plain.output
    bytes_ = 1 if output.dtype == "int8" else 2
    return plain.multiplier, lift, plain.shift + lift - 32, output.zero_point, output.low, output.high, bytes_


def specialize(call: Call, target: Target) -> Special | str:
    """Products of int8 and int16 whose sums fit a word and whose results lie side by side."""
    plain = call.kernel
    if not isinstance(plain, MatMul):
        return "no product of two activations"
    if "mve" not in target.abilities:
        return f"{target.name} has no Helium"
    return why_not(plain) or Special(MatMulMve(plain), call.constants)


def why_not(plain: MatMul) -> str | None:
    sides = sides_of(plain)
    if sides.result.along != 1 and sides.n > 1:
        return "its results do not lie side by side"
    if max(sides.rows.along, sides.columns.down) >= FARTHEST:
        return "its factors' elements lie too far apart"
    return obstacle(plain)


def cases() -> Iterable[MatMulMve]:
    """What the plain operator has; then every remainder of columns and of blocks, which are three a round."""
    yield from (MatMulMve(plain) for plain in mat_mul.cases() if why_not(plain) is None)
    for m, k, n in ((1, 4, 4), (2, 16, 8), (3, 30, 6), (4, 48, 3), (5, 70, 1), (3, 90, 5), (1, 110, 2)):
        yield MatMulMve(mat_mul.product((), m, k, n, 0.001, a_zero_point=m, b_zero_point=-n))
