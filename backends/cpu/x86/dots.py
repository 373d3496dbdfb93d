"""Conv and Gemm for x86: each quad of bytes of a window meets 16 output channels in one instruction, or a few.

The processor is asked at run time: AMX where the products are worth it, AVX512-VNNI, AVX-VNNI, or AVX2, which the
target has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bevel.backends.cpu.levels import AMX_INT8, AVX_VNNI
from bevel.backends.cpu.x86 import matrix_tiles, wide_loops
from bevel.backends.cpu.x86.matrix_tiles import MatrixLoops
from bevel.backends.cpu.x86.packed import PackedX86, folding, in_floats, refused, uncoded
from bevel.backends.cpu.x86.vectors import DotProducts
from bevel.backends.cpu.x86.wide_loops import WORDS, WideLoops
from bevel.backends.cpu.x86.window_loops import Loops, tile_of
from bevel.backends.cpu.x86.winograd import Winograd
from bevel.backends.encodings.quads import (
    BLOCK,
    BYTES,
    QUAD,
    pack_weights,
    unpack_weights,
)
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Operand, constant, scratch
from bevel.backends.program.ops import conv, gemm
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.functions import prim_func
from bevel.backends.vectors import windows, winograd
from bevel.backends.vectors.windows import Buffers, PaddedInput, Windows
from bevel.calib.arithmetic.requantize import Int8, Int32, Output


@dataclass(frozen=True)
class Dots(PackedX86):
    """w: int8 [tiles, quads, blocks, 16, 4]; bias: int32 [tiles * blocks, 16]; rescaling: int64 [tiles * blocks, 8, 8];
    the image in scratch. within_25: whether sums of products have a sign and 25 bits."""

    rates: ClassVar[Rates] = Rates(
        mac=2.3e-12, output=1.3e-10, byte=6.3e-12, call=4e-8, code=4000, unit=Resource.LATENCY
    )

    within_25: bool = False

    @property
    def windows(self) -> Windows:
        return windows.of(self.plain, pick=True)

    @property
    def levels(self) -> tuple[str, ...]:
        return (AMX_INT8.name, *super().levels) if self.by_tiles else super().levels

    @property
    def by_tiles(self) -> bool:
        """Whether AMX is worth the configuration of its registers."""
        windows = self.windows
        steps, tile = windows.segments * windows.quads, tile_of(windows, self.channels)
        tiles = windows.rows * windows.image.batch * self.parts[0] * blocks_of(windows.columns, tile.pixels)
        vectors = tile.cycles(steps) * steps * tiles
        return matrix_tiles.cycles(windows, self.channels) < vectors

    @property
    def parts(self) -> tuple[int, int]:
        """Tiles of the weights, and blocks of channels in one."""
        together = tile_of(self.windows, self.channels).blocks
        return blocks_of(self.channels, together * BLOCK), together

    def operands(self) -> tuple[Operand, ...]:
        (x, *_, y), where, (parts, together) = self.plain.operands(), self.windows, self.parts
        tiles = self.winograd
        image = where.image.operand(max(where.slack, matrix_tiles.slack(where)) if self.by_tiles else where.slack)
        if tiles is not None and tiles.image.operand(0).size > image.size:
            image = tiles.image.operand(0)
        return (
            x,
            constant("w", (parts, where.segments * where.quads, together, BLOCK, QUAD), "int8"),
            constant("bias", (parts * together, BLOCK), "int32"),
            self.rescaling(parts * together),
            y,
            image,
            *((scratch("sums", (matrix_tiles.room(where, self.channels),), "int32"),) if self.by_tiles else ()),
            *(self.wide_operands() if self.widened else ()),
            *(() if tiles is None else tiles.operands()),
        )

    @property
    def winograd(self) -> Winograd | None:
        """AVX2's products of transformed tiles, where these are fewer."""
        if not (self.within_25 and isinstance(self.plain, Conv) and winograd.possible(self.plain)):
            return None
        tiles = Winograd(self.plain, self.windows, self.parts[1])
        return tiles if tiles.worth else None

    @property
    def widened(self) -> bool:
        """Whether AVX2 has loops over wide inputs."""
        return self.winograd is None and wide_loops.worth(self.windows)

    @property
    def wide_image(self) -> PaddedInput:
        return replace(self.windows.image, dtype="int16")

    def wide_operands(self) -> Iterable[Operand]:
        where = self.windows
        image = replace(self.wide_image.operand(where.slack), name="wide_image")
        return image, scratch("wide", (where.segments * where.quads * BYTES,), "int16")

    def wide(self, buffers: tuple[Any, ...]) -> None:
        """TIR for AVX2."""
        x, w, bias, rescaling, y, *_, image, wide = buffers
        self.wide_image.copy(image, x)
        at = Buffers(image, w, bias, rescaling, y)
        results = self.finish(rescaling, WORDS)
        WideLoops(self.windows, self.channels, self.parts[1], at, wide, results).build()

    def in_tiles(self, buffers: tuple[Any, ...]) -> None:
        """TIR for AVX2 and AVX-VNNI, transformed."""
        x, w, bias, rescaling, y, image, *_ = buffers
        tiles = self.winograd
        assert tiles is not None
        tiles.image.copy(image, x)
        at = Buffers(image, w, bias, rescaling, y)
        tiles.loops(at, buffers[-4:], self.finish(rescaling, WORDS))

    def build(self, name: str) -> Any:
        if self.winograd is not None:
            return prim_func(name, self.operands(), self.in_tiles)
        return prim_func(name, self.operands(), self.wide) if self.widened else super().build(name)

    def loops(self, isa: DotProducts, buffers: tuple[Any, ...]) -> None:
        x, w, bias, rescaling, y, image, *_ = buffers
        self.windows.image.copy(image, x)
        at = Buffers(image, w, bias, rescaling, y)
        Loops(self.windows, self.channels, isa, at, self.finish(rescaling, isa.words)).build()

    def build_at(self, name: str, level: str) -> Any:
        tiles = self.winograd
        if level == AMX_INT8.name:
            return prim_func(name, self.operands(), self.matrix_loops)
        if level == AVX_VNNI.name and tiles is not None and tiles.beats_bytes:
            return prim_func(name, self.operands(), self.in_tiles)
        return super().build_at(name, level)

    def matrix_loops(self, buffers: tuple[Any, ...]) -> None:
        x, w, bias, rescaling, y, image, sums, *_ = buffers
        self.windows.image.copy(image, x)
        at = Buffers(image, w, bias, rescaling, y)
        MatrixLoops(self.windows, self.channels, self.parts[1], self.finish(rescaling), at, sums).build()

    def packed(self, w: Int8, bias: Int32, multiplier: Int32, shift: Int8) -> tuple[Array, ...]:
        tiles, together = self.parts
        flat, blocks = w.reshape(self.channels, self.windows.segments, self.windows.size), tiles * together
        return (
            pack_weights(flat, together, self.windows.quads),
            *self.pack_outputs((w, bias, multiplier, shift), blocks),
        )

    def unpacked(self, *constants: Array) -> tuple[Array, ...]:
        packed, bias, rescaling = constants
        w = unpack_weights(packed, self.channels, self.windows.segments, self.windows.size)
        plain = w.reshape(self.plain.operands()[1].shape)
        return plain, *self.unpack_outputs(w, bias, rescaling)


def specialize(call: Call, target: Target) -> Special | str:
    given = uncoded(call)
    if isinstance(given, str):
        return given
    plain = given.kernel
    if not isinstance(plain, Conv | Gemm):
        return "neither a Conv nor a Gemm"
    if isinstance(plain, Conv) and plain.groups != 1:
        return f"{plain.groups} groups"
    kernel = Dots(plain, in_floats=True, within_25=winograd.within(given.constants[0]))
    if not in_floats(given.constants, plain.output):
        kernel = Dots(plain, *folding(given.constants, plain.output), within_25=kernel.within_25)
    return refused(given, target) or Special(kernel, kernel.packed(*given.constants))


def cases() -> Iterable[Dots]:
    """What the plain kernels have, without groups; then tiles of every shape, of whole and partial blocks."""
    yield from (Dots(plain) for plain in conv.cases() if plain.groups == 1)
    yield from map(Dots, gemm.cases())
    base = replace(next(iter(conv.cases())), height=7, width=11, kernel=(3, 3), pads=(1, 1, 1, 1), x_zero_point=-7)
    for channels_in, channels_out in ((1, 16), (3, 32), (4, 40), (5, 47), (16, 80), (32, 112)):
        yield Dots(replace(base, channels_in=channels_in, channels_out=channels_out))
    yield Dots(replace(base, width=40, channels_in=8, channels_out=16, strides=(2, 2), pads=(0, 0, 1, 1)))
    yield Dots(replace(base, batch=2, channels_in=24, channels_out=65, kernel=(1, 1), pads=(0, 0, 0, 0)))
    yield Dots(replace(base, channels_in=6, channels_out=20, dilations=(1, 2), pads=(1, 2, 1, 2)))
    yield Dots(Gemm(rows=5, k=65, n=129, output=base.output))
    for output in (base.output, Output(-128), Output(-700, -(2**15), 2**15 - 1, "int16"), Output(9, -20, 90)):
        yield Dots(replace(base, channels_in=5, channels_out=47, output=output), folded=True, in_doubles=True)
        yield Dots(Gemm(rows=5, k=65, n=129, output=output), folded=True)
        yield Dots(Gemm(rows=12, k=9, n=24, output=output), in_doubles=True)
    for output, channels in ((base.output, (16, 47)), (Output(-128), (64, 112)), (Output(9, -20, 90), (40,))):
        for channels_out in channels:
            yield Dots(replace(base, channels_in=7, channels_out=channels_out, output=output), in_floats=True)
    yield Dots(Gemm(rows=5, k=65, n=129, output=base.output), in_floats=True)
    yield from tiled_cases(base)
    yield from large_cases(base)
    yield from outside_cases(replace(base, x_zero_point=-128))


def tiled_cases(base: Conv) -> Iterable[Dots]:
    """Those that AVX2 transforms: tiles cut off at both edges, whole ones, several images, strips and blocks; and one
    that AVX-VNNI does."""
    small = replace(base, channels_in=8, channels_out=16)
    yield Dots(small, within_25=True)
    yield Dots(replace(small, channels_in=20, channels_out=47, batch=2), in_doubles=True, within_25=True)
    yield Dots(replace(small, channels_in=36, channels_out=8, height=6, width=10, pads=(0, 0, 0, 0)), within_25=True)
    yield Dots(replace(small, height=30, width=40, channels_out=24), in_floats=True, within_25=True)
    large = replace(small, height=16, width=19, channels_in=80, channels_out=72)
    yield Dots(large, in_floats=True, within_25=True)


def large_cases(base: Conv) -> Iterable[Dots]:
    """Those that AMX is worth it for: short rows in strips, long ones, strides, dilations, segments of uneven parts."""
    large = replace(base, height=8, width=8, channels_in=64, channels_out=64)
    yield Dots(large, in_floats=True)
    yield Dots(replace(large, channels_in=23, channels_out=40), folded=True)
    yield Dots(replace(large, channels_in=23, channels_out=40, batch=2))
    yield Dots(replace(large, height=11, width=21, channels_in=40, channels_out=90))
    yield Dots(replace(large, height=6, width=150, channels_in=16, channels_out=20))
    yield Dots(replace(large, height=16, width=16, channels_in=32, strides=(2, 2), pads=(0, 0, 1, 1)))
    yield Dots(replace(large, height=12, width=12, dilations=(2, 2), pads=(2, 2, 2, 2)))
    yield Dots(replace(large, height=5, width=25, channels_out=48, kernel=(1, 1), pads=(0, 0, 0, 0)))
    yield Dots(Gemm(rows=50, k=130, n=70, output=base.output))


def outside_cases(base: Conv) -> Iterable[Dots]:
    """Whose padding is zeros: taps and quads of both sides, strides, dilations, half blocks, windows of nothing."""
    yield Dots(replace(base, channels_in=16, channels_out=32))
    yield Dots(replace(base, channels_in=3, channels_out=47, batch=2), in_floats=True)
    yield Dots(replace(base, channels_in=8, channels_out=40, width=20))
    yield Dots(replace(base, channels_in=20, channels_out=16, width=33, strides=(2, 2), pads=(0, 0, 1, 1)))
    yield Dots(replace(base, channels_in=6, channels_out=20, height=4, width=3, pads=(4, 3, 5, 6)))
    yield Dots(replace(base, channels_in=5, channels_out=24, dilations=(2, 1), strides=(1, 3), pads=(3, 2, 1, 4)))
    yield Dots(replace(base, channels_in=4, channels_out=12, dilations=(2, 2), pads=(2, 2, 2, 2)))
    yield Dots(replace(base, channels_in=7, channels_out=9, height=1, kernel=(1, 5), pads=(0, 2, 0, 2)))
