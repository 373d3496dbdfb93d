"""Conv of 3x3 for WebAssembly, transformed (`bevel.backends.vectors.winograd`): a quarter of the products.

What that is worth is up to the shape, so its instructions are estimated by what is transformed. Counted by wasmtime's
fuel, 25 shapes of 8 to 160 channels, 4x4 to 56x56 pixels, take 0.89 to 1.11 times what is estimated; V8's times tell
the same: where products prevail 0.3 of those of `DotsWasm`, and as long where estimates are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from bevel.backends.encodings.quads import BLOCK, PAIR, QUAD
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Operand
from bevel.backends.program.ops import conv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.program.resources import Resource, Resources
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors import windows, winograd
from bevel.backends.vectors.packed import of_type
from bevel.backends.vectors.windows import Windows
from bevel.backends.vectors.winograd import PLACES, TransformedTiles
from bevel.backends.wasm.simd.dots_wasm import LARGEST, DotsWasm, refused
from bevel.backends.wasm.simd.lanes import HALFWORDS, WORDS, pair_everywhere, products, store_words, widened
from bevel.backends.wasm.simd.rescaling import requantized
from bevel.backends.wasm.simd.tiles import WasmTile
from bevel.calib.arithmetic.requantize import Output

VECTORS = BLOCK // WORDS  # of a block
REGISTERS = 4, 2  # tiles and vectors: eight sums, and what they are made of
GAP = 32  # int16: a line of a cache, so that the 36 places do not meet in one set of it
# Instructions: of a pair's products with a vector of channels at one place; of a tile's eight channels, inputs; of its
# vector of channels, outputs; of a pair with a vector, weights.
OF_PRODUCTS, OF_INPUTS, OF_OUTPUTS, OF_WEIGHTS = 10.8, 1450.0, 550.0, 440.0
CODE = 8_000


@dataclass(frozen=True)
class WasmTiles(TransformedTiles):
    @property
    def words(self) -> int:
        return WORDS

    @property
    def registers(self) -> tuple[int, int]:
        return REGISTERS

    @property
    def gap(self) -> int:
        return GAP

    @property
    def instructions(self) -> float:
        """About, of all images."""
        (down, across), (quads, blocks) = self.tiles, self.steps
        pairs, vectors = quads * (QUAD // PAIR), blocks_of(self.plain.channels_out, WORDS)
        products = OF_PRODUCTS * PLACES * pairs * vectors
        of_tile = products + OF_INPUTS * self.plain.channels_in / HALFWORDS + OF_OUTPUTS * vectors
        strips = down // self.rows
        return self.plain.batch * (down * across * of_tile + OF_WEIGHTS * pairs * blocks * VECTORS * strips)

    def each(self, count: int, body: Callable[[Any], None]) -> None:
        """One after the other: code takes a quarter."""
        with statements.serial(count) as vector:
            body(vector)

    def products(self, tiles: Any, place: Any, w: Any) -> Any:
        return products(pair_everywhere(tiles, place), w)

    def tap(self, w: Any, block: Any, quad: Any, pair: int, vector: Any, tap: tuple[int, int]) -> Any:
        (row, column), pairs = tap, self.plain.channels_in // PAIR
        step = (row * winograd.TAPS + column) * pairs + quad * (QUAD // PAIR) + pair
        stored_at = (block * winograd.TAPS**2 * pairs + step) * VECTORS + vector
        return widened(w, stored_at * HALFWORDS)


@dataclass(frozen=True)
class WinogradWasm(DotsWasm):
    """Constants as those of `DotsWasm`, in blocks of 16 channels; the image in scratch is of bytes."""

    plain: Conv

    @cached_property
    def windows(self) -> Windows:
        return of_type(windows.of(self.plain), "int8")

    @cached_property
    def tile_size(self) -> WasmTile:
        """Of the weights that lie side by side."""
        return WasmTile(1, VECTORS)

    @property
    def tiles(self) -> WasmTiles:
        return WasmTiles(self.plain, self.windows)

    @property
    def image(self) -> tuple[Operand, ...]:
        return self.tiles.image.operand(0), *self.tiles.operands()

    def estimate(self) -> Resources:
        return Resources({Resource.INSTRUCTIONS: self.tiles.instructions, Resource.FLASH: CODE})

    def copy_and_loop(self, buffers: tuple[Any, ...]) -> None:
        x, w, bias, scale, y, image, *others = buffers
        output = self.plain.output

        def write(sums: Any, place: Any, pixel: Any, block: Any, count: int) -> None:
            words = []
            for first in range(0, count, WORDS):
                by = scale[T.ramp(block * BLOCK + first, 1, WORDS)]
                words.append(requantized(sums[T.ramp(place + first, 1, WORDS)], by, output))
            store_words(y, pixel * self.channels + block * BLOCK, words, count, output)

        self.tiles.image.copy(image, x)
        rows, tiles, wide, sums = others
        self.tiles.build((image, w, bias), (rows, tiles, wide, sums), write)


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, Conv) or not winograd.possible(plain):
        return "no Conv of 3x3 with quads of channels"
    if not winograd.within(call.constants[0], LARGEST):
        return "sums of its products may take more than 25 bits"
    kernel = WinogradWasm(plain)
    return refused(plain, call, target) or Special(kernel, kernel.packed(*call.constants))


def cases() -> Iterable[WinogradWasm]:
    """Tiles cut off at both edges, whole ones, several images, strips and blocks; outputs of other types."""
    base = replace(next(iter(conv.cases())), height=7, width=11, kernel=(3, 3), pads=(1, 1, 1, 1), x_zero_point=-7)
    small = replace(base, channels_in=8, channels_out=16)
    yield WinogradWasm(small)
    yield WinogradWasm(replace(small, channels_in=20, channels_out=47, batch=2))
    yield WinogradWasm(replace(small, channels_in=36, channels_out=8, height=6, width=10, pads=(0, 0, 0, 0)))
    yield WinogradWasm(replace(small, height=30, width=40, channels_out=24))
    yield WinogradWasm(replace(small, height=16, width=19, channels_in=80, channels_out=72))
    for output in (Output(-700, -(2**15), 2**15 - 1, "int16"), Output(9, -20, 90)):
        yield WinogradWasm(replace(small, channels_in=12, channels_out=21, output=output))
