"""Gemm and Conv for the DSP extension with weights of fewer than eight bits: decoded into blocks that int8 tiles take.

A few blocks at a time become what `gemm_dsp` and `conv_dsp` read from flash, in scratch, and all pixels pass over them
before the next few are decoded. A weight costs about one instruction to decode and is then used for every pixel. Where
there are two pixels at most, they are widened once, before the blocks; otherwise once for each group of blocks.

Codes and how they lie in words: `backends/encodings/subbyte.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.decoding import Decoding
from bevel.backends.cortex_m.dsp import conv_dsp, gemm_dsp
from bevel.backends.cortex_m.dsp.conv_dsp import ConvDsp
from bevel.backends.cortex_m.dsp.gemm_dsp import GemmDsp
from bevel.backends.cortex_m.dsp.grouped_tiles import GroupedTiles
from bevel.backends.cortex_m.dsp.tiles import Tiles, call
from bevel.backends.encodings import packing, subbyte
from bevel.backends.encodings.subbyte import SubbyteCodes
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Operand, Role, constant, scratch
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call, Weights
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import without
from bevel.calib.arithmetic.requantize import MAX_SHIFT, UPPER_WORD, Int8, Int32, Output

GROUP_BYTES = 4096  # what decoded blocks are allowed to take,
WIDE_GROUP_BYTES = 10240  # or so much for
WIDE_GROUP = 6  # blocks, over which widening the pixels again and again becomes cheap
SINGLE_BYTES = 2048  # where pixels are widened only once

PAIRS = 256  # of two codes of four bits


@dataclass(frozen=True)
class SubbyteTilesDsp(Decoding):
    """stored: int32 [blocks, words], each block as `packing.pack` makes it but for its weights, which are codes."""

    rates: ClassVar[Rates] = Rates(byte=2.8, call=180, code=230)  # of decoding
    tabled_rates: ClassVar[Rates] = Rates(byte=4.1, call=2190, code=240)

    inner: GemmDsp | ConvDsp

    @property
    def shared(self) -> bool:
        """Whether the ends of blocks lie apart from the codes between them (`SharedSubbyteTilesDsp`)."""
        return False

    @property
    def tiles(self) -> Tiles:
        return self.inner.tiles

    @property
    def blocks(self) -> int:
        return packing.blocks(self.tiles.channels)

    @property
    def stored_words(self) -> int:
        words = packing.block_words(self.tiles.taps)
        return words - self.tiles.taps + self.tiles.taps // subbyte.UNIT * self.codes.bits

    @property
    def widened_once(self) -> bool:
        return isinstance(self.inner, GemmDsp) and self.inner.rows <= 2

    @property
    def group(self) -> int:
        """Blocks decoded at a time, as even a share of all as there is."""
        block_bytes = 4 * packing.block_words(self.tiles.taps)
        if self.widened_once:
            most = SINGLE_BYTES // block_bytes
        else:
            most = max(GROUP_BYTES // block_bytes, min(WIDE_GROUP_BYTES // block_bytes, WIDE_GROUP))
        groups = -(-self.blocks // max(1, most))
        return -(-self.blocks // groups)

    def operands(self) -> tuple[Operand, ...]:
        x, packed, *others = self.inner.operands()
        pairs = (scratch("pairs", (PAIRS,), "int16"),) if self.codes.paired else ()
        return (
            x,
            constant("stored", (self.blocks, self.stored_words), "int32"),
            *self.table,
            *others,
            scratch("decoded", (self.group, *packed.shape[1:]), "int32"),
            *pairs,
        )

    @property
    def own_rates(self) -> Rates:
        return self.tabled_rates if self.codes.tabled else self.rates

    @property
    def header(self) -> str:
        return "bevel_subbyte.h"

    def reference(self, *arrays: Array) -> Array:
        x, stored, *others = arrays
        table, rescaling = self.from_table_on(others)
        return self.inner.reference(x, decoded(stored, table, self.codes), *rescaling)

    def build(self, name: str) -> Any:
        blocks, group, words = self.blocks, self.group, packing.block_words(self.tiles.taps)
        channels, strip, stored_words = self.tiles.channels, self.tiles.scratch_words, self.stored_words
        (y,), table_bytes, image = self.inner.roles(Role.OUTPUT), self.codes.table_bytes, self.inner.image
        decode, groups, once, shared = self._decode, -(-blocks // group), self.widened_once, self.shared
        macros: tuple[Any, Any] = self._once() if once else (None, self.inner.pixels(self._grouped()))
        (widen, pixels), paired = macros, self.codes.paired

        @T.prim_func(s_tir=True)
        def subbyte_tiles(
            X: T.Buffer(image, "int8"),
            C: T.Buffer((blocks, stored_words), "int32"),
            K: T.Buffer((blocks, packing.SCALES), "int32"),
            L: T.Buffer((table_bytes,), "int8"),
            M: T.Buffer((channels,), "int32"),
            S: T.Buffer((channels,), "int8"),
            Y: T.Buffer((y.size,), y.dtype),
            A: T.Buffer((strip,), "int32"),
            W: T.Buffer((group, words), "int32"),
            P: T.Buffer((PAIRS,), "int16"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            if paired:
                T.evaluate(call("pairs", L.data, P.data))
            if once:
                widen(X, A)
            for step in T.serial(groups):
                T.evaluate(decode(C, K, L, P, W, step * group))
                pixels(X, W, M, S, Y, A, step * group)

        inside = not self.tiles.apart
        left_out = {"K": not shared, "L": not self.codes.tabled, "M": inside, "S": inside, "P": not paired}
        return without(subbyte_tiles, [buffer for buffer, left in left_out.items() if left])

    def _grouped(self) -> GroupedTiles:
        tiles = self.tiles
        return GroupedTiles(tiles.channels, tiles.taps, tiles.widened, tiles.output, tiles.apart, self.group)

    def _decode(self, C: Any, K: Any, L: Any, P: Any, W: Any, lead: Any) -> Any:
        """The call that decodes a group of blocks, from `lead` on."""
        codes, count = self.codes, self._grouped().count(lead)
        values = (P.data,) if codes.paired else (L.data,) if codes.tabled else (codes.stride, codes.least)
        name = "paired_blocks" if codes.paired else f"{'tabled_' if codes.tabled else ''}blocks_{codes.bits}"
        if self.shared:
            return call("shared_" + name, T.address_of(C[lead, 0]), W.data, count, *values, T.address_of(K[lead, 0]))
        return call(name, T.address_of(C[lead, 0]), W.data, count, *values)

    def _once(self) -> tuple[Any, Any]:
        """TIR macros (X, A), which widens all rows, and (X, W, M, S, Y, A, lead), for their products."""
        rows, k = self.inner.image
        tile = self._grouped().macro(rows)

        def starts(buffer: Any) -> list[Any]:
            return [T.address_of(buffer[row, 0]) for row in range(rows)]

        @T.macro
        def widen(X, A):
            T.evaluate(call(f"widen_{rows}", A.data, *starts(X), k))

        @T.macro
        def products(X, W, M, S, Y, A, lead):
            tile(A, 0, W, M, S, Y, 0, lead)

        return widen, products

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Some of all weights that the codes can hold; with a table, powers of two and zero."""
        x, packed, *rescaling = self.inner.example(rng)
        channels = packing.unpack(packed, 4 * self.blocks)
        levels = subbyte.sample_levels(self.codes)
        chosen = levels[rng.integers(0, len(levels), channels.w.shape)]
        w = np.where(used_taps(self.inner), chosen, 0).astype(np.int8)
        packed[:, packing.HEADER : -packing.SCALE] = packing.weight_words(w)
        return x, *coded(packed, self.codes), *rescaling


def used_taps(inner: GemmDsp | ConvDsp) -> Array:
    """bool [1, taps]: which of a block's taps meet elements of x."""
    rows, elements = (1, inner.k) if isinstance(inner, GemmDsp) else (inner.plain.kernel[0], inner.run)
    used: Array = packing.in_widened_order(np.ones((1, rows, elements), np.int8), inner.taps) != 0
    return used


def weight_bytes(packed: Int32) -> Int8:
    """The weights of packed blocks: int8 [blocks, words, 4], each word's two taps of two channels."""
    count, taps = len(packed), int(packed[0, 0]) & 0xFFFF
    w = packing.unpack(packed, packing.CHANNELS * count).w.reshape(count, 2, 2, taps // 2, 2)
    return np.ascontiguousarray(w.transpose(0, 3, 1, 4, 2)).reshape(count, taps, 4)


def coded(packed: Int32, codes: SubbyteCodes) -> tuple[Array, ...]:
    """Packed blocks with codes for weights, and the table where there is one."""
    found, table = codes.of(weight_bytes(packed))
    head, tail = packed[:, : packing.HEADER], packed[:, -packing.SCALE :]
    stored = np.concatenate([head, codes.pack(found), tail], axis=1)
    return (stored, table) if codes.tabled else (stored,)


def decoded(stored: Int32, table: Int8, codes: SubbyteCodes) -> Int32:
    """The packed blocks that `coded` was given."""
    head, tail = stored[:, : packing.HEADER], stored[:, -packing.SCALE :]
    values = codes.values(codes.unpack(stored[:, packing.HEADER : -packing.SCALE]), table)
    count, taps = values.shape[:2]
    w = values.reshape(count, taps // 2, 2, 2, 2).transpose(0, 2, 4, 1, 3).reshape(-1, taps)
    return np.concatenate([head, packing.weight_words(w), tail], axis=1)


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: what int8 tiles take, with weights that are smaller as codes."""
    if not isinstance(call.kernel, Gemm | Conv):
        return "no sums of products"
    taken = lifted(call)
    found = tiled(taken, target)
    if not isinstance(found, Special):
        taken, found = call, tiled(call, target)
    if not isinstance(found, Special):
        return found
    packed, *rescaling = found.constants
    codes = subbyte.codes_for(weight_bytes(packed), taken.occurring(taken.constants[0]))
    if isinstance(codes, str):
        return codes
    assert isinstance(found.kernel, GemmDsp | ConvDsp)
    return Special(SubbyteTilesDsp(found.kernel, codes), (*coded(packed, codes), *rescaling))


def tiled(call: Call, target: Target) -> Special | str:
    """What int8 tiles make of the call."""
    found = gemm_dsp.specialize(call, target)
    return found if isinstance(found, Special) else conv_dsp.specialize(call, target)


def lifted(call: Call) -> Call:
    """`call` with sums that are larger by a power of two, where blocks of int8 results cannot store a ratio otherwise.

    Sums of such weights are small and their ratios large. As the ratios shrink with what the weights gain,

        round(2**r * sum * multiplier / 2**(shift + r)) = round(sum * multiplier / 2**shift)

    holds for every sum. Decoding gives the factor for nothing, as long as weights stay within eight bits.
    """
    assert isinstance(call.kernel, Conv | Gemm)
    if call.kernel.output.even or call.kernel.output.dtype != "int8":  # blocks store no such ratio
        return call
    given = gemm_dsp.channels_of(call)
    least = np.where(np.arange(len(given.shift)) % 2, UPPER_WORD - packing.HIGH_BITS, UPPER_WORD)
    raised = max(0, int((least - given.shift).max()))
    w, bias = given.w.astype(np.int64) << raised, given.bias.astype(np.int64) << raised
    shift = given.shift.astype(np.int64) + raised
    if raised == 0 or abs(w).max() > 127 or abs(bias).max() >= 2**31 or shift.max() > MAX_SHIFT:
        return call
    shaped = w.astype(np.int8).reshape(call.constants[0].shape)
    known = call.weights and Weights(shaped, call.weights.coded.times(2**raised))
    constants = (shaped, bias.astype(np.int32), given.multiplier, shift.astype(np.int8))
    return replace(call, constants=constants, weights=known)


def cases() -> Iterable[SubbyteTilesDsp]:
    """Every width, tables, one, two and more rows, several groups, broken blocks, bounds, ratios of every kind."""
    relu = Output(zero_point=-128)
    odd = Output(zero_point=3, low=-20, high=90)
    for bits in range(1, subbyte.MAX_BITS + 1):
        least = -(2 ** (bits - 1))
        yield SubbyteTilesDsp(GemmDsp(rows=5, k=34, n=6, output=odd), SubbyteCodes(bits, least=least))
        yield SubbyteTilesDsp(GemmDsp(rows=2, k=9, n=4, output=relu), SubbyteCodes(bits, tabled=True))
    yield SubbyteTilesDsp(GemmDsp(rows=1, k=300, n=18, output=odd), SubbyteCodes(4, least=-8))
    yield SubbyteTilesDsp(GemmDsp(rows=2, k=200, n=30, output=relu), SubbyteCodes(3, least=-4))
    yield SubbyteTilesDsp(GemmDsp(rows=3, k=512, n=27, output=odd), SubbyteCodes(4, stride=3, least=-24))
    yield SubbyteTilesDsp(GemmDsp(rows=3, k=512, n=27, output=odd, apart=True), SubbyteCodes(2, least=-2))
    yield SubbyteTilesDsp(GemmDsp(rows=1, k=300, n=18, output=odd, apart=True), SubbyteCodes(4, tabled=True))
    wide = Output(-300, -2000, 2**15 - 1, "int16")
    yield SubbyteTilesDsp(GemmDsp(rows=5, k=35, n=9, output=wide, apart=True), SubbyteCodes(4, least=-8))
    yield SubbyteTilesDsp(GemmDsp(rows=1, k=300, n=18, output=wide, apart=True), SubbyteCodes(3, tabled=True))
    even = Output(-3, even=True)
    yield SubbyteTilesDsp(GemmDsp(rows=21, k=16, n=27, output=even, apart=True), SubbyteCodes(4, least=-8))
    yield SubbyteTilesDsp(GemmDsp(rows=4, k=16, n=12, output=relu), SubbyteCodes(1, stride=2, least=-1))

    def conv(size: tuple[int, int], channels: tuple[int, int], codes: SubbyteCodes, **changes: Any) -> SubbyteTilesDsp:
        plain: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": 1}
        plain |= {"x_zero_point": -128, "output": relu, "batch": 1, "kernel": (3, 3)}
        apart = changes.pop("apart", False)
        return SubbyteTilesDsp(
            ConvDsp(Conv(height=size[0], width=size[1], channels_in=channels[0], channels_out=channels[1],
                         **(plain | changes)), apart), codes,
        )  # fmt: skip

    yield conv((6, 5), (16, 16), SubbyteCodes(4, least=-8))
    yield conv((5, 4), (64, 22), SubbyteCodes(3, least=-4), output=odd)
    yield conv((5, 4), (64, 22), SubbyteCodes(4, tabled=True), output=odd, apart=True)
    yield conv((5, 4), (16, 22), SubbyteCodes(4, least=-8), output=wide, apart=True)
    yield conv((9, 8), (3, 8), SubbyteCodes(2, least=-2), strides=(2, 2), x_zero_point=127, batch=2)
