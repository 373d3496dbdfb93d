"""Walsh-Hadamard transforms with the C functions of `backends/cortex_m/c/bevel_hadamard.h`: DSP extension and Helium.

A sum's upper word and a rounding shift are its requantization where the shift is 33 or more; sums of smaller shifts are
shifted to the left before, where they have room.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bevel.backends.cortex_m.dsp.dsp import call_void
from bevel.backends.program.kernel import Unpacked
from bevel.backends.program.op import of_type
from bevel.backends.program.ops import walsh_hadamard
from bevel.backends.program.ops.walsh_hadamard import ButterflyBlock, WalshHadamard
from bevel.backends.tir.lazy import T, tirx
from bevel.calib.arithmetic.requantize import UPPER_WORD

HEADER = "bevel_hadamard.h"
TILE = 4  # sums of a vector
MOST_STAGES = 13  # the passes that are written out do 12


@dataclass(frozen=True)
class ButterflyRows(Unpacked):
    """The operands and results of `plain`."""

    plain: WalshHadamard

    @property
    @abstractmethod
    def header(self) -> str:
        """What the functions are in."""

    def build(self, name: str) -> Any:
        plain = self.plain
        rows, n, entries, sums, bases = plain.rows, plain.n, plain.bases[-1], plain.operands()[-1].size, plain.bases
        x_dtype, y_dtype, zero_point, output = plain.x_dtype, plain.output.dtype, plain.x_zero_point, plain.output
        load, store = f"hadamard_signed_{x_dtype}", f"hadamard_stored_{y_dtype}"
        starts = [sum(one.size for one in plain.blocks[:place]) for place in range(len(plain.blocks))]

        def of_block(place: int, before: Any) -> Any:
            block, start, base = plain.blocks[place], starts[place], bases[place] if plain.blocks[place].m > 1 else 0
            size, m, stages, multiplier = block.size, block.m, block.stages, block.multiplier
            up, down = lifted(block), block.shift + lifted(block) - (UPPER_WORD - 1)

            @T.macro
            def run(E, Y, S, row):
                before(E, Y, S, row)
                at = T.meta_var(tirx.address_of(S[start]))
                call_void("hadamard_block", at, tirx.address_of(S[n]), tirx.address_of(E[base]), size, m, stages)
                ends = T.meta_var((output.zero_point, output.low, output.high))
                call_void(store, tirx.address_of(Y[row, start]), at, size, multiplier, up, down, *ends)

            return run

        blocks = nothing()
        for place in range(len(plain.blocks)):
            blocks = of_block(place, blocks)

        @T.prim_func(s_tir=True)
        def transform(
            X: T.Buffer((rows, n), x_dtype),
            E: T.Buffer((entries,), "int8"),
            Y: T.Buffer((rows, n), y_dtype),
            S: T.Buffer((sums,), "int32"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for row in T.serial(rows):
                call_void(load, S.data, tirx.address_of(X[row, 0]), E.data, n, zero_point)
                blocks(E, Y, S, row)

        return transform


def nothing() -> Any:
    @T.macro
    def run(E, Y, S, row):
        pass

    return run


def lifted(block: ButterflyBlock) -> int:
    """How many bits sums are shifted to the left before they are multiplied."""
    return max(0, UPPER_WORD - block.shift)


def obstacle(plain: WalshHadamard) -> str | None:
    if plain.output.even or plain.output.dtype not in ("int8", "int16"):
        return "its results are rounded to even, or wider than int16"
    low, high = of_type(plain.x_dtype) or (0, 0)
    reach = max(high - plain.x_zero_point, plain.x_zero_point - low)
    for one in plain.blocks:
        if one.stages > MOST_STAGES:
            return f"{one.stages} stages are more than it has loops for"
        if one.m > 1 and one.m % TILE:
            return f"a base of {one.m} is no multiple of {TILE}"
        if one.size * reach << lifted(one) >= 2**31:
            return "its sums have no room for a multiplier that is so large"
    return None


def plain_cases() -> Iterator[WalshHadamard]:
    """Those of the operator that the functions take."""
    return (plain for plain in walsh_hadamard.cases() if obstacle(plain) is None)
