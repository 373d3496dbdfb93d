"""3x3 convolutions transformed (`bevel.backends.vectors.winograd`), for AVX2 and for AVX-VNNI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bevel.backends.cpu.x86.outputs import BlockSums, Results
from bevel.backends.cpu.x86.pairs import OWN_PAIRS
from bevel.backends.encodings.quads import BLOCK, BYTES, PAIR, QUAD
from bevel.backends.tir.lazy import T
from bevel.backends.vectors.expressions import shuffled
from bevel.backends.vectors.windows import Buffers
from bevel.backends.vectors.winograd import PLACES, TAPS, TransformedTiles

WORDS = OWN_PAIRS.words
# Cycles, measured on a processor that adds up 8 products in each: of a quad of channels with a block, transformed
# weights; of a tile with a block, its outputs; of a tile's quad of channels, its inputs.
OF_WEIGHTS, OF_OUTPUTS, OF_INPUTS = 500, 600, 100
# Where there is AVX-VNNI: of a quad's products with a block, of bytes and of int16, and what the cycles above become.
OF_BYTES, OF_PAIRS, QUICKER = 1, 2, 1 / 2


@dataclass(frozen=True)
class Winograd(TransformedTiles):
    """together: blocks of channels whose weights lie side by side."""

    together: int

    @property
    def words(self) -> int:
        return WORDS

    @property
    def registers(self) -> tuple[int, int]:
        return 4, BLOCK // WORDS

    @property
    def worth(self) -> bool:
        """Whether what is transformed takes less than the products that it saves."""
        a_quad = QUAD * BLOCK // WORDS
        return self.cycles(1, a_quad) < a_quad * self.windows_of_quads

    @property
    def beats_bytes(self) -> bool:
        """Whether it takes less than AVX-VNNI's products of bytes."""
        return self.cycles(QUICKER, OF_PAIRS) < OF_BYTES * self.windows_of_quads

    @property
    def windows_of_quads(self) -> int:
        """Products of a quad with a block that are made where nothing is transformed."""
        (rows, columns), (quads, blocks) = self.plain.positions, self.steps
        return quads * blocks * TAPS * TAPS * rows * columns

    def cycles(self, scale: float, a_quad: int) -> float:
        """Of an image. scale: of what is transformed; a_quad: of its products with a block."""
        (down, across), (quads, blocks) = self.tiles, self.steps
        of_tiles = down * across * (OF_OUTPUTS * blocks + OF_INPUTS * quads)
        transformed = OF_WEIGHTS * quads * blocks * down // self.rows + of_tiles
        return scale * transformed + a_quad * quads * blocks * PLACES * down * across

    def tap(self, w: Any, block: Any, quad: Any, pair: int, vector: Any, tap: tuple[int, int]) -> Any:
        (row, column), windows = tap, self.windows
        step = row * windows.quads + column * (self.plain.channels_in // QUAD) + quad
        of = (block // self.together * windows.segments * windows.quads + step) * self.together + block % self.together
        taken = w[T.ramp(of * BYTES + vector * WORDS * QUAD, 1, WORDS * QUAD)]
        places = [word * QUAD + pair * PAIR + one for word in range(WORDS) for one in range(PAIR)]
        return T.cast(shuffled([taken], places), f"int16x{WORDS * PAIR}")

    def products(self, tiles: Any, place: Any, w: Any) -> Any:
        return OWN_PAIRS.products(OWN_PAIRS.spread(tiles, place), w)

    def loops(self, at: Buffers, buffers: tuple[Any, Any, Any, Any], results: Results) -> None:
        """TIR of all outputs; buffers: those of `operands`."""

        def write(sums: Any, place: Any, pixel: Any, block: Any, count: int) -> None:
            words = sums[T.ramp(place, 1, BLOCK)]
            first = pixel * self.plain.channels_out + block * BLOCK
            results.store(at.y, first, [BlockSums(words, block, 0, count)])

        self.build((at.image, at.weights, at.bias), buffers, write)
