"""Blocks that share a power of two: activations of the microscaling (MX) formats, in reals and in integers.

    value = 2**exponent * element,     one exponent for every 32 elements along an axis

Source: OCP Microscaling Formats (MX) Specification v1.0, section 5, whose conversion (section 6.3) takes the exponent
of the block's largest magnitude less that of the largest element. That wastes half of the top binade or clips it. Here
the exponents beside it are tried too, and the one with the least squared error in the block is kept: the standard says
what a value is, and leaves the choice of the exponent free.

A device knows no reals. An element is an integer number of `steps` (`bevel.calib.formats.levels`), and what is to be
rounded is an integer of 2**fraction parts a step at the smallest exponent. Exponents count from 0 to `exponents`, so
that every value is an integer of `dtype`; below them, blocks are as fine as at 0, which is 2**-15 of the tensor's
largest value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.float_format import FloatFormat
from bevel.calib.formats.format import Format, IntFormat
from bevel.calib.formats.tensor_format import MX_BLOCK, BlockFormat

FRACTION = 6
LARGEST_VALUE = 2**15 - 1  # what int16 holds
AROUND = (-1, 0, 1)  # exponents tried, from that of the specification; the first of equal errors is kept
HEADROOM = 2.0  # how far values may pass the largest one seen before they saturate

Reals = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class MxRounding:
    """Rounding of integers to blocks of `block` elements of a format.

    Elements are integers up to +-`largest`: every one below 2**(mantissa + 1), every second one below twice that, and
    so on. The largest value is largest * 2**exponents, and `limit` what stands for it before the rounding: int32 of
    2**fraction parts a step. Raises ValueError where a value would not fit int16 or a part not int32.
    """

    mantissa: int
    largest: int
    exponents: int
    block: int = MX_BLOCK
    fraction: int = FRACTION

    def __post_init__(self) -> None:
        if not (self.mantissa >= 0 and 2**self.mantissa <= self.largest and self.exponents >= 0 and self.block >= 1):
            raise ValueError(f"{self} has no elements")
        if self.largest << self.exponents > LARGEST_VALUE or not 2 <= self.fraction <= 12:
            raise ValueError(f"values of {self} do not fit int16, or its parts do not fit int32")

    @property
    def top(self) -> int:
        """The power of two in the largest element."""
        return self.largest.bit_length() - 1

    @property
    def limit(self) -> int:
        """The largest magnitude before the rounding."""
        return self.highest << self.fraction

    @property
    def highest(self) -> int:
        """The largest magnitude after the rounding, in steps."""
        return self.largest << self.exponents

    def round(self, parts: NDArray[Any], axis: int) -> NDArray[np.int16]:
        """Integer `parts`, up to +-`limit`, as steps in blocks along `axis`: int16, the same shape."""
        blocks = split(parts.astype(np.int64), axis, self.block)
        magnitude = np.abs(blocks)
        floor = bit_length(magnitude.max(axis=-1, keepdims=True)) - 1 - self.fraction - self.top
        best, least = np.zeros_like(magnitude), np.full_like(floor, np.iinfo(np.int64).max)
        for step in AROUND:
            shift = np.clip(floor + step, 0, self.exponents) + self.fraction
            rounded = self.elements(magnitude, shift)
            error = np.square(rounded - magnitude).sum(axis=-1, keepdims=True)
            best, least = np.where(error < least, rounded, best), np.minimum(error, least)
        steps = np.where(blocks < 0, -best, best) >> self.fraction
        result: NDArray[np.int16] = joined(steps, parts.shape, axis).astype(np.int16)
        return result

    def elements(self, magnitude: Int64, shift: Int64) -> Int64:
        """The nearest element times 2**shift, ties to the even one, saturating."""
        spacing = np.maximum(shift, bit_length(magnitude) - 1 - self.mantissa)
        odd = (magnitude >> spacing) & 1
        rounded = (magnitude + (np.int64(1) << (spacing - 1)) - 1 + odd) >> spacing << spacing
        clamped: Int64 = np.minimum(rounded, np.int64(self.largest) << shift)
        return clamped

    def parts(self, x: NDArray[Any], step: float) -> NDArray[np.int32]:
        """Reals as what `round` takes: float32 division by the part, `step` / 2**fraction, and half to even."""
        part = np.float32(step / 2**self.fraction)
        with np.errstate(over="ignore"):
            quotient = x.astype(np.float32, copy=False) / part
        result: NDArray[np.int32] = np.rint(np.clip(quotient, -self.limit, self.limit)).astype(np.int32)
        return result

    def step(self, largest: float) -> float:
        """The real value of a step at exponent 0, a power of two, for a tensor of magnitudes up to `largest`."""
        if largest <= 0:
            return 1.0
        return float(2.0 ** np.ceil(np.log2(largest * HEADROOM / (self.largest << self.exponents))))


def mx_rounding(format: BlockFormat) -> MxRounding | None:
    """How activations are rounded to `format`; None where its scales are no powers of two, or int16 is too narrow.

    Minifloats count in their smallest subnormals, and the two's complement element of MXINT8 leaves out -128.
    """
    if format.scales != "e8m0":
        return None
    match element := format.element:
        case FloatFormat(specials="none"):
            smallest = 2.0 ** (element.smallest_exponent - element.mantissa)
            mantissa, largest = element.mantissa, round(element.high / smallest)
        case IntFormat(signed=True):
            mantissa, largest = element.bits - 2, element.high
        case _:
            return None
    exponents = (LARGEST_VALUE // largest).bit_length() - 1
    return MxRounding(mantissa, largest, exponents, format.size) if exponents >= 0 else None


def round_reals(x: NDArray[Any], element: Format, axis: int, block: int = MX_BLOCK) -> Reals:
    """`x` in blocks of `element` along `axis`, exponents of any size: what `MxRounding.round` is in reals, float64.

    Raises ValueError for NaN or infinity.
    """
    if not np.isfinite(x).all():
        raise ValueError("blocks hold NaN or infinity")
    blocks = split(x.astype(np.float64), axis, block)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    floor = np.frexp(largest)[1] - np.frexp(np.float64(element.high))[1]
    best, least = np.zeros_like(blocks), np.full_like(largest, np.inf)
    for step in AROUND:
        scale = np.ldexp(1.0, floor + step)
        rounded = np.clip(element.round(blocks / scale), -element.high, element.high) * scale
        error = np.square(rounded - blocks).sum(axis=-1, keepdims=True)
        best, least = np.where(error < least, rounded, best), np.minimum(error, least)
    return joined(best, x.shape, axis)


def split(x: NDArray[Any], axis: int, block: int) -> NDArray[Any]:
    """`axis` last and in blocks, the last one filled with zeros: [..., blocks, block]."""
    last = np.moveaxis(x, axis, -1)
    size = last.shape[-1]
    padded = np.pad(last, [(0, 0)] * (last.ndim - 1) + [(0, -size % block)])
    return padded.reshape(*padded.shape[:-1], -1, block)


def joined(blocks: NDArray[Any], shape: tuple[int, ...], axis: int) -> NDArray[Any]:
    """What `split` made of a tensor of `shape`, as it was."""
    flat = blocks.reshape(*blocks.shape[:-2], -1)[..., : shape[axis]]
    return np.moveaxis(flat, -1, axis)


def bit_length(x: Int64) -> Int64:
    """Bits of each integer below 2**53, 0 of 0."""
    length: Int64 = np.frexp(x.astype(np.float64))[1].astype(np.int64)
    return length
