"""Depthwise Conv for 64-bit Arm: each tap of 16 channels of some pixels, in int16, is four SMLAL a pixel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cpu.arm import channels
from bevel.backends.cpu.arm.channels import store_results
from bevel.backends.cpu.arm.neon import HALF, multiplied
from bevel.backends.cpu.arm.packed import PackedArm
from bevel.backends.encodings.quads import BLOCK
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Operand, constant
from bevel.backends.program.ops import conv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors import windows
from bevel.backends.vectors.packed import Place, of_type, over_tiles
from bevel.backends.vectors.windows import Windows
from bevel.calib.arithmetic.requantize import Int8, Int32

PIXELS = 4  # at most: 16 sums, two vectors of weights, two of each column of the image


@dataclass(frozen=True)
class DepthwiseArm(PackedArm):
    """w: int16 [blocks, kh, kw, 16]."""

    # Estimates: a SMLAL a cycle at 2.4 GHz.
    rates: ClassVar[Rates] = Rates(mac=1.2e-10, output=6e-10, call=4e-8, code=2500, unit=Resource.LATENCY)

    plain: Conv

    @cached_property
    def windows(self) -> Windows:
        return of_type(windows.of_conv(self.plain, flat=False), "int8")

    @property
    def slack(self) -> int:
        """Bytes of channels that do not exist, behind the last pixel."""
        return self.blocks * BLOCK - self.channels

    def operands(self) -> tuple[Operand, ...]:
        x, *_, y = self.plain.operands()
        w = constant("w", (self.blocks, *self.plain.kernel, BLOCK), "int16")
        return x, w, *channels.operands(self.channels), y, *self.image

    def packed(self, w: Int8, bias: Int32, multiplier: Int32, shift: Int8) -> tuple[Array, ...]:
        kh, kw = self.plain.kernel
        taps = np.zeros((self.blocks * BLOCK, kh, kw), np.int16)
        taps[: len(w)] = w.reshape(-1, kh, kw)
        blocks = taps.reshape(self.blocks, BLOCK, kh, kw).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(blocks), *channels.pack(bias, multiplier, shift)

    def unpacked(self, *constants: Array) -> tuple[Array, ...]:
        packed, *others = constants
        taps = packed.transpose(0, 3, 1, 2).reshape(-1, *self.plain.kernel)[: self.plain.channels_in]
        plain = np.ascontiguousarray(taps.astype(np.int8)).reshape(self.plain.operands()[1].shape)
        return plain, *channels.unpack(others, self.plain.channels_in)

    def loops(self, at: tuple[Any, ...]) -> None:
        over_tiles(self.windows, self.channels, BLOCK, PIXELS, partial(self.tile, at))

    def tile(self, at: tuple[Any, ...], place: Place, block: Any, count: int, pixels: int) -> None:
        """TIR of neighbouring pixels, from (image, row, column) on."""
        image, w, bias, rescaling, y = at
        (one, row, column), where, p, (kh, kw) = place, self.windows, self.plain, self.plain.kernel
        sums = statements.alloc_buffer((pixels * BLOCK,), "int32", scope="local")
        for pixel in range(pixels):
            start = bias[T.ramp(block * BLOCK, 1, BLOCK)]
            statements.buffer_store(sums, start, [T.ramp(pixel * BLOCK, 1, BLOCK)])
        source = one * where.image.bytes + row * where.down + column * where.right + block * BLOCK
        step = p.dilations[1] * p.channels_in
        with statements.serial(kh) as i:
            line = source + i * p.dilations[0] * where.image.pitch
            for j, pixel in product(range(kw), range(pixels)):
                taken = image[T.ramp(line + j * step + pixel * where.right, 1, BLOCK)]
                weights = w[T.ramp(((block * kh + i) * kw + j) * BLOCK, 1, BLOCK)]
                for part in range(2):
                    total = T.ramp(pixel * BLOCK + part * HALF, 1, HALF)
                    statements.buffer_store(sums, sums[total] + multiplied(taken, weights, part), [total])
        result = ((one * where.rows + row) * where.columns + column) * p.channels_in + block * BLOCK
        places = [result + pixel * p.channels_in for pixel in range(pixels)]
        store_results(y, places, sums, rescaling, block, count, p.output)


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, Conv):
        return "not a Conv"
    if not plain.depthwise or plain.channels_in == 1:
        return "not depthwise"
    kernel = DepthwiseArm(plain)
    return channels.refused(plain, call, target) or Special(kernel, kernel.packed(*call.constants))


def cases() -> Iterable[DepthwiseArm]:
    """What the plain kernel has; then channels of whole and partial blocks, rows of all remainders, strides,
    dilations, two images, long kernels."""
    for plain in conv.cases():
        if plain.depthwise and plain.channels_in > 1 and plain.operands()[0].dtype == "int8":
            yield DepthwiseArm(plain)
    base = replace(next(iter(conv.cases())), height=5, width=11, kernel=(3, 3), pads=(1, 1, 1, 1), x_zero_point=-7)
    for count, width in ((2, 4), (16, 5), (24, 3), (37, 9), (80, 8)):
        yield DepthwiseArm(replace(base, width=width, channels_in=count, channels_out=count, groups=count))
    wide = replace(base, channels_in=32, channels_out=32, groups=32, batch=2)
    yield DepthwiseArm(replace(wide, strides=(2, 2), pads=(0, 0, 1, 1)))
    yield DepthwiseArm(replace(wide, kernel=(5, 5), pads=(2, 2, 2, 2)))
    yield DepthwiseArm(replace(wide, dilations=(2, 2), pads=(2, 2, 2, 2)))
    yield DepthwiseArm(replace(wide, kernel=(2, 2), pads=(0, 0, 0, 0)))
    yield DepthwiseArm(replace(wide, kernel=(1, 7), height=1, width=30, pads=(0, 3, 0, 3)))
