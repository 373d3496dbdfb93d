"""Conv and Gemm for WebAssembly: dot products of pairs of a window by pairs of weights of four channels.

The image is int16 in scratch, so that one load brings a pair to all words of a vector; weights are bytes, which the
load of a vector widens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from typing import Any, ClassVar

import numpy as np

from bevel.backends.encodings.quads import PAIR
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Operand, constant
from bevel.backends.program.ops import conv, gemm
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors import windows
from bevel.backends.vectors.packed import PackedWindows, Place, of_type, over_tiles
from bevel.backends.vectors.windows import Windows
from bevel.backends.vectors.words import reach_of
from bevel.backends.wasm.simd import rescaling
from bevel.backends.wasm.simd.lanes import HALFWORDS, WORDS, dot, not_here, pair_everywhere, store_words, widened
from bevel.backends.wasm.simd.rescaling import requantized
from bevel.backends.wasm.simd.tiles import WasmTile, best_tile
from bevel.calib.arithmetic.requantize import Int8, Int32

LARGEST = 2**7  # of an input


@dataclass(frozen=True)
class DotsWasm(PackedWindows):
    """w: int8 [groups, blocks, pairs, vectors, 4, 2]; bias: int32 and scale: float64 [groups, blocks * vectors, 4]."""

    rates: ClassVar[Rates] = Rates(mac=0.95, output=7, call=100, code=3000)

    @cached_property
    def windows(self) -> Windows:
        return of_type(windows.of(self.plain), "int16")

    @property
    def groups(self) -> int:
        return self.plain.groups if isinstance(self.plain, Conv) else 1

    @property
    def own_channels(self) -> int:
        """Of the output, of one group."""
        return self.channels // self.groups

    @cached_property
    def tile_size(self) -> WasmTile:
        return best_tile(self.windows.columns, blocks_of(self.own_channels, WORDS))

    @property
    def block(self) -> int:
        """Channels of a tile."""
        return self.tile_size.vectors * WORDS

    @property
    def room(self) -> int:
        """Channels of a group, and those that fill its last block up."""
        return blocks_of(self.own_channels, self.block) * self.block

    @property
    def pairs(self) -> int:
        """Of one segment."""
        return blocks_of(self.windows.size, PAIR)

    @property
    def steps(self) -> int:
        """Pairs of a window."""
        return self.windows.segments * self.pairs

    @property
    def slack(self) -> int:
        return self.pairs * PAIR - self.windows.size

    def operands(self) -> tuple[Operand, ...]:
        x, *_, y = self.plain.operands()
        blocks = self.groups, self.room // self.block
        w = constant("w", (*blocks, self.steps, self.tile_size.vectors, WORDS, PAIR), "int8")
        return x, w, *rescaling.operands(self.groups * self.room), y, *self.image

    def packed(self, w: Int8, bias: Int32, multiplier: Int32, shift: Int8) -> tuple[Array, ...]:
        where = self.windows
        flat = self.with_room(w.reshape(self.channels, where.segments, where.size))
        padded = np.pad(flat, ((0, 0), (0, 0), (0, self.slack)))
        split = padded.reshape(self.groups, -1, self.block // WORDS, WORDS, self.steps, PAIR)
        packed = np.ascontiguousarray(split.transpose(0, 1, 4, 2, 3, 5))
        return packed, *rescaling.pack(self.with_room(bias), self.with_room(multiplier), self.with_room(shift))

    def with_room(self, channels: Array) -> Array:
        """Blocks of all groups filled up with zeros."""
        by_group = channels.reshape(self.groups, self.own_channels, *channels.shape[1:])
        filled = np.pad(by_group, ((0, 0), (0, self.room - self.own_channels), *[(0, 0)] * (channels.ndim - 1)))
        return filled.reshape(-1, *channels.shape[1:])

    def without_room(self, channels: Array) -> Array:
        by_group = channels.reshape(self.groups, self.room, *channels.shape[1:])
        return np.ascontiguousarray(by_group[:, : self.own_channels].reshape(-1, *channels.shape[1:]))

    def unpacked(self, *constants: Array) -> tuple[Array, ...]:
        packed, *others = constants
        flat = packed.transpose(0, 1, 3, 4, 2, 5).reshape(self.groups * self.room, self.windows.segments, -1)
        w = self.without_room(flat[:, :, : self.windows.size]).reshape(self.plain.operands()[1].shape)
        return w, *(self.without_room(one) for one in rescaling.unpack(others, self.groups * self.room))

    def loops(self, at: tuple[Any, ...]) -> None:
        def group(number: Any) -> None:
            tile = partial(self.tile, at, number)
            over_tiles(self.windows, self.own_channels, self.block, self.tile_size.pixels, tile)

        if self.groups == 1:
            group(0)
            return
        with statements.serial(self.groups) as number:
            group(number)

    def tile(self, at: tuple[Any, ...], group: Any, place: Place, block: Any, channels: int, pixels: int) -> None:
        """TIR of neighbouring windows, from (image, row, column) on."""
        (image, w, bias, *_), where, (one, row, column) = at, self.windows, place
        vectors, first = blocks_of(channels, WORDS), group * self.room + block * self.block
        sums = statements.alloc_buffer((pixels * vectors * WORDS,), "int32", scope="local")
        index = {
            key: T.ramp(number * WORDS, 1, WORDS) for number, key in enumerate(product(range(pixels), range(vectors)))
        }
        for (_, vector), total in index.items():
            statements.buffer_store(sums, bias[T.ramp(first + vector * WORDS, 1, WORDS)], [total])
        source = one * where.image.bytes + row * where.down + column * where.right + group * where.size
        stride = self.tile_size.vectors * HALFWORDS
        weights = (group * (self.room // self.block) + block) * self.steps * stride

        with statements.grid(where.along, where.across, self.pairs) as (i, j, pair):
            taken = source + i * where.next_row + j * where.next_segment + pair * PAIR
            stored = weights + ((i * where.across + j) * self.pairs + pair) * stride
            for (pixel, vector), total in index.items():
                x = pair_everywhere(image, taken + pixel * where.right)
                factors = widened(w, stored + vector * HALFWORDS)
                statements.buffer_store(sums, dot(sums[total], x, factors), [total])
        self.write(at, sums, index, place, (first, group * self.own_channels + block * self.block), channels)

    def write(
        self, at: tuple[Any, ...], sums: Any, index: Any, place: Place, first: tuple[Any, Any], channels: int
    ) -> None:
        """TIR that rescales and writes them. first: the channel among those packed, and in y."""
        (*_, scale, y), where, (one, row, column) = at, self.windows, place
        pixels = 1 + max(pixel for pixel, _ in index)
        for (_, vector), total in index.items():
            by = scale[T.ramp(first[0] + vector * WORDS, 1, WORDS)]
            statements.buffer_store(sums, requantized(sums[total], by, self.plain.output), [total])
        result = ((one * where.rows + row) * where.columns + column) * self.channels + first[1]
        for pixel in range(pixels):
            words = [sums[index[pixel, vector]] for vector in range(blocks_of(channels, WORDS))]
            store_words(y, result + pixel * self.channels, words, channels, self.plain.output)


def refused(plain: Conv | Gemm, call: Call, target: Target) -> str | None:
    """Why no such kernel can stand for it, if none can."""
    if elsewhere := not_here(target):
        return elsewhere
    if (dtype := plain.operands()[0].dtype) != "int8":
        return f"inputs of {dtype}"
    w, bias, multiplier, shift = call.constants
    return rescaling.refused(reach_of(w, LARGEST, bias), multiplier, shift, plain.output)


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, Conv | Gemm):
        return "neither a Conv nor a Gemm"
    if isinstance(plain, Conv) and plain.depthwise and plain.groups > 1:
        return "depthwise: sums of one channel each have no pairs in a tap"
    kernel = DotsWasm(plain)
    return refused(plain, call, target) or Special(kernel, kernel.packed(*call.constants))


def cases() -> Iterable[DotsWasm]:
    """What the plain kernels have; then rows of all remainders, channels of whole and partial blocks and vectors,
    segments of even and odd sizes, groups."""
    yield from (DotsWasm(one) for one in conv.cases() if not (one.depthwise and one.groups > 1))
    yield from map(DotsWasm, gemm.cases())
    base = replace(next(iter(conv.cases())), height=5, width=11, kernel=(3, 3), pads=(1, 1, 1, 1), x_zero_point=-7)
    for channels_in, channels_out, width in ((1, 16, 3), (5, 47, 13), (16, 80, 8), (32, 9, 17)):
        yield DotsWasm(replace(base, channels_in=channels_in, channels_out=channels_out, width=width))
    yield DotsWasm(replace(base, width=40, channels_in=8, channels_out=16, strides=(2, 2), pads=(0, 0, 1, 1)))
    yield DotsWasm(replace(base, batch=2, channels_in=24, channels_out=65, kernel=(1, 1), pads=(0, 0, 0, 0)))
    yield DotsWasm(replace(base, channels_in=6, channels_out=20, dilations=(1, 2), pads=(1, 2, 1, 2)))
    yield DotsWasm(replace(base, channels_in=6, channels_out=26, groups=2))
    yield DotsWasm(Gemm(rows=5, k=65, n=129, output=base.output))
