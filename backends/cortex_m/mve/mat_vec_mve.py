"""MatMul of few rows on Helium: a decoder's one token against keys and values of all tokens before it.

`MatMulMve` packs the columns of a matrix for all rows; here the matrix is read where it lies, eight elements of four
columns at a time (`backends/cortex_m/c/bevel_matvec_mve.h`). Codes of four bits, two to a byte, are first laid out in
bytes, as many as are read, once for all heads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.dsp import call_void
from bevel.backends.cortex_m.dsp.mat_vec_dsp import HALFWORD, ROWS, small_rows
from bevel.backends.cortex_m.dsp.mat_vec_dsp import cases as cases_of_dsp
from bevel.backends.cortex_m.mve.mat_mul_mve import FARTHEST, output_of
from bevel.backends.cortex_m.sides import in_order, obstacle
from bevel.backends.encodings.nibbles import LEAST
from bevel.backends.program.kernel import Special, Unpacked
from bevel.backends.program.op import INT4, Array, Bounds, Operand, of_type, scratch
from bevel.backends.program.ops.mat_mul import MatMul, distance, extent, farthest, laid, product
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import without
from bevel.calib.arithmetic.requantize import Output

LANES = 8


@dataclass(frozen=True)
class MatVecMve(Unpacked):
    """The operands and results of `plain`; in scratch lies a row less `origin`, its zero point unless the row would
    leave 16 bits, and the matrix, where its codes are packed."""

    rates: ClassVar[Rates] = Rates(mac=0.45, output=0.64, call=300, code=350)

    plain: MatMul
    origin: int

    @property
    def header(self) -> str:
        return "bevel_matvec_mve.h"

    def operands(self) -> tuple[Operand, ...]:
        row = scratch("row", (self.row_size,), "int16")
        return *self.plain.operands(), row, *((scratch("codes", (self.codes,), "int8"),) if self.plain.packed else ())

    @property
    def row_size(self) -> int:
        return -(-self.plain.k // LANES) * LANES

    @property
    def codes(self) -> int:
        """Of the matrices, from the first to the last."""
        return extent(self.plain.b_shape, self.plain.b_strides)

    @property
    def pitch(self) -> int:
        """The codes that come with each column, or each term, that is counted: all, where these lie among others."""
        if self.plain.counted is None:
            return self.codes
        axis = -1 if self.plain.counted == "columns" else -2
        shape, strides = list(self.plain.b_shape), list(self.plain.b_strides)
        pitch = strides.pop(axis)
        del shape[axis]
        return pitch if extent(tuple(shape), tuple(strides)) <= pitch else self.codes

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Of rows that may leave 16 bits the last has one large element, as one of shares may."""
        a, *others = small_rows(self.plain, self.origin, self.plain.example(rng))
        plain = self.plain
        product_of_one = distance("int16", plain.a_zero_point) * distance(plain.b_dtype, plain.b_zero_point)
        told = plain.counted is None and plain.largest is not None and product_of_one <= plain.largest
        if plain.a_dtype == "int16" and not self.origin and told:
            row = laid(a, plain.a_shape, plain.a_strides)[..., -1, :]
            row[...] = plain.a_zero_point
            row[..., plain.k // 2] = farthest("int16", plain.a_zero_point)
        return a, *others

    @property
    def any_codes(self) -> bool:
        return self.plain.any_codes and not (self.plain.a_dtype == "int16" and self.origin)

    def build(self, name: str) -> Any:
        plain, k, n = self.plain, self.plain.k, self.plain.n
        a_size, b_size, *_, y_size = (operand.size for operand in plain.operands())
        row_size, codes, pitch, b_stored = self.row_size, self.codes, self.pitch, plain.b_operand.dtype
        a_dtype, b_dtype, y_dtype, output = plain.a_dtype, plain.b_dtype, plain.output.dtype, plain.output
        (extents, a, b, y), empty = in_order(plain), int(output.store(np.array(0)))
        of_columns, of_terms, packed = plain.counted == "columns", plain.counted == "terms", plain.packed
        some = of_columns or of_terms
        points = (self.origin, self.origin - plain.a_zero_point, plain.b_zero_point + (LEAST if packed else 0))
        forms = (*points, int(a_dtype == "int16"), int(b_dtype == "int16"), *output_of(plain))

        @T.prim_func(s_tir=True)
        def mat_vec(
            A: T.Buffer((a_size,), a_dtype),
            B: T.Buffer((b_size,), b_stored),
            K: T.Buffer((1,), "int32"),
            Y: T.Buffer((y_size,), y_dtype),
            R: T.Buffer((row_size,), "int16"),
            C: T.Buffer((codes,), "int8"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            columns = T.meta_var(K[0] if of_columns else n)
            terms = T.meta_var(K[0] if of_terms else k)
            if packed:
                call_void("mve_nibbles", C.data, B.data, T.min(K[0] * pitch, codes) if some else codes)
            for at in T.grid(*extents):
                for i in T.serial(plain.m):
                    row = T.meta_var((R.data, a.at(A, at, i), a.along))
                    matrix = T.meta_var((b.at(C if packed else B, at), b.down, b.along, columns, terms))
                    call_void("mve_matvec", y.at(Y, at, i), *row, *matrix, *forms)
                    if of_columns:
                        call_void(f"fill_{y_dtype}", y.at(Y, at, i, columns), 1, n - columns, empty)

        return without(mat_vec, (*(() if some else ("K",)), *(() if packed else ("C",))))


def specialize(call: Call, target: Target) -> Special | str:
    """Products of one or two rows whose sums fit a word and whose results lie side by side, on targets with Helium."""
    plain = call.kernel
    if not isinstance(plain, MatMul):
        return "no product of two activations"
    if "mve" not in target.abilities:
        return f"{target.name} has no Helium"
    found = kernel_for(plain, call.input_bounds[0])
    return found if isinstance(found, str) else Special(found, call.constants)


def kernel_for(plain: MatMul, known: Bounds | None) -> MatVecMve | str:
    """known: what the integers of a lie in."""
    if plain.m > ROWS:
        return f"{plain.m} rows share the cost of packing columns"
    if plain.y_strides[-1] != 1 and plain.n > 1:
        return "its results do not lie side by side"
    down, apart = plain.b_strides[-2:]
    if max(plain.a_strides[-1], down, 0 if down == 1 else down + apart) >= FARTHEST:
        return "its factors' elements lie too far apart"
    low, high = known or of_type(plain.a_dtype) or (0, 0)
    fits = max(high - plain.a_zero_point, plain.a_zero_point - low) <= HALFWORD
    return obstacle(plain, counted=True, packed=True) or MatVecMve(plain, plain.a_zero_point if fits else 0)


def cases() -> Iterable[MatVecMve]:
    """What the kernel for the DSP extension has; columns of eight terms, near and far, and results of every kind."""
    for one in cases_of_dsp():
        small = (one.origin - 2048, one.origin + 2047) if one.origin else None
        found = kernel_for(one.plain, small)
        if isinstance(found, MatVecMve):
            yield found
    int16 = Output(-300, -(2**15), 2**15 - 1, "int16")
    for apart, b_dtype in ((8, "int8"), (65, "int8"), (127, "int8"), (128, "int8"), (100, "int16"), (130, "int16")):
        for output, ratio in ((int16, 0.3), (Output(3), 0.004), (Output(-9, -50, 90), 0.9), (int16, 2.0**-17)):
            lies: dict[str, Any] = {"b_dtype": b_dtype, "b_strides": (1, apart), "b_zero_point": 7, "largest": 2**26}
            small_ratio = ratio * 2.0**-6 if b_dtype == "int16" else ratio
            yield MatVecMve(product((), 1, 8, 21, small_ratio, a_zero_point=-5, output=output, **lies), -5)
    for zero_point in (-(2**15), 2**15 - 1, -3000, 3000):
        shares: dict[str, Any] = {"a_dtype": "int16", "a_zero_point": zero_point, "largest": 2**24, "b_zero_point": 5}
        for strides in ((6, 1), (1, 19)):
            yield MatVecMve(product((), 2, 19, 6, 2.0**-16, **shares, b_strides=strides), 0)
    for lying, counted in (((8, 0, 1, 16), "columns"), ((8, 0, 16, 1), "terms"), ((40, 0, 1, 8), "columns")):
        lies = {"b_dtype": INT4, "b_strides": lying, "b_zero_point": -2, "largest": 2**20, "a_zero_point": 3}
        k, n = (8, 5) if counted == "columns" else (5, 8)
        yield MatVecMve(product((2, 3), 1, k, n, 0.01, **lies, counted=counted), 3)
