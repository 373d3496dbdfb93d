"""Conv and Gemm for RISC-V with vectors: each element of a window by a weight of each channel of a block.

The image is int16 in scratch, so that an element is a factor as it is loaded; weights are bytes, which are widened once
for all pixels of a tile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cpu.riscv.packed import PackedRvv, lifts, refused
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Operand, constant
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors import windows
from bevel.backends.vectors.blocks import store_results
from bevel.backends.vectors.dense import dense_of, plain_cases
from bevel.backends.vectors.packed import Place, of_type, over_tiles
from bevel.backends.vectors.windows import Windows
from bevel.calib.arithmetic.requantize import Int8, Int32

TOGETHER = 8  # elements of a segment between two turns
FEW = 4_000  # products of a case whose shifts vary


@dataclass(frozen=True)
class ProductsRvv(PackedRvv):
    """w: int8 [blocks, elements of all segments, lanes]."""

    # Estimates, beside those of the plain loops: by the instructions of both.
    rates: ClassVar[Rates] = Rates(mac=8e-12, output=9e-10, call=4e-8, code=2500, unit=Resource.LATENCY)

    @cached_property
    def windows(self) -> Windows:
        return of_type(windows.of(self.plain), "int16")

    @property
    def slack(self) -> int:
        return 0

    def operands(self) -> tuple[Operand, ...]:
        (x, *_, y), where = self.plain.operands(), self.windows
        w = constant("w", (self.blocks, where.segments * where.size, self.lanes), "int8")
        return x, w, *self.blocked, y, *self.image

    def packed(self, w: Int8, bias: Int32, multiplier: Int32, shift: Int8) -> tuple[Array, ...]:
        room = self.blocks * self.lanes - self.channels
        flat = np.pad(w.reshape(self.channels, -1), ((0, room), (0, 0)))
        blocks = flat.reshape(self.blocks, self.lanes, -1).transpose(0, 2, 1)
        return np.ascontiguousarray(blocks), *self.in_blocks(bias, multiplier, shift)

    def unpacked(self, *constants: Array) -> tuple[Array, ...]:
        packed, *others = constants
        flat = packed.transpose(0, 2, 1).reshape(self.blocks * self.lanes, -1)[: self.channels]
        w = np.ascontiguousarray(flat).reshape(self.plain.operands()[1].shape)
        return w, *self.from_blocks(others)

    def loops(self, at: tuple[Any, ...]) -> None:
        over_tiles(self.windows, self.channels, self.lanes, self.pixels, partial(self.tile, at))

    def tile(self, at: tuple[Any, ...], place: Place, block: Any, count: int, pixels: int) -> None:
        """TIR of neighbouring windows, from (image, row, column) on."""
        (*_, bias, rescaling, y), where, (one, row, column), lanes = at, self.windows, place, self.lanes
        fresh = self.fresh(block)
        sums = statements.alloc_buffer((pixels * lanes,), "int32", scope="local")
        of_pixels = [T.ramp(pixel * lanes, 1, lanes) for pixel in range(pixels)]
        for total in of_pixels:
            statements.buffer_store(sums, bias[T.ramp(fresh * lanes, 1, lanes)], [total])
        source = one * where.image.bytes + row * where.down + column * where.right
        weights = fresh * where.segments * where.size * lanes
        whole, rest = divmod(where.size, TOGETHER)
        with statements.grid(where.along, where.across) as (i, j):
            taken = source + i * where.next_row + j * where.next_segment
            stored = weights + (i * where.across + j) * where.size * lanes
            if whole:
                with statements.serial(whole) as several:
                    first = several * TOGETHER
                    self.elements(at, sums, of_pixels, (taken + first, stored + first * lanes), TOGETHER)
            first = whole * TOGETHER
            self.elements(at, sums, of_pixels, (taken + first, stored + first * lanes), rest)
        result = ((one * where.rows + row) * where.columns + column) * self.channels + block * lanes
        places = [result + pixel * self.channels for pixel in range(pixels)]
        results = [self.rescaled(sums[total], rescaling, fresh) for total in of_pixels]
        store_results(y, places, results, count, lanes)

    def elements(
        self, at: tuple[Any, ...], sums: Any, of_pixels: list[Any], first: tuple[Any, Any], count: int
    ) -> None:
        """TIR of neighbouring elements of each window, and their weights, from `first` of the image and of w on."""
        (image, w, *_), (taken, stored), lanes = at, first, self.lanes
        for element in range(count):
            factors = T.cast(w[T.ramp(stored + element * lanes, 1, lanes)], f"int32x{lanes}")
            for pixel, total in enumerate(of_pixels):
                x = T.broadcast(T.cast(image[taken + element + pixel * self.windows.right], "int32"), lanes)
                statements.buffer_store(sums, sums[total] + factors * x, [total])


def specialize(call: Call, target: Target) -> Special | str:
    plain = dense_of(call.kernel)
    if isinstance(plain, str):
        return plain
    if why := refused(plain, call, target):
        return why
    kernel = ProductsRvv(plain, lifts(call.constants[3]))
    return Special(kernel, kernel.packed(*call.constants))


def cases() -> Iterable[ProductsRvv]:
    yield from map(ProductsRvv, plain_cases())
    yield from (ProductsRvv(plain, lifted=True) for plain in plain_cases() if plain.macs < FEW)
