"""MatMul of few rows for the DSP extension: a decoder's one token against keys and values of all tokens before it.

`MatMulDsp` packs the columns of a matrix for all rows; for one or two that costs more than their products. Here a row
is widened, and the matrix read where it lies (`backends/cortex_m/c/bevel_matvec.h`): down columns whose elements lie
side by side, or along rows. Shares of 0, which a mask leaves, are passed over. Codes of four bits, two to a byte, are
taken out of words by masks, as 0 to 15, where all that lies side by side begins with a byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.dsp import call_void
from bevel.backends.cortex_m.dsp.mat_mul_dsp import SCALE, scale_of
from bevel.backends.cortex_m.sides import in_order, obstacle
from bevel.backends.encodings.nibbles import EACH, LEAST
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import INT4, Array, Bounds, Op, Operand, constant, of_type, scratch
from bevel.backends.program.ops import mat_mul
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import without
from bevel.calib.arithmetic.requantize import Output

ROWS = 2  # at most
HALFWORD = 2**15 - 1
GROUPS = {INT4: "eights", "int8": "fours"}  # how a row lies for columns of elements that masks take apart


@dataclass(frozen=True)
class MatVecDsp(Kernel):
    """The operands and results of `plain`; scale: int32 [7], as `mat_mul_dsp.scale_of` makes it. origin: what is
    subtracted from a row before it is widened, its zero point unless the row may leave 16 bits. In scratch lies a row,
    and what it is still off."""

    rates: ClassVar[Rates] = Rates(mac=3.2, call=500, code=74)

    plain: MatMul
    origin: int

    @property
    def op(self) -> Op:
        return self.plain

    @property
    def header(self) -> str:
        return "bevel_matvec.h"

    @property
    def extra(self) -> int:
        return self.origin - self.plain.a_zero_point

    @property
    def down(self) -> bool:
        """Whether columns are read one by one."""
        return self.plain.b_strides[-2] == 1

    def operands(self) -> tuple[Operand, ...]:
        *given, y = self.plain.operands()
        return *given, constant("scale", (SCALE,), "int32"), y, scratch("row", (-(-self.plain.k // 2) + 1,), "int32")

    def reference(self, *arrays: Array) -> Array:
        return self.plain.reference(*arrays[:-1])

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return *small_rows(self.plain, self.origin, self.plain.example(rng)), scale_of(self.plain)

    @property
    def any_codes(self) -> bool:
        return self.plain.any_codes and not (self.plain.a_dtype == "int16" and self.origin)

    def build(self, name: str) -> Any:
        plain, extra, origin, k, n = self.plain, self.extra, self.origin, self.plain.k, self.plain.n
        a_size, b_size, *_, scale_size, y_size, row_size = (operand.size for operand in self.operands())
        a_dtype, b_dtype, y_dtype, output = plain.a_dtype, plain.b_operand.dtype, plain.output.dtype, plain.output
        (extents, a, b, y), each = in_order(plain), EACH if plain.packed else 1
        zero_point = plain.b_zero_point + (LEAST if plain.packed else 0)
        whole = of_type(y_dtype) == (output.low, output.high)
        widen = f"bevel_matvec_{GROUPS.get(plain.b_dtype, 'row') if self.down else 'row'}_{a_dtype}"
        multiply = f"matvec_{'dots' if self.down else 'sums'}_{plain.b_dtype}_{y_dtype}{'' if whole else '_within'}"
        step = (b.along if self.down else b.down) // each
        of_columns, of_terms = plain.counted == "columns", plain.counted == "terms"
        empty = int(output.store(np.array(0)))

        @T.prim_func(s_tir=True)
        def mat_vec(
            A: T.Buffer((a_size,), a_dtype),
            B: T.Buffer((b_size,), b_dtype),
            K: T.Buffer((1,), "int32"),
            S: T.Buffer((scale_size,), "int32"),
            Y: T.Buffer((y_size,), y_dtype),
            R: T.Buffer((row_size,), "int32"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            columns = T.meta_var(K[0] if of_columns else n)
            terms = T.meta_var(K[0] if of_terms else k)
            for at in T.grid(*extents):
                for i in T.serial(plain.m):
                    Z = T.alloc_buffer((1,), "int32")
                    Z[0] = tirx.call_extern(
                        "int32", widen, R.data, a.at(A, at, i), a.along, terms, origin, extra, zero_point
                    )
                    matrix = T.meta_var(T.address_of(B[b.place(at) // each]))
                    given = T.meta_var((y.along, R.data, matrix, step, columns, terms, Z[0], S.data))
                    call_void(multiply, y.at(Y, at, i), *given)
                    if of_columns:
                        call_void(f"fill_{y_dtype}", y.at(Y, at, i, columns), y.along, n - columns, empty)

        return mat_vec if plain.counted else without(mat_vec, ("K",))


def small_rows(plain: MatMul, origin: int, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """With what rows of small codes hold, where these are int16 and counted from an origin."""
    a, *others = arrays
    if plain.a_dtype == "int16" and origin:
        a = np.clip(a, origin - 2**11, origin + 2**11).astype(np.int16)
    return a, *others


def specialize(call: Call, target: Target) -> Special | str:
    """Products of one or two rows whose sums fit a word, with a matrix whose columns or rows lie side by side."""
    plain = call.kernel
    if not isinstance(plain, MatMul):
        return "no product of two activations"
    if "dsp" not in target.abilities:
        return f"{target.name} has no DSP extension"
    found = kernel_for(plain, call.input_bounds[0])
    return found if isinstance(found, str) else Special(found, (scale_of(plain),))


def kernel_for(plain: MatMul, known: Bounds | None) -> MatVecDsp | str:
    """known: what the integers of a lie in."""
    if plain.m > ROWS:
        return f"{plain.m} rows share the cost of packing columns"
    if 1 not in plain.b_strides[-2:] and plain.n > 1:
        return "neither the columns nor the rows of its matrix lie side by side"
    low, high = known or of_type(plain.a_dtype) or (0, 0)
    fits = max(high - plain.a_zero_point, plain.a_zero_point - low) <= HALFWORD
    kernel = MatVecDsp(plain, plain.a_zero_point if fits else 0)
    if kernel.extra and kernel.down:
        return "a row less its zero point leaves 16 bits"
    if plain.packed and any(stride % EACH for stride in (*plain.b_strides[:-2], max(plain.b_strides[-2:]))):
        return "its codes of four bits begin within bytes"
    return obstacle(plain, counted=True, packed=True) or kernel


def cases() -> Iterable[MatVecDsp]:
    """What the plain operator has, of a row or two; both ways to lie, every remainder, heads that share a matrix, and
    rows of every kind."""
    for plain in mat_mul.cases():
        few = replace(plain, m=min(plain.m, ROWS))
        small = (plain.a_zero_point - 2048, plain.a_zero_point + 2047)
        for found in (kernel_for(few, None), kernel_for(few, small)):
            if isinstance(found, MatVecDsp) and mat_mul.extent(few.y_shape, few.y_strides) == prod(few.y_shape):
                yield found
    for k, n in ((1, 1), (4, 4), (7, 9), (8, 5), (21, 6)):
        for strides in ((n, 1), (1, k)):
            yield MatVecDsp(mat_mul.product((), 1, k, n, 0.001, a_zero_point=k, b_zero_point=-n, b_strides=strides), k)
    int16 = Output(-300, -(2**15), 2**15 - 1, "int16")
    wide: dict[str, Any] = {
        "a_dtype": "int16",
        "a_zero_point": 30,
        "b_zero_point": 4,
        "output": int16,
        "largest": 2**26,
    }
    for b_dtype in (INT4, "int8", "int16"):
        width = 10 if b_dtype == INT4 else 9
        scores = mat_mul.product((2, 3), 1, 9, 7, 2.0**-9, **wide, b_dtype=b_dtype, b_strides=(width, 0, 1, 2 * width))
        yield MatVecDsp(scores, 30)
        shares = wide | {"a_zero_point": -(2**15)}
        yield MatVecDsp(
            mat_mul.product((2, 3), 1, 7, 9, 2.0**-9, **shares, b_dtype=b_dtype, b_strides=(width, 0, 2 * width, 1)), 0
        )
