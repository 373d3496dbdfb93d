"""How kernels call `backends/cortex_m/c/bevel_tiles.h`: one or two widened pixels times blocks of four channels."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from bevel.backends.encodings import packing
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Operand, Role, constant
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import without
from bevel.calib.arithmetic.requantize import Output

HEADER = "bevel_tiles.h"
LANES = 2  # pixels of the larger tile
WHOLE = (-128, 127)  # the bounds that saturation to int8 keeps anyway


def call(name: str, *arguments: Any) -> Any:
    return tirx.call_extern("void", f"bevel_{name}", *arguments)


@dataclass(frozen=True)
class Tiles:
    """All output channels of one or two pixels: `taps` widened elements a pixel, blocks as `packing.pack` makes them.

    Where `apart`, for ratios that a block cannot store, sums are brought out and requantized by the general formula.
    They lie in scratch behind `widened` words.
    """

    channels: int
    taps: int
    widened: int
    output: Output
    apart: bool

    @property
    def scratch_words(self) -> int:
        return self.widened + (LANES * packing.CHANNELS if self.apart else 0)

    @property
    def clamped(self) -> bool:
        """Whether outputs that a tile has stored must be held to tighter bounds."""
        return not self.apart and (self.output.low, self.output.high) != WHOLE

    def macro(self, lanes: int) -> Any:
        """A TIR macro (A, at, W, M, S, Y, place, lead) for `lanes` neighbouring pixels.

        Their widened elements start at A[at]. Y is flat, and the first pixel's outputs go to Y[place]. M and S are
        read when `apart` only. `lead` is the number of W's first block: 0, as all are there.
        """
        return self._requantized_apart(lanes) if self.apart else self._requantized_inside(lanes)

    @property
    def prefix(self) -> str:
        """What the names of the functions for a block begin with,"""
        return ""

    def block(self, W: Any, index: Any) -> Any:
        """the block that they take behind the activations,"""
        return T.address_of(W[index, 0])

    def weights(self, W: Any, index: Any) -> list[Any]:
        """and what they take behind the places of results."""
        return []

    def _requantized_inside(self, lanes: int) -> Any:
        tile, channels, clamped, low, high = (
            f"{lanes}x4",
            self.channels,
            self.clamped,
            self.output.low,
            self.output.high,
        )
        full, rest = divmod(channels, packing.CHANNELS)
        prefix, of_block, weights = self.prefix, self.block, self.weights

        def places(buffer: Any, start: Any) -> list[Any]:
            return [T.address_of(buffer[start + lane * channels]) for lane in range(lanes)]

        @T.macro
        def outputs(A, at, W, M, S, Y, place, lead):
            for block in T.serial(full):
                T.evaluate(
                    call(
                        prefix + "outputs_" + tile,
                        T.address_of(A[at]),
                        of_block(W, block),
                        *places(Y, place + block * 4),
                        *weights(W, block),
                    )
                )
            if rest > 0:
                T.evaluate(
                    call(
                        prefix + "rest_" + tile,
                        T.address_of(A[at]),
                        of_block(W, full),
                        *places(Y, place + full * 4),
                        *weights(W, full),
                        rest,
                    )
                )
            if clamped:
                T.evaluate(call("clamp", T.address_of(Y[place]), lanes * channels, low, high))

        return outputs

    def _requantized_apart(self, lanes: int) -> Any:
        name, channels, output, sums = f"{self.prefix}sums_{lanes}x4", self.channels, self.output, self.widened
        blocks, of_block, weights = packing.blocks(channels), self.block, self.weights

        def places(buffer: Any) -> list[Any]:
            return [T.address_of(buffer[sums + lane * 4]) for lane in range(lanes)]

        @T.macro
        def outputs(A, at, W, M, S, Y, place, lead):
            for block in T.serial(blocks):
                T.evaluate(call(name, T.address_of(A[at]), of_block(W, block), *places(A), *weights(W, block)))
                for u in T.serial(T.min(4, channels - block * 4)):
                    for lane in T.unroll(lanes):
                        channel = T.meta_var(block * 4 + u)
                        Y[place + lane * channels + channel] = tir.requantize(
                            A[sums + lane * 4 + u], M[channel], S[channel], output
                        )

        return outputs


@dataclass(frozen=True)
class SharedTiles(Tiles):
    """`Tiles` whose macros take (weights, scales) for W: the weights of all blocks, and what lies around them."""

    @property
    def prefix(self) -> str:
        return "shared_"

    def block(self, W: Any, index: Any) -> Any:
        return T.address_of(W[1][index, 0])

    def weights(self, W: Any, index: Any) -> list[Any]:
        return [T.address_of(W[0][index, 0])]


@dataclass(frozen=True)
class Tiled(Kernel):
    """A kernel of tiles: x; packed: int32 [blocks, words]; where ratios are apart, multiplier: int32 [channels] and
    shift: int8 [channels]; y; and scratch."""

    @property
    @abstractmethod
    def tiles(self) -> Tiles:
        """Of all pixels."""

    @property
    @abstractmethod
    def image(self) -> tuple[int, int]:
        """X's shape where `pixels` reads it."""

    @abstractmethod
    def pixels(self, tiles: Tiles) -> Any:
        """A TIR macro (X, W, M, S, Y, A, lead): all outputs of W's blocks, from `lead` on."""

    @property
    def header(self) -> str:
        return HEADER

    def packed_operands(self) -> tuple[Operand, ...]:
        tiles = self.tiles
        packed = constant("packed", (packing.blocks(tiles.channels), packing.block_words(tiles.taps)), "int32")
        rescaling = (constant("multiplier", (tiles.channels,), "int32"), constant("shift", (tiles.channels,), "int8"))
        return (packed, *rescaling) if tiles.apart else (packed,)

    def build(self, name: str) -> Any:
        tiles, image, pixels = self.tiles, self.image, self.pixels(self.tiles)
        packed, (y,), (strip,) = self.packed_operands()[0], self.roles(Role.OUTPUT), self.roles(Role.SCRATCH)

        @T.prim_func(s_tir=True)
        def tiled(
            X: T.Buffer(image, "int8"),
            W: T.Buffer(packed.shape, "int32"),
            M: T.Buffer((tiles.channels,), "int32"),
            S: T.Buffer((tiles.channels,), "int8"),
            Y: T.Buffer((y.size,), y.dtype),
            A: T.Buffer(strip.shape, "int32"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            pixels(X, W, M, S, Y, A, 0)

        return tiled if tiles.apart else without(tiled, ("M", "S"))
