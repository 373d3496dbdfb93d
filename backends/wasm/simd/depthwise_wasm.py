"""Depthwise Conv for WebAssembly: eight channels of two taps, interleaved, meet pairs of weights in two products."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import Any, ClassVar

import numpy as np

from bevel.backends.encodings.quads import PAIR
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Operand, constant
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors import windows
from bevel.backends.vectors.depthwise_rows import depthwise_of, plain_cases
from bevel.backends.vectors.expressions import shuffled
from bevel.backends.vectors.packed import PackedWindows, Place, of_type, over_tiles
from bevel.backends.vectors.windows import Windows
from bevel.backends.wasm.simd import rescaling
from bevel.backends.wasm.simd.dots_wasm import refused
from bevel.backends.wasm.simd.lanes import HALFWORDS, WORDS, dot, store_words, widened
from bevel.backends.wasm.simd.rescaling import requantized
from bevel.calib.arithmetic.requantize import Int8, Int32

PIXELS = 3  # of a tile
HALVES = HALFWORDS // WORDS


@dataclass(frozen=True)
class DepthwiseWasm(PackedWindows):
    """w: int8 [blocks, pairs of taps, 8, 2]; bias: int32 and scale: float64 [blocks * 2, 4]."""

    rates: ClassVar[Rates] = Rates(mac=1.85, byte=0.81, code=3000)

    plain: Conv

    @cached_property
    def windows(self) -> Windows:
        return of_type(windows.of_conv(self.plain, flat=False), "int16")

    @property
    def blocks(self) -> int:
        """Of eight channels."""
        return blocks_of(self.channels, HALFWORDS)

    @property
    def pairs(self) -> int:
        """Of taps, the last one perhaps of one."""
        return blocks_of(self.plain.taps, PAIR)

    @property
    def slack(self) -> int:
        """Channels that do not exist, behind the last pixel."""
        return self.blocks * HALFWORDS - self.channels

    def operands(self) -> tuple[Operand, ...]:
        x, *_, y = self.plain.operands()
        w = constant("w", (self.blocks, self.pairs, HALFWORDS, PAIR), "int8")
        return x, w, *rescaling.operands(self.blocks * HALFWORDS), y, *self.image

    def packed(self, w: Int8, bias: Int32, multiplier: Int32, shift: Int8) -> tuple[Array, ...]:
        room = (0, self.slack)
        taps = np.pad(w.reshape(self.channels, -1), (room, (0, self.pairs * PAIR - self.plain.taps)))
        split = taps.reshape(self.blocks, HALFWORDS, self.pairs, PAIR).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(split), *rescaling.pack(
            np.pad(bias, room), np.pad(multiplier, room), np.pad(shift, room)
        )

    def unpacked(self, *constants: Array) -> tuple[Array, ...]:
        packed, *others = constants
        taps = packed.transpose(0, 2, 1, 3).reshape(self.blocks * HALFWORDS, -1)[: self.channels, : self.plain.taps]
        return taps.reshape(self.plain.operands()[1].shape), *rescaling.unpack(others, self.channels)

    def loops(self, at: tuple[Any, ...]) -> None:
        over_tiles(self.windows, self.channels, HALFWORDS, PIXELS, partial(self.tile, at))

    def tile(self, at: tuple[Any, ...], place: Place, block: Any, channels: int, pixels: int) -> None:
        """TIR of neighbouring pixels, from (image, row, column) on."""
        image, w, bias, scale, y = at
        (one, row, column), where, p = place, self.windows, self.plain
        sums = statements.alloc_buffer((pixels * HALFWORDS,), "int32", scope="local")
        index = {
            key: T.ramp(number * WORDS, 1, WORDS) for number, key in enumerate(product(range(pixels), range(HALVES)))
        }
        for (_, half), total in index.items():
            statements.buffer_store(sums, bias[T.ramp(block * HALFWORDS + half * WORDS, 1, WORDS)], [total])
        source = one * where.image.bytes + row * where.down + column * where.right + block * HALFWORDS
        places = [
            i * p.dilations[0] * where.image.pitch + j * p.dilations[1] * p.channels_in
            for i, j in product(*map(range, p.kernel))
        ]
        for pair in range(self.pairs):
            first, second = places[pair * PAIR], places[min(pair * PAIR + 1, len(places) - 1)]
            for (pixel, half), total in index.items():
                both = [widened(image, source + pixel * where.right + tap) for tap in (first, second)]
                mixed = shuffled(both, [half * WORDS + lane // 2 + lane % 2 * HALFWORDS for lane in range(HALFWORDS)])
                factors = widened(w, ((block * self.pairs + pair) * HALVES + half) * HALFWORDS)
                statements.buffer_store(sums, dot(sums[total], mixed, factors), [total])
        for (_, half), total in index.items():
            by = scale[T.ramp(block * HALFWORDS + half * WORDS, 1, WORDS)]
            statements.buffer_store(sums, requantized(sums[total], by, p.output), [total])
        result = ((one * where.rows + row) * where.columns + column) * p.channels_in + block * HALFWORDS
        for pixel in range(pixels):
            words = [sums[index[pixel, half]] for half in range(blocks_of(channels, WORDS))]
            store_words(y, result + pixel * p.channels_in, words, channels, p.output)


def specialize(call: Call, target: Target) -> Special | str:
    plain = depthwise_of(call.kernel)
    if isinstance(plain, str):
        return plain
    kernel = DepthwiseWasm(plain)
    return refused(plain, call, target) or Special(kernel, kernel.packed(*call.constants))


def cases() -> Iterable[DepthwiseWasm]:
    yield from map(DepthwiseWasm, plain_cases())
