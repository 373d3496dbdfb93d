"""Gemm on Helium: sixteen products an instruction, one row of x by eight outputs at a time.

Each vector of x serves eight vectors of w, which are stored in the order they are read in (helium.py), so that the
weights are streamed once for each row of x. A row that does not fill whole vectors is first copied to scratch, where
what follows it may be anything: w has zeros there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from bevel.backends.cortex_m.mve.packed_mve import PackedMve, packed_constants
from bevel.backends.encodings.helium import (
    LANES,
)
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Operand, scratch
from bevel.backends.program.ops import gemm
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import without
from bevel.calib.arithmetic.requantize import Output

TILE = 8  # outputs


@dataclass(frozen=True)
class GemmMve(PackedMve):
    """Packed `plain`, with scratch for a row of x where rows do not fill vectors. The function computes one row."""

    rates: ClassVar[Rates] = Rates(mac=0.136, output=4.7, call=84, code=570)

    plain: Gemm

    tile: ClassVar = TILE

    @property
    def n(self) -> int:
        return self.plain.n

    @property
    def k(self) -> int:
        return self.plain.k

    @property
    def function(self) -> str:
        return "bevel_mve_row" if self.plain.output.dtype == "int8" else "bevel_mve_row_int16"

    @property
    def in_vectors(self) -> bool:
        return self.plain.k % LANES == 0

    @property
    def room(self) -> Operand:
        return scratch("row", (self.blocks * LANES,), "int8")

    def operands(self) -> tuple[Operand, ...]:
        packed = self.packed_operands()
        return packed if self.in_vectors else (*packed, self.room)

    def build(self, name: str) -> Any:
        x, w, rescaling, y = self.packed_operands()
        (rows, k), room, in_vectors = x.shape, self.room, self.in_vectors

        def row_of(results: Any, row: Any, source: Any, weights: Any, scales: Any) -> Any:
            places, read = (tirx.address_of(results[row, 0]),), (tirx.address_of(source),)
            return self.called(places, read, weights, tirx.address_of(scales[0, 0]), self.plain.n)

        @T.prim_func(s_tir=True)
        def gemm_mve(
            X: T.Buffer((rows, k), "int8"),
            W: T.Buffer(w.shape, "int8"),
            R: T.Buffer(rescaling.shape, "int32"),
            Y: T.Buffer(y.shape, y.dtype),
            C: T.Buffer(room.shape, "int8"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for row in T.serial(rows):
                if in_vectors:
                    T.evaluate(row_of(Y, row, X[row, 0], W, R))
                else:
                    T.evaluate(
                        tirx.call_extern(
                            "int32", "bevel_mve_copy", tirx.address_of(C[0]), tirx.address_of(X[row, 0]), k
                        )
                    )
                    T.evaluate(row_of(Y, row, C[0], W, R))

        return without(gemm_mve, ("C",)) if in_vectors else gemm_mve


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, Gemm):
        return "not a Gemm"
    if "mve" not in target.abilities:
        return f"{target.name} has no Helium"
    found = packed_constants(plain, call, TILE)
    return found if isinstance(found, str) else Special(GemmMve(plain, found[0]), found[1])


def cases() -> Iterable[GemmMve]:
    """What the plain kernel has; then every remainder of blocks, which are four a round, and of outputs."""
    for index, plain in enumerate(gemm.cases()):
        if plain.output.even == plain.output.power:
            yield GemmMve(plain, lifted=index % 2 == 0)
    for k, n in ((16, 8), (32, 12), (48, 3), (64, 13), (80, 7), (112, 16)):
        yield GemmMve(Gemm(rows=2, k=k, n=n, output=Output(zero_point=n - 5)), lifted=False)
