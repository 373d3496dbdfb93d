"""Depthwise Conv, a block of channels at once: each tap of some neighbouring pixels, times its weights in int16."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from typing import Any

import numpy as np

from bevel.backends.program.op import Array, Op, Operand, constant
from bevel.backends.program.ops import conv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors import windows
from bevel.backends.vectors.blocks import PackedBlocks, store_results
from bevel.backends.vectors.packed import Place, of_type, over_tiles
from bevel.backends.vectors.windows import Windows
from bevel.calib.arithmetic.requantize import Int8, Int32


@dataclass(frozen=True)
class DepthwiseRows(PackedBlocks):
    """w: int16 [blocks, kh, kw, lanes]."""

    plain: Conv

    @cached_property
    def windows(self) -> Windows:
        return of_type(windows.of_conv(self.plain, flat=False), "int8")

    @property
    def slack(self) -> int:
        """Bytes of channels that do not exist, behind the last pixel."""
        return self.blocks * self.lanes - self.channels

    @property
    @abstractmethod
    def pixels(self) -> int:
        """The most of a tile."""

    @abstractmethod
    def add_products(self, sums: Any, first: int, x: Any, w: Any) -> None:
        """TIR that adds the products of x and w, int8 and int16 of a block, to as many sums from `first` on."""

    def operands(self) -> tuple[Operand, ...]:
        x, *_, y = self.plain.operands()
        w = constant("w", (self.blocks, *self.plain.kernel, self.lanes), "int16")
        return x, w, *self.blocked, y, *self.image

    def packed(self, w: Int8, bias: Int32, multiplier: Int32, shift: Int8) -> tuple[Array, ...]:
        kh, kw = self.plain.kernel
        taps = np.zeros((self.blocks * self.lanes, kh, kw), np.int16)
        taps[: len(w)] = w.reshape(-1, kh, kw)
        blocks = taps.reshape(self.blocks, self.lanes, kh, kw).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(blocks), *self.in_blocks(bias, multiplier, shift)

    def unpacked(self, *constants: Array) -> tuple[Array, ...]:
        packed, *others = constants
        taps = packed.transpose(0, 3, 1, 2).reshape(-1, *self.plain.kernel)[: self.plain.channels_in]
        plain = np.ascontiguousarray(taps.astype(np.int8)).reshape(self.plain.operands()[1].shape)
        return plain, *self.from_blocks(others)

    def loops(self, at: tuple[Any, ...]) -> None:
        over_tiles(self.windows, self.channels, self.lanes, self.pixels, partial(self.tile, at))

    def tile(self, at: tuple[Any, ...], place: Place, block: Any, count: int, pixels: int) -> None:
        """TIR of neighbouring pixels, from (image, row, column) on."""
        (image, w, bias, rescaling, y), fresh = at, self.fresh(block)
        (one, row, column), where, p, (kh, kw), lanes = place, self.windows, self.plain, self.plain.kernel, self.lanes
        sums = statements.alloc_buffer((pixels * lanes,), "int32", scope="local")
        for pixel in range(pixels):
            start = bias[T.ramp(fresh * lanes, 1, lanes)]
            statements.buffer_store(sums, start, [T.ramp(pixel * lanes, 1, lanes)])
        source = one * where.image.bytes + row * where.down + column * where.right + block * lanes
        step = p.dilations[1] * p.channels_in
        with statements.serial(kh) as i:
            line = source + i * p.dilations[0] * where.image.pitch
            for j, pixel in product(range(kw), range(pixels)):
                taken = image[T.ramp(line + j * step + pixel * where.right, 1, lanes)]
                weights = w[T.ramp(((fresh * kh + i) * kw + j) * lanes, 1, lanes)]
                self.add_products(sums, pixel * lanes, taken, weights)
        result = ((one * where.rows + row) * where.columns + column) * p.channels_in + block * lanes
        places = [result + pixel * p.channels_in for pixel in range(pixels)]
        results = [self.rescaled(sums[T.ramp(pixel * lanes, 1, lanes)], rescaling, fresh) for pixel in range(pixels)]
        store_results(y, places, results, count, lanes)


def depthwise_of(op: Op) -> Conv | str:
    """`op`, or why no depthwise kernel can stand for it on any machine."""
    if not isinstance(op, Conv):
        return "not a Conv"
    return op if op.depthwise and op.channels_in > 1 else "not depthwise"


def plain_cases() -> Iterator[Conv]:
    """What the plain kernel has; then channels of whole and partial blocks, rows of all remainders, strides, dilations,
    two images, long kernels."""
    for plain in conv.cases():
        if plain.depthwise and plain.channels_in > 1 and plain.operands()[0].dtype == "int8":
            yield plain
    base = replace(next(iter(conv.cases())), height=5, width=11, kernel=(3, 3), pads=(1, 1, 1, 1), x_zero_point=-7)
    for count, width in ((2, 4), (16, 5), (24, 3), (37, 9), (80, 8)):
        yield replace(base, width=width, channels_in=count, channels_out=count, groups=count)
    wide = replace(base, channels_in=32, channels_out=32, groups=32, batch=2)
    yield replace(wide, strides=(2, 2), pads=(0, 0, 1, 1))
    yield replace(wide, kernel=(5, 5), pads=(2, 2, 2, 2))
    yield replace(wide, dilations=(2, 2), pads=(2, 2, 2, 2))
    yield replace(wide, kernel=(2, 2), pads=(0, 0, 0, 0))
    yield replace(wide, kernel=(1, 7), height=1, width=30, pads=(0, 3, 0, 3))
