"""Gemm and Conv for the DSP extension whose weights another call of the program has too: stored once.

A block of packed weights holds what differs from call to call beside what does not: the bias, which carries the input's
zero point, multipliers, shifts and the output's zero point. Here these ten words of a block have an array of their own,

    inner    bias | weights | multipliers, shifts        a call
    shared   weights                                     all calls
             bias | multipliers, shifts                  a call

at the price of five instructions for each block and pair of pixels. `backends/cortex_m/shared_weights.py` says where.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bevel.backends.cortex_m.dsp import conv_dsp, gemm_dsp
from bevel.backends.cortex_m.dsp.conv_dsp import ConvDsp
from bevel.backends.cortex_m.dsp.gemm_dsp import GemmDsp
from bevel.backends.cortex_m.dsp.tiles import HEADER, SharedTiles
from bevel.backends.encodings import packing
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array, Op, Operand, constant
from bevel.backends.program.resources import Resources
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import without


@dataclass(frozen=True)
class SharedTilesDsp(Kernel):
    """`inner` with its packed blocks in two: weights: int32 [blocks, taps] and scales: int32 [blocks, SCALES]."""

    inner: GemmDsp | ConvDsp

    @property
    def tiles(self) -> SharedTiles:
        tiles = self.inner.tiles
        return SharedTiles(tiles.channels, tiles.taps, tiles.widened, tiles.output, tiles.apart)

    def operands(self) -> tuple[Operand, ...]:
        x, packed, *others = self.inner.operands()
        blocks = packed.shape[0]
        return (
            x,
            constant("weights", (blocks, self.tiles.taps), "int32"),
            constant("scales", (blocks, packing.SCALES), "int32"),
            *others,
        )

    def estimate(self) -> Resources:
        return self.inner.estimate()

    @property
    def op(self) -> Op:
        return self.inner.op

    @property
    def header(self) -> str:
        return HEADER

    def reference(self, *arrays: Array) -> Array:
        x, weights, scales, *rescaling = arrays
        return self.inner.reference(x, packing.joined(weights, scales), *rescaling)

    def build(self, name: str) -> Any:
        tiles, image, pixels = self.tiles, self.inner.image, self.inner.pixels(self.tiles)
        blocks, taps, channels, scratch = (
            packing.blocks(tiles.channels),
            tiles.taps,
            tiles.channels,
            tiles.scratch_words,
        )
        y = self.inner.operands()[-2]

        @T.prim_func(s_tir=True)
        def shared_tiles(
            X: T.Buffer(image, "int8"),
            W: T.Buffer((blocks, taps), "int32"),
            K: T.Buffer((blocks, packing.SCALES), "int32"),
            M: T.Buffer((channels,), "int32"),
            S: T.Buffer((channels,), "int8"),
            Y: T.Buffer((y.size,), y.dtype),
            A: T.Buffer((scratch,), "int32"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            pixels(X, (W, K), M, S, Y, A, 0)

        return shared_tiles if tiles.apart else without(shared_tiles, ("M", "S"))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, packed, *rescaling = self.inner.example(rng)
        return x, *packing.split(packed), *rescaling


def cases() -> Iterable[SharedTilesDsp]:
    """All that blocks of one call are tried with."""
    yield from (SharedTilesDsp(inner) for module in (gemm_dsp, conv_dsp) for inner in module.cases())
