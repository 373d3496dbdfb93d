"""Conv and Gemm on Helium with weights of two or four bits: four or two channels in each byte, never unpacked.

    byte[k] = sum over channels j of u[j][k] << bits * j,   u = w - least, but the last channel's u is signed

A vector of x is multiplied with sixteen such bytes, and with the same bytes under masks that leave fewer channels: what
two of the sums differ by is one channel's sum, moved left by its place. So there are as many products as with int8
weights, and a mask in place of each load that is saved. The multipliers of the int8 kernel undo the move, as a shift
that is larger by the place undoes it exactly, and what the digits lack is the same for all channels of a pixel: a
multiple of the sum of its x. Where many pixels share weights, decoding them once costs less than that
(`subbyte_conv_mve.py`). The scheme is that of `backends/encodings/positional.py`, whose halfwords have more room.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from bevel.backends.cortex_m.mve import conv_mve, gemm_mve
from bevel.backends.cortex_m.mve.conv_mve import ConvMve
from bevel.backends.cortex_m.mve.gemm_mve import GemmMve
from bevel.backends.cortex_m.mve.packed_mve import PackedMve
from bevel.backends.encodings import subbyte
from bevel.backends.encodings.helium import (
    LEAST_SHIFT,
    TIES,
    WORDS,
    needs_lift,
    pack_rescaling,
    pack_weights,
    unpack_rescaling,
    unpack_weights,
)
from bevel.backends.program.kernel import WIDER, Special
from bevel.backends.program.op import Array
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.calib.arithmetic.requantize import MAX_SHIFT, Int8, Int32

WIDTHS = (2, 4)  # bits that a byte is filled with
TILE_COST, VECTOR_COST, PAIR_COST = 9, 4, 10  # instructions beyond the int8 kernel's, for each two pixels
DECODING_COST = 5  # instructions that decode a vector of weights


class Digits(NamedTuple):
    """Weights from `least` to least + 2**bits - 1, zero among them."""

    bits: int
    least: int

    @property
    def together(self) -> int:
        """Channels in a byte."""
        return 8 // self.bits

    def places(self, n: int) -> Array:
        """How far each of `n` channels is moved left."""
        return self.bits * (np.arange(n) % self.together)

    def pack(self, w: Int8) -> Int8:
        """int8 [tiles, blocks, tile, 16] to int8 [tiles, blocks, tile / together, 16]."""
        tiles, blocks, _, lanes = w.shape
        digits = (w.astype(np.int64) - self.least).reshape(tiles, blocks, -1, self.together, lanes)
        digits[..., -1, :] -= 2 ** (self.bits - 1)
        stored: Int8 = (digits << self.places(self.together)[:, np.newaxis]).sum(axis=3).astype(np.int8)
        return stored

    def unpack(self, packed: Int8) -> Int8:
        """`pack` undone."""
        tiles, blocks, vectors, lanes = packed.shape
        digits = packed[:, :, :, np.newaxis].astype(np.int64) >> self.places(self.together)[:, np.newaxis]
        digits[..., :-1, :] &= 2**self.bits - 1
        digits[..., -1, :] += 2 ** (self.bits - 1)
        w: Int8 = (digits + self.least).reshape(tiles, blocks, vectors * self.together, lanes).astype(np.int8)
        return w


class Rescaling(NamedTuple):
    """Of sums that are moved left by their places, all of which int32 holds."""

    bias: Int32
    multiplier: Int32
    shift: Int8
    lifted: bool


@dataclass(frozen=True)
class Positional(PackedMve):
    """Packed `plain` whose w is packed further by `Digits.pack`: int8 [tiles, blocks, tile / digits together, 16]."""

    rates: ClassVar[Rates] = Rates(mac=0.123, output=4.6, code=650)

    digits: Digits

    @property
    def header(self) -> str:
        return "bevel_positional_mve.h"

    @property
    def further(self) -> tuple[int, ...]:
        return tuple(self.digits)

    @property
    def vectors(self) -> int:
        return self.tile // self.digits.together

    def reference(self, *arrays: Array) -> Array:
        x, packed, rescaling = arrays
        w = unpack_weights(self.digits.unpack(packed), self.n, self.k)
        shape = self.plain.operands()[1].shape
        return self.plain.reference(x, w.reshape(shape), *in_place(rescaling, w, self.digits))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Weights of all digits, the first channel the lowest ones and the last one the highest."""
        digits = self.digits
        x, w, bias, multiplier, shift = self.plain.example(rng)
        highest = digits.least + 2**digits.bits - 1
        some = rng.integers(digits.least, highest, w.shape, dtype=np.int8, endpoint=True).reshape(len(w), -1)
        some[0], some[-1] = digits.least, highest
        places = digits.places(len(w))
        moved = np.minimum(shift + places, MAX_SHIFT)
        if not self.lifted:
            moved = np.maximum(moved, LEAST_SHIFT)
        rescaling = Rescaling((bias << places).astype(np.int32), multiplier, moved.astype(np.int8), self.lifted)
        return x, digits.pack(pack_weights(some, self.tile)), packed_rescaling(rescaling, self.tile)


@dataclass(frozen=True)
class PositionalConvMve(Positional, ConvMve):
    @property
    def function(self) -> str:
        return "bevel_mve_positional_pixels"


@dataclass(frozen=True)
class PositionalGemmMve(Positional, GemmMve):
    rates: ClassVar[Rates] = Rates(mac=0.138, output=6.2, call=110, code=810)

    @property
    def function(self) -> str:
        return "bevel_mve_positional_row"


def packed_rescaling(rescaling: Rescaling, tile: int) -> Int32:
    return pack_rescaling(rescaling.bias, rescaling.multiplier, rescaling.shift, rescaling.lifted, tile)


def in_place(packed: Int32, w: Int8, digits: Digits) -> tuple[Int32, Int32, Int8]:
    """bias, multiplier and shift for the sums of w[n, k] that are not moved left."""
    bias, multiplier, shift = unpack_rescaling(packed, len(w))
    places = digits.places(len(w))
    return (bias >> places).astype(np.int32), multiplier, (shift - places).astype(np.int8)


def rescaling_for(w: Int8, bias: Int32, multiplier: Int32, shift: Int8, digits: Digits) -> Rescaling | str:
    """How sums of w[n, k] that are moved left are rescaled, or why they cannot be."""
    places = digits.places(len(bias))
    moved = np.where(multiplier == 0, MAX_SHIFT, shift + places)
    if moved.max() > MAX_SHIFT:
        return f"a sum is shifted right by {moved.max()} or more, which is more than {MAX_SHIFT}"
    wide_w, wide_bias = w.astype(np.int64) << places[:, np.newaxis], bias.astype(np.int64) << places
    lifted = needs_lift(wide_w, wide_bias, moved.astype(np.int8))
    if isinstance(lifted, str):
        return lifted
    return Rescaling(wide_bias.astype(np.int32), multiplier, moved.astype(np.int8), lifted)


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: what the int8 kernels take, where neighbouring integers of two or four bits are all weights there are
    and no other codes are shorter."""
    plain = call.kernel
    if not isinstance(plain, Conv | Gemm):
        return "neither a Conv nor a Gemm"
    if plain.output.even:
        return TIES
    if plain.output.dtype != "int8":
        return WIDER
    found = gemm_mve.specialize(call, target) if isinstance(plain, Gemm) else conv_mve.specialize(call, target)
    if not isinstance(found, Special):
        return found
    packed, _ = found.constants
    codes = subbyte.codes_for(packed, call.occurring(call.constants[0]))
    if isinstance(codes, str):
        return codes
    if codes.tabled or codes.stride != 1 or codes.bits not in WIDTHS:
        return f"{codes} fill no byte"
    if isinstance(found.kernel, ConvMve) and better_decoded(found.kernel):
        return "so many pixels share weights that decoding them costs less"
    digits = Digits(codes.bits, codes.least)
    w, bias, multiplier, shift = call.constants
    rescaling = rescaling_for(w.reshape(len(w), -1), bias, multiplier, shift, digits)
    if isinstance(rescaling, str):
        return rescaling
    kernel = kernel_for(plain, rescaling.lifted, digits)
    return Special(kernel, (digits.pack(packed), packed_rescaling(rescaling, kernel.tile)))


def better_decoded(kernel: ConvMve) -> bool:
    plain = kernel.plain
    pairs = blocks_of(plain.batch * plain.positions[0] * plain.positions[1], conv_mve.PIXELS)
    tiles = blocks_of(plain.channels_out, WORDS)
    beyond = pairs * (TILE_COST * tiles + VECTOR_COST * kernel.blocks + PAIR_COST)
    return beyond > DECODING_COST * WORDS * tiles * kernel.blocks


def kernel_for(plain: Conv | Gemm, lifted: bool, digits: Digits) -> PositionalConvMve | PositionalGemmMve:
    if isinstance(plain, Conv):
        return PositionalConvMve(plain, lifted, digits)
    return PositionalGemmMve(plain, lifted, digits)


def cases() -> Iterable[PositionalConvMve | PositionalGemmMve]:
    """The int8 kernels' cases, with two and four bits in turns; digits from zero, and up to it."""
    found: list[Any] = [*conv_mve.cases(), *gemm_mve.cases()]
    inner = [one for one in found if not one.plain.output.even and one.plain.output.dtype == "int8"]
    for index, kernel in enumerate(inner):
        digits = (Digits(4, -8), Digits(2, -2))[index % 2]
        yield kernel_for(kernel.plain, kernel.lifted, digits)
    odd: list[Digits] = [Digits(4, 0), Digits(4, -15), Digits(2, 0), Digits(2, -3)]
    for index, digits in enumerate(odd):
        yield kernel_for(inner[-1 - index].plain, False, digits)
        yield kernel_for(replace(inner[4].plain, channels_in=16), index % 2 == 0, digits)
