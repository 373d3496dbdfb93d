"""Formats that are a short list of values: binary, ternary, powers of two, sums of powers of two.

Values are scaled so that the largest is 1. The code of a value is its place in the ascending list.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.packing import pack_bits, unpack_bits

Reals = NDArray[Any]
Codes = NDArray[Any]


@dataclass(frozen=True)
class LevelFormat:
    """`levels`: 2 to 256 values, ascending. Raises ValueError for other lists."""

    name: str
    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.levels) <= 256 or any(a >= b for a, b in zip(self.levels, self.levels[1:], strict=False)):
            raise ValueError(f"{self.name} needs 2 to 256 ascending levels, not {self.levels}")

    @property
    def bits(self) -> int:
        return (len(self.levels) - 1).bit_length()

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    @property
    def high(self) -> float:
        """The largest magnitude."""
        return max(abs(self.levels[0]), abs(self.levels[-1]))

    def values(self) -> NDArray[np.float64]:
        return np.array(self.levels, np.float64)

    def round(self, x: Reals) -> Reals:
        """The nearest value of each element, ties to the even code, saturating; float64."""
        return self.values()[self.encode(x)]

    def encode(self, x: Reals) -> Codes:
        values = self.values()
        middles = (values[1:] + values[:-1]) / 2
        wide = np.asarray(x, np.float64)
        below, above = np.searchsorted(middles, wide, "left"), np.searchsorted(middles, wide, "right")
        # On a middle the two sides differ by one, and one of them is even.
        return np.where(below % 2 == 0, below, above).astype(self.dtype)

    def decode(self, codes: Codes) -> NDArray[np.float32]:
        """The value of each code. Raises ValueError for codes the format has not."""
        if codes.size and (int(codes.min()) < 0 or int(codes.max()) >= len(self.levels)):
            raise ValueError(f"codes from {codes.min()} to {codes.max()} lie outside {self.name}")
        return self.values()[codes].astype(np.float32)

    def pack(self, codes: Codes) -> NDArray[np.uint8]:
        """Codes at `bits` bits each (`bevel.calib.formats.packing`)."""
        return pack_bits(codes, self.bits)

    def unpack(self, packed: NDArray[np.uint8], count: int) -> Codes:
        """The first `count` codes of `pack`'s bytes."""
        return unpack_bits(packed, count, self.bits, signed=False).astype(self.dtype)


BINARY = LevelFormat("binary", (-1.0, 1.0))
TERNARY = LevelFormat("ternary", (-1.0, 0.0, 1.0))


def log_format(bits: int, step: float = 1.0) -> LevelFormat:
    """0 and +-2**(-step * k), k = 0 .. 2**(bits - 1) - 2: powers of two for step 1, finer bases below it.

    Source: Miyashita et al. 2016, "Convolutional Neural Networks using Logarithmic Data Representation", section 3;
    other bases than 2 as in its section 3.3. Values round to the nearest in the linear domain.
    Raises ValueError for fewer than 2 or more than 8 bits, and for steps outside (0, 4].
    """
    if not (2 <= bits <= 8 and 0 < step <= 4):
        raise ValueError(f"no logarithmic format of {bits} bits and step {step}: 2 to 8 bits, steps up to 4")
    powers = 2.0 ** (-step * np.arange(2 ** (bits - 1) - 1))
    name = f"log{bits}" if step == 1 else f"log{bits}s{step:g}"
    return LevelFormat(name, symmetric(powers))


def power_sum_format(bits: int, term_bits: int = 2) -> LevelFormat:
    """Sums of (bits - 1) / term_bits signed powers of two: products become a few shifts and additions.

    Term i is 0 or 2**-(i + j * n), j = 0 .. 2**term_bits - 2, for n terms. Source: Li et al. 2020, "Additive
    Powers-of-Two Quantization: An Efficient Non-uniform Discretization for Neural Networks", equation 5.
    Raises ValueError where bits - 1 is no multiple of term_bits, and above 8 bits.
    """
    if not 2 <= bits <= 8 or (bits - 1) % term_bits:
        raise ValueError(f"sums of powers of two: {bits} - 1 bits do not split into terms of {term_bits}")
    count = (bits - 1) // term_bits
    terms = [[0.0, *(2.0 ** -(i + j * count) for j in range(2**term_bits - 1))] for i in range(count)]
    sums = np.array([sum(choice) for choice in product(*terms)])
    return LevelFormat(f"apot{bits}k{term_bits}", symmetric(sums[sums > 0]))


def symmetric(magnitudes: NDArray[np.float64]) -> tuple[float, ...]:
    """0 and both signs of `magnitudes`, scaled so that the largest is 1, ascending."""
    unique = np.unique(magnitudes / magnitudes.max())
    return tuple(float(value) for value in np.concatenate([-unique[::-1], [0.0], unique]))
