"""Gemm on Helium: sixteen products an instruction, one row of x by eight outputs at a time.

Each vector of x serves eight vectors of w, which are stored in the order they are read in (helium.py), so that the
weights are streamed once for each row of x. A row that does not fill whole vectors is first copied to scratch, where
what follows it may be anything: w has zeros there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T
from tvm.tirx import address_of, call_extern

from bevel.backends.encodings.helium import (
    LANES,
    TIES,
    blocks_of,
    example_rescaling,
    needs_lift,
    pack_rescaling,
    pack_weights,
    rescaling_shape,
    scaling,
    unpack_rescaling,
    unpack_weights,
)
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import Array, Operand, constant, scratch
from bevel.backends.program.ops import gemm
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.target import Target
from bevel.calib.arithmetic.requantize import Output

TILE = 8  # outputs


@dataclass(frozen=True)
class GemmMve(Kernel):
    """`plain` with its weights and rescaling packed by `helium.pack_weights(w, tile=8)` and `helium.pack_rescaling`,
    and scratch for a row of x where rows do not fill vectors."""

    plain: Gemm
    lifted: bool

    @property
    def blocks(self) -> int:
        """Vectors along the summed axis."""
        return blocks_of(self.plain.k, LANES)

    @property
    def in_vectors(self) -> bool:
        return self.plain.k % LANES == 0

    @property
    def macs(self) -> int:
        return self.plain.macs

    @property
    def header(self) -> str:
        return "bevel_mve.h"

    @property
    def function(self) -> str:
        """Of the header: computes one row."""
        return "bevel_mve_row"

    @property
    def further(self) -> tuple[int, ...]:
        """What the function takes after the arguments of `bevel_mve_row`."""
        return ()

    @property
    def vectors(self) -> int:
        """In which a block of the weights of eight outputs is stored."""
        return TILE

    def operands(self) -> tuple[Operand, ...]:
        x, *_, y = self.plain.operands()
        packed = (
            x,
            constant("w", (blocks_of(self.plain.n, TILE), self.blocks, self.vectors, LANES), "int8"),
            constant("rescaling", rescaling_shape(self.plain.n, self.lifted, TILE), "int32"),
            y,
        )
        return packed if self.in_vectors else (*packed, scratch("row", (self.blocks * LANES,), "int8"))

    def reference(self, *arrays: Array) -> Array:
        x, packed, rescaling = arrays
        w = unpack_weights(packed, self.plain.n, self.plain.k)
        return self.plain.reference(x, w, *unpack_rescaling(rescaling, self.plain.n))

    def build(self, name: str) -> Any:
        return self._build_in_place(name) if self.in_vectors else self._build_copied(name)

    def _row(self, y: Any, row: Any, x: Any, w: Any, rescaling: Any) -> Any:
        """TIR that computes one row."""
        plain, output = self.plain, self.plain.output
        return call_extern(
            "int32",
            self.function,
            address_of(y[row, 0]),
            x,
            address_of(w[0, 0, 0, 0]),
            address_of(rescaling[0, 0]),
            self.blocks,
            plain.n,
            output.zero_point,
            output.low,
            output.high,
            scaling(self.lifted, output),
            *self.further,
        )

    def _build_in_place(self, name: str) -> Any:
        rows, k, n, row_of = self.plain.rows, self.plain.k, self.plain.n, self._row
        w_shape, scale_shape = (operand.shape for operand in self.operands()[1:3])

        @T.prim_func(s_tir=True)
        def gemm_mve(
            X: T.Buffer((rows, k), "int8"),
            W: T.Buffer(w_shape, "int8"),
            R: T.Buffer(scale_shape, "int32"),
            Y: T.Buffer((rows, n), "int8"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for row in T.serial(rows):
                T.evaluate(row_of(Y, row, address_of(X[row, 0]), W, R))

        return gemm_mve

    def _build_copied(self, name: str) -> Any:
        rows, k, n, row_of = self.plain.rows, self.plain.k, self.plain.n, self._row
        w_shape, scale_shape = (operand.shape for operand in self.operands()[1:3])
        room = self.blocks * LANES

        @T.prim_func(s_tir=True)
        def gemm_mve(
            X: T.Buffer((rows, k), "int8"),
            W: T.Buffer(w_shape, "int8"),
            R: T.Buffer(scale_shape, "int32"),
            Y: T.Buffer((rows, n), "int8"),
            C: T.Buffer((room,), "int8"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for row in T.serial(rows):
                T.evaluate(call_extern("int32", "bevel_mve_copy", address_of(C[0]), address_of(X[row, 0]), k))
                T.evaluate(row_of(Y, row, address_of(C[0]), W, R))

        return gemm_mve

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, w, bias, multiplier, shift = self.plain.example(rng)
        return x, pack_weights(w, TILE), example_rescaling(bias, multiplier, shift, self.lifted, TILE)


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, Gemm):
        return "not a Gemm"
    if "mve" not in target.abilities:
        return f"{target.name} has no Helium"
    if plain.output.even and not plain.output.power:
        return TIES
    w, bias, multiplier, shift = call.constants
    lifted = needs_lift(w, bias, shift)
    if isinstance(lifted, str):
        return lifted
    packed = pack_weights(w, TILE), pack_rescaling(bias, multiplier, shift, lifted, TILE)
    return Special(GemmMve(plain, lifted), packed)


def cases() -> Iterable[GemmMve]:
    """What the plain kernel has; then every remainder of blocks, which are four a round, and of outputs."""
    for index, plain in enumerate(gemm.cases()):
        if plain.output.even == plain.output.power:
            yield GemmMve(plain, lifted=index % 2 == 0)
    for k, n in ((16, 8), (32, 12), (48, 3), (64, 13), (80, 7), (112, 16)):
        yield GemmMve(Gemm(rows=2, k=k, n=n, output=Output(zero_point=n - 5)), lifted=False)
