"""Conv and Gemm of int16 inputs and int8 weights for x86: each pair of inputs meets 16 output channels in one
instruction.

They come as `CodedConv`, whose sums may take 64 bits; where the weights at hand keep them within 32, the sums of pairs
are what they are modulo 2**32, and so exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cpu.x86.dots import Dots
from bevel.backends.cpu.x86.packed import FOLDED_SHIFTS, beyond_words, folding, not_here
from bevel.backends.cpu.x86.pairs import OWN_PAIRS, PAIRS, of_quads
from bevel.backends.encodings.quads import (
    BLOCK,
    PAIR,
    QUAD,
    in_pairs,
    in_quads,
    pack_rescaling,
    pack_weights,
    unpack_rescaling,
    unpack_weights,
)
from bevel.backends.program import examples
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Operand
from bevel.backends.program.ops import conv
from bevel.backends.program.ops.coded_conv import CodedConv, of_gemm
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir.functions import prim_func
from bevel.backends.vectors.windows import Windows
from bevel.calib.arithmetic.requantize import Int8, Int32, Output, fixed_points, requantize

LARGEST = 2**15  # of an input


@dataclass(frozen=True)
class PairDots(Dots):
    """w: int8 [tiles, quads, blocks, 2, 16, 2]; bias and rescaling as those of `Dots`; x, and the image, of int16."""

    rates: ClassVar[Rates] = Rates(mac=7e-12, output=2e-10, call=4e-8, code=4000, unit=Resource.LATENCY)

    plain: Conv

    @property
    def windows(self) -> Windows:
        found = super().windows
        return replace(found, image=replace(found.image, dtype="int16", flipped=False))

    @property
    def levels(self) -> tuple[str, ...]:
        return tuple(PAIRS)

    @property
    def by_tiles(self) -> bool:
        return False

    @property
    def widened(self) -> bool:
        return False

    @property
    def winograd(self) -> None:
        return None

    def operands(self) -> tuple[Operand, ...]:
        x, w, *others = super().operands()
        return replace(x, dtype="int16"), replace(w, shape=(*w.shape[:-2], QUAD // PAIR, BLOCK, PAIR)), *others

    def build(self, name: str) -> Any:
        return prim_func(name, self.operands(), partial(self.loops, of_quads(OWN_PAIRS)))

    def build_at(self, name: str, level: str) -> Any:
        return prim_func(name, self.operands(), partial(self.loops, of_quads(PAIRS[level])))

    def packed(self, w: Int8, bias: Int32, multiplier: Int32, shift: Int8) -> tuple[Array, ...]:
        tiles, together = self.parts
        flat, blocks = w.reshape(self.channels, self.windows.segments, self.windows.size), tiles * together
        return (
            in_pairs(pack_weights(flat, together, self.windows.quads)),
            np.pad(bias, (0, blocks * BLOCK - bias.size)).reshape(blocks, BLOCK),
            pack_rescaling(multiplier, shift, blocks, self.fold),
        )

    def unpacked(self, *constants: Array) -> tuple[Array, ...]:
        packed, bias, rescaling = constants
        w = unpack_weights(in_quads(packed), self.channels, self.windows.segments, self.windows.size)
        plain = w.reshape(self.plain.operands()[1].shape)
        return plain, bias.reshape(-1)[: self.channels], *unpack_rescaling(rescaling, self.channels, self.folded)

    def reference(self, *arrays: Array) -> Array:
        x, *constants = arrays
        w, bias, multiplier, shift = self.unpacked(*constants)
        return requantize(self.plain.sums(x, w) + bias, multiplier, shift, self.plain.output)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        (of_x, of_w, *_), random = self.plain.operands(), examples.random_values
        x, w = random(rng, of_x.shape, "int16"), random(rng, of_w.shape, "int8")
        sums = self.plain.sums(x, w).reshape(-1, self.channels)
        deviation = np.maximum(np.abs(sums).mean(axis=0), 8)
        bias = rng.integers(-deviation // 4, deviation // 4, dtype=np.int64).astype(np.int32)
        width = self.plain.output.high - self.plain.output.low
        multiplier, shift = fixed_points(rng.uniform(0.1, 0.4, self.channels) * width / deviation)
        shift = shift if not self.folded else np.clip(shift, FOLDED_SHIFTS[0], FOLDED_SHIFTS[1])
        return x, *self.packed(w, bias, multiplier, shift)


def specialize(call: Call, target: Target) -> Special | str:
    coded = call.kernel
    if not isinstance(coded, CodedConv) or coded.x_dtype != "int16":
        return "no Conv or Gemm of int16"
    if coded.plain.groups != 1:
        return f"{coded.plain.groups} groups"
    *codes, bias, multiplier, shift = call.constants
    w = coded.weights(*codes)
    if why := not_here(target) or beyond_words(w, LARGEST, bias, multiplier, shift):
        return why
    kernel = PairDots(coded.plain, *folding((w, bias, multiplier, shift), coded.plain.output, LARGEST))
    return Special(kernel, kernel.packed(w.astype(np.int8), bias.astype(np.int32), multiplier, shift))


def cases() -> Iterable[PairDots]:
    """What the plain convolution has without groups, of less than 500 taps; then rows, and blocks of every length."""
    yield from (PairDots(plain) for plain in conv.cases() if plain.groups == 1 and plain.taps < 500)
    base = replace(next(iter(conv.cases())), height=7, width=11, kernel=(3, 3), pads=(1, 1, 1, 1), x_zero_point=-700)
    int16 = Output(-9, -(2**15), 2**15 - 1, "int16")
    for channels_in, channels_out in ((1, 16), (3, 32), (5, 47), (16, 80)):
        yield PairDots(replace(base, channels_in=channels_in, channels_out=channels_out, output=int16))
    yield PairDots(replace(base, channels_in=6, channels_out=20, dilations=(1, 2), pads=(1, 2, 1, 2)))
    yield PairDots(replace(base, channels_in=6, channels_out=20, x_zero_point=0, output=int16))
    for rows, k, n in ((1, 7, 1), (65, 64, 65), (17, 33, 129), (3, 256, 64)):
        yield PairDots(of_gemm(rows, k, n, int16 if n % 2 else base.output))
        yield PairDots(of_gemm(rows, k, n, int16 if n % 2 else base.output), folded=True, in_doubles=True)
