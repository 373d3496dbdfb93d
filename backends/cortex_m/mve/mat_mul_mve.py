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
from bevel.backends.cortex_m.sides import Sides, obstacle, raised_by, sides_of
from bevel.backends.encodings.helium import LANES
from bevel.backends.program.kernel import Special, Unpacked
from bevel.backends.program.op import Operand, scratch
from bevel.backends.program.ops import mat_mul
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T

COLUMNS = 4  # of a tile
FARTHEST = 2**16 // 8  # elements between two of a vector's, whose places are halfwords


@dataclass(frozen=True)
class MatMulMve(Unpacked):
    """The operands and results of `plain`; in scratch lie b's columns, a number for each, and two rows of a."""

    rates: ClassVar[Rates] = Rates(mac=0.117, output=3.6, besides=1.1, code=520)

    plain: MatMul

    @property
    def header(self) -> str:
        return "bevel_matmul_mve.h"

    @property
    def besides(self) -> int:
        return lying(self.plain).packed

    @property
    def blocks(self) -> int:
        """Vectors along the summed axis."""
        lanes = LANES // 2 if is_wide(lying(self.plain)) else LANES
        return blocks_of(self.plain.k, lanes)

    @property
    def origin(self) -> int:
        """What packed columns are less: bytes that become halfwords have the room for their zero point."""
        sides = lying(self.plain)
        return sides.column_zero_point if (sides.row_dtype, sides.column_dtype) == ("int16", "int8") else 0

    def operands(self) -> tuple[Operand, ...]:
        tiles, words = blocks_of(lying(self.plain).n, COLUMNS), LANES // 4
        return (
            *self.plain.operands(),
            scratch("packed", (tiles * COLUMNS * (self.blocks * words + 1),), "int32"),
            scratch("rows", (2 * self.blocks * words,), "int32"),
        )

    def build(self, name: str) -> Any:
        plain, blocks, k = self.plain, self.blocks, self.plain.k
        a_size, b_size, y_size, packed_size, rows_size = (operand.size for operand in self.operands())
        a_dtype, b_dtype, y_dtype = plain.a_dtype, plain.b_dtype, plain.output.dtype
        sides = lying(plain)
        rows, columns, result, m, n = sides.rows, sides.columns, sides.result, sides.m, sides.n
        wide, origin = int(is_wide(sides)), self.origin
        left_over = sides.column_zero_point - origin
        zeros = int(np.int64(k * sides.row_zero_point * left_over).astype(np.int32))
        scale = output_of(plain)
        widened = wide > 0 and sides.row_dtype == "int8"
        products = "mve_matmul_widened" if widened else f"mve_matmul_{sides.row_dtype}"
        pack = f"mve_matmul_columns_{sides.column_dtype}"
        row_size = b_size if sides.swapped else a_size
        needed = blocks * (LANES // 2 if wide else LANES)  # elements that a row is read over
        whole_blocks = needed == k

        @T.prim_func(s_tir=True)
        def mat_mul(
            A: T.Buffer((a_size,), a_dtype),
            B: T.Buffer((b_size,), b_dtype),
            Y: T.Buffer((y_size,), y_dtype),
            P: T.Buffer((packed_size,), "int32"),
            R: T.Buffer((rows_size,), "int32"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            left, right = T.meta_var((B, A) if sides.swapped else (A, B))
            for at in T.grid(*sides.extents):
                lying = T.meta_var((columns.at(right, at), columns.down, columns.along, n, k))
                call_void(pack, P.data, *lying, blocks, wide, origin, sides.row_zero_point, zeros)
                for pair in T.serial((m + 1) // 2):
                    first = T.meta_var(T.min(pair * 2, max(m - 2, 0)))
                    second = T.meta_var(first + 1 if m > 1 else first)
                    two = T.meta_var((rows.at(left, at, first), rows.at(left, at, second)))
                    room = T.meta_var(row_size - rows.place(at, second))
                    call_void(
                        products,
                        result.at(Y, at, first),
                        result.down if m > 1 else 0,
                        *two,
                        rows.along,
                        k,
                        0 if widened else needed if whole_blocks else room,
                        R.data,
                        P.data,
                        blocks,
                        n,
                        left_over,
                        *scale,
                    )

        return mat_mul


def lying(plain: MatMul) -> Sides:
    """With halfwords as rows, unless results lie side by side only where bytes are: these are widened then."""
    sides = sides_of(plain)
    return sides if sides.n == 1 or sides.result.along == 1 else sides_of(plain, turn=False)


def is_wide(sides: Sides) -> bool:
    """Whether halfwords are multiplied."""
    return "int16" in (sides.row_dtype, sides.column_dtype)


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
    sides = lying(plain)
    if sides.result.along != 1 and sides.n > 1:
        return "its results do not lie side by side"
    if max(sides.rows.along, sides.columns.down) >= FARTHEST:
        return "its factors' elements lie too far apart"
    return obstacle(plain)


def cases() -> Iterable[MatMulMve]:
    """What the plain operator has; every remainder of columns; numbers of blocks that have code of their own, and more,
    which are three a round; rows that are read where they lie, and the last, which are not."""
    yield from (MatMulMve(plain) for plain in mat_mul.cases() if why_not(plain) is None)
    for m, k, n in ((1, 4, 4), (2, 16, 8), (3, 30, 6), (4, 48, 3), (5, 70, 1), (3, 90, 5), (1, 110, 2)):
        yield MatMulMve(mat_mul.product((), m, k, n, 0.001, a_zero_point=m, b_zero_point=-n))
    for blocks in (4, 5, 8, 9, 10, 11):
        for left in (0, 3):
            yield MatMulMve(mat_mul.product((), 3, 16 * blocks - left, 5, 0.001, a_zero_point=-9, b_zero_point=blocks))
    shares: dict[str, Any] = {"a_dtype": "int16", "a_zero_point": -(2**15), "b_zero_point": 7, "largest": 2**24}
    for blocks in range(1, 12):
        yield MatMulMve(mat_mul.product((2,), 3, 8 * blocks - blocks % 3, 6, 2.0**-16, **shares))
    for k, n in ((3, 9), (16, 65), (50, 6)):  # bytes by halfwords
        mixed: dict[str, Any] = {"b_dtype": "int16", "a_zero_point": 9, "b_zero_point": -300, "largest": 2**24}
        yield MatMulMve(mat_mul.product((2,), 3, k, n, 2.0**-16, **mixed))
    turned: dict[str, Any] = {"a_strides": (1, 5), "b_strides": (1, 50)}
    yield MatMulMve(mat_mul.product((), 5, 50, 6, 2.0**-16, **shares, **turned))
