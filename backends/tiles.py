"""How kernels call `kernels/c/bevel_tiles.h`: products of one or two widened pixels with blocks of four channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T

from bevel.backends import arithmetic as tir
from bevel.backends import packing
from bevel.calib.arithmetic import Output

HEADER = "bevel_tiles.h"
WHOLE = (-128, 127)  # the bounds that saturation to int8 keeps anyway


def call(name: str, *arguments: Any) -> Any:
    return tirx.call_extern("void", f"bevel_{name}", *arguments)


@dataclass(frozen=True)
class Tiles:
    """All output channels of one or two pixels: `taps` widened elements a pixel, blocks as `packing.pack` makes them.

    `apart` has sums brought out and requantized by the general formula, for ratios that a block cannot store.
    """

    channels: int
    taps: int
    output: Output
    apart: bool

    @property
    def full(self) -> int:
        """Blocks all of whose channels exist."""
        return self.channels // packing.CHANNELS

    @property
    def rest(self) -> int:
        """Channels of the last block, where it is not full."""
        return self.channels % packing.CHANNELS

    @property
    def clamped(self) -> bool:
        """Whether outputs that a tile has stored must be held to tighter bounds."""
        return not self.apart and (self.output.low, self.output.high) != WHOLE

    def macro(self, lanes: int) -> Any:
        """A TIR macro (A, W, M, S, Y, place) for `lanes` neighbouring pixels.

        A points to their widened elements, Y is flat, and the first pixel's outputs go to Y[place]. M and S are read
        when `apart` only.
        """
        return self._requantized_apart(lanes) if self.apart else self._requantized_inside(lanes)

    def _requantized_inside(self, lanes: int) -> Any:
        tile, full, rest, clamped = f"outputs_{lanes}x4", self.full, self.rest, self.clamped
        channels, low, high = self.channels, self.output.low, self.output.high

        def places(buffer: Any, start: Any, step: int) -> list[Any]:
            return [T.address_of(buffer[start + lane * step]) for lane in range(lanes)]

        @T.macro
        def outputs(A, W, M, S, Y, place):  # type: ignore[no-untyped-def]
            for block in T.serial(full):
                T.evaluate(call(tile, A, T.address_of(W[block, 0]), *places(Y, place + block * 4, channels)))
            if rest > 0:
                Q = T.alloc_buffer((8,), "int8")
                T.evaluate(call(tile, A, T.address_of(W[full, 0]), *places(Q, 0, 4)))
                for lane in T.unroll(lanes):
                    for u in T.unroll(rest):
                        Y[place + lane * channels + full * 4 + u] = Q[lane * 4 + u]
            if clamped:
                T.evaluate(call("clamp", T.address_of(Y[place]), lanes * channels, low, high))

        return outputs

    def _requantized_apart(self, lanes: int) -> Any:
        tile, channels, output = f"sums_{lanes}x4", self.channels, self.output
        blocks = packing.blocks(channels)

        def places(buffer: Any) -> list[Any]:
            return [T.address_of(buffer[lane * 4]) for lane in range(lanes)]

        @T.macro
        def outputs(A, W, M, S, Y, place):  # type: ignore[no-untyped-def]
            for block in T.serial(blocks):
                Q = T.alloc_buffer((8,), "int32")
                T.evaluate(call(tile, A, T.address_of(W[block, 0]), *places(Q)))
                for u in T.serial(T.min(4, channels - block * 4)):
                    for lane in T.unroll(lanes):
                        channel = T.meta_var(block * 4 + u)
                        Y[place + lane * channels + channel] = tir.requantize(
                            Q[lane * 4 + u], M[channel], S[channel], output
                        )

        return outputs
