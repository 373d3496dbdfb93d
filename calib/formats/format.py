"""What a tensor element can hold, and how it is stored: integers here, and every format by its name.

A format has a finite set of real values, each with one code. `round` moves reals to the nearest value, `encode` gives
codes, `decode` gives the values back, `pack` stores codes at their true width. Scales and zero points are not part of
a format: they belong to a tensor (`bevel.calib.formats.scheme`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.float_format import NAMED, FloatFormat, parse_float
from bevel.calib.formats.level_format import BINARY, TERNARY, LevelFormat, log_format, power_sum_format
from bevel.calib.formats.packing import pack_bits, unpack_bits

Reals = NDArray[Any]
Codes = NDArray[Any]

MAX_BITS = 16


@dataclass(frozen=True)
class IntFormat:
    """Integers of `bits` bits (2 to 16, unsigned from 1), two's complement where `signed`; each is its own code.

    Raises ValueError for other widths.
    """

    bits: int
    signed: bool

    def __post_init__(self) -> None:
        if not (2 if self.signed else 1) <= self.bits <= MAX_BITS:
            raise ValueError(f"an integer format has 2 (unsigned: 1) to {MAX_BITS} bits, not {self.bits}")

    @property
    def name(self) -> str:
        return f"{'int' if self.signed else 'uint'}{self.bits}"

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.bits - self.signed)) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest numpy type that holds every code."""
        return np.dtype(f"{'int' if self.signed else 'uint'}{8 if self.bits <= 8 else 16}")

    def values(self) -> NDArray[np.float64]:
        """Every representable value, ascending: [2**bits]."""
        return np.arange(self.low, self.high + 1, dtype=np.float64)

    def round(self, x: Reals) -> Reals:
        """The nearest representable value of each element, ties to even, saturating; floats stay floats."""
        return np.clip(np.rint(x), self.low, self.high)

    def encode(self, x: Reals) -> Codes:
        """The code of the nearest value, as `dtype`. NaN has no code: the caller keeps it out."""
        return self.round(x).astype(self.dtype)

    def decode(self, codes: Codes) -> NDArray[np.float32]:
        """The value of each code; float32 holds every one exactly. Raises ValueError for codes the format has not."""
        self._check(codes)
        return codes.astype(np.float32)

    def pack(self, codes: Codes) -> NDArray[np.uint8]:
        """Codes at `bits` bits each (`bevel.calib.formats.packing`). Raises ValueError for codes the format has not."""
        self._check(codes)
        return pack_bits(codes, self.bits)

    def unpack(self, packed: NDArray[np.uint8], count: int) -> Codes:
        """The first `count` codes of `pack`'s bytes: [count] of `dtype`. Raises ValueError where bytes are missing."""
        return unpack_bits(packed, count, self.bits, self.signed).astype(self.dtype)

    def _check(self, codes: Codes) -> None:
        if codes.dtype.kind not in "iu":
            raise ValueError(f"codes of {self.name} are integers, not {codes.dtype}")
        if codes.size and (int(codes.min()) < self.low or int(codes.max()) > self.high):
            raise ValueError(f"codes from {codes.min()} to {codes.max()} lie outside {self.name}")


Format = IntFormat | FloatFormat | LevelFormat

EXAMPLES = "int4, uint8, ternary, binary, e2m1, e4m3, e3m4ieee, bfloat16, log4, log4s0.5, apot5k2"


def parse(name: str) -> Format:
    """The format of a name: int and uint of 1 to 16 bits; minifloats by a standard's name or their split; binary,
    ternary; logN and logNsSTEP; apotNkTERMBITS. Raises ValueError for anything else."""
    if match := re.fullmatch(r"(?:uint([1-9]|1[0-6])|int([2-9]|1[0-6]))", name):
        return IntFormat(int(match[1] or match[2]), match[1] is None)
    if match := re.fullmatch(r"log(\d)(?:s(\d+(?:\.\d+)?))?", name):
        return log_format(int(match[1]), float(match[2] or 1))
    if match := re.fullmatch(r"apot(\d)k(\d)", name):
        return power_sum_format(int(match[1]), int(match[2]))
    levels = {one.name: one for one in (BINARY, TERNARY)}
    if name in levels:
        return levels[name]
    if name in NAMED or re.match(r"e\d+m", name):
        return parse_float(name)
    raise ValueError(f"no format {name!r}; known are such as {EXAMPLES}")


INT2, UINT2 = IntFormat(2, True), IntFormat(2, False)
INT4, UINT4 = IntFormat(4, True), IntFormat(4, False)
INT8, UINT8 = IntFormat(8, True), IntFormat(8, False)
INT16, UINT16 = IntFormat(16, True), IntFormat(16, False)
