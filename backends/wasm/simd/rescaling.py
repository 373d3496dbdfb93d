"""Requantization in float64, which WebAssembly rounds as IEEE 754 says, everywhere: two lanes in three instructions.

A sum |a| <= R is rescaled by s = M * 2**-N, which is a float64 as it is, and rounded by an addition: floats from 2**52
to 2**53 are the integers, so that of

    r  =  fl(fl(a * s) + (3 * 2**51 + z)),      |a * s| + |z| < 2**51,

the lower word is z + the integer nearest to fl(a * s), modulo 2**32. In units of 2**-N, a * s is the integer a * M, and
fl(a * s) is off by less than |a * M| * 2**-53. So r is z + ((a * M + 2**(N-1)) >> N), unless a half is as near as that:

    a * M  =  2**(N-1) + d        modulo 2**N,        |d| <= e

Each d leaves one a modulo 2**N, less the powers of two in M: the inverse of M says which, and `refused` asks whether it
is beyond R. e is |a * M| * 2**-53 of the largest sum, or of L, the first integer beyond all that the clamp leaves:
fl is monotone and fl(L) = L, so that what is more stays more, and is clamped alike.

Where an output rounds halves to even, so does the addition, as long as z is added later: then d = 0 is allowed, as fl
leaves a half as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.backends.program.op import Array, Operand, constant
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.lazy import T
from bevel.backends.vectors.words import leaves_words
from bevel.backends.wasm.simd.lanes import WORDS, even_lanes
from bevel.calib.arithmetic.requantize import MAX_SHIFT, MULTIPLIER_BITS, Int8, Int32, Int64, Output

INTEGERS = 3.0 * 2.0**51  # from where on float64 has no fractions
MANTISSA = 53  # bits of float64
INEXACT = "a float64 may not round as its multiplier does"


def operands(channels: int) -> tuple[Operand, Operand]:
    blocks = blocks_of(channels, WORDS)
    return constant("bias", (blocks, WORDS), "int32"), constant("scale", (blocks, WORDS), "float64")


def pack(bias: Int32, multiplier: Int32, shift: Int8) -> tuple[Int32, NDArray[np.float64]]:
    """Channels that do not exist are 0, times 0."""
    room = (0, -bias.size % WORDS)
    scale = np.ldexp(multiplier.astype(np.float64), -shift.astype(np.int64))
    return np.pad(bias, room).reshape(-1, WORDS), np.pad(scale, room).reshape(-1, WORDS)


def unpack(packed: Sequence[Array], channels: int) -> tuple[Int32, Int32, Int8]:
    """Bias, multiplier and shift, which may be another multiplier and shift of the same ratio."""
    bias, scale = (one.reshape(-1)[:channels] for one in packed)
    _, exponent = np.frexp(scale)
    shift = np.where(scale == 0, MAX_SHIFT, np.minimum(MULTIPLIER_BITS - exponent, MAX_SHIFT))
    return bias, np.ldexp(scale, shift).astype(np.int32), shift.astype(np.int8)


def requantized(sums: Any, scale: Any, output: Output) -> Any:
    """Results of int32x4 before the clamp, as int32x4. scale: float64x4."""
    zero_point = 0 if output.even else output.zero_point
    products = T.cast(sums, f"float64x{WORDS}") * scale
    words = even_lanes(products + T.broadcast(T.float64(INTEGERS + zero_point), WORDS), "int32")
    return words + T.broadcast(T.int32(output.zero_point), WORDS) if output.even and output.zero_point else words


def refused(reach: Int64, multiplier: Int32, shift: Int8, output: Output) -> str | None:
    """Why sums up to `reach` cannot be rescaled so, if they cannot."""
    if why := leaves_words(reach, multiplier, shift):
        return why
    channels = zip(reach.tolist(), multiplier.tolist(), shift.tolist(), strict=True)
    return None if all(rounds_alike(*one, output) for one in channels) else INEXACT


def rounds_alike(reach: int, multiplier: int, shift: int, output: Output) -> bool:
    """Whether no product of a sum up to `reach` is too near a half."""
    power = (multiplier & -multiplier).bit_length() - 1
    bits = shift - power  # of fractions
    if not multiplier or bits <= 0:
        return True
    beyond = max(abs(output.low - output.zero_point), abs(output.high - output.zero_point)) + 1
    off = (min(reach * multiplier, beyond << shift) >> MANTISSA) >> power
    inverse = pow(multiplier >> power, -1, 1 << bits)
    for distance in range(-off, off + 1):
        found = ((1 << bits - 1) + distance) * inverse % (1 << bits)
        if min(found, (1 << bits) - found) <= reach and (distance or not output.even):
            return False
    return True
