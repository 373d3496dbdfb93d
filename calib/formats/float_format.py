"""Small floating-point formats: any split of exponent and mantissa, from 3 bits to bfloat16 and float16.

    value = (-1)**sign * 2**(e - bias) * (1 + m / 2**mantissa),    or 2**(1 - bias) * m / 2**mantissa where e = 0

Rounding is to nearest, ties to the even mantissa (up where there is none), and saturates at the largest finite value,
as the conversions of the OCP Microscaling Formats (MX) Specification v1.0 and the OCP 8-bit Floating Point
Specification v1.0 (saturating mode) do. Codes are sign, exponent, mantissa from the highest bit down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.packing import pack_bits, unpack_bits

Reals = NDArray[Any]
Codes = NDArray[Any]

# What the highest codes mean: values like all others; the very highest is NaN (E4M3); or, as in IEEE 754, the highest
# exponent holds infinity and NaNs (E5M2).
Specials = Literal["none", "nan", "ieee"]


@dataclass(frozen=True)
class FloatFormat:
    """`exponent` (1 to 8) and `mantissa` (0 to 10) bits and a sign; the bias is 2**(exponent - 1) - 1 unless given.

    Raises ValueError for splits of fewer than 3 or more than 16 bits.
    """

    exponent: int
    mantissa: int
    specials: Specials = "none"
    given_bias: int | None = None

    def __post_init__(self) -> None:
        if not (1 <= self.exponent <= 8 and 0 <= self.mantissa <= 10 and 3 <= self.bits <= 16):
            raise ValueError(f"no float format of {self.exponent} exponent and {self.mantissa} mantissa bits")
        if self.specials == "nan" and self.mantissa == 0:
            raise ValueError("a format whose highest code is NaN needs a mantissa")

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.mantissa

    @property
    def name(self) -> str:
        standard = {known: name for name, known in NAMED.items()}
        split = f"e{self.exponent}m{self.mantissa}"
        split += {"none": "all" if split in NAMED else "", "nan": "fn", "ieee": "ieee"}[self.specials]
        return standard.get(self, split if self.given_bias is None else f"{split}b{self.given_bias}")

    @property
    def bias(self) -> int:
        return 2 ** (self.exponent - 1) - 1 if self.given_bias is None else self.given_bias

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest numpy type that holds every code."""
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16)

    @property
    def smallest_exponent(self) -> int:
        """The power of two of normal numbers with the lowest exponent field, and of all subnormals."""
        return 1 - self.bias

    @property
    def highest_code(self) -> int:
        """The code of the largest finite value."""
        top: int = 2 ** (self.exponent + self.mantissa) - 1
        match self.specials:
            case "none":
                return top
            case "nan":
                return top - 1
            case "ieee":
                return int(top - 2**self.mantissa)

    @property
    def high(self) -> float:
        """The largest finite value."""
        return float(self._magnitudes(np.array(self.highest_code)))

    def values(self) -> NDArray[np.float64]:
        """Every finite value once, ascending; the two zeros are one value."""
        magnitudes = self._magnitudes(np.arange(self.highest_code + 1))
        return np.concatenate([-magnitudes[:0:-1], magnitudes])

    def round(self, x: Reals) -> Reals:
        """The nearest finite value of each element, ties to the even mantissa, saturating; float64."""
        wide = np.asarray(x, np.float64)
        magnitude = np.minimum(np.abs(wide), self.high)
        _, exponent = np.frexp(magnitude)  # magnitude = f * 2**exponent, f in [0.5, 1)
        step = np.ldexp(1.0, np.maximum(exponent - 1, self.smallest_exponent) - self.mantissa)
        rounded: Reals = np.copysign(np.minimum(np.rint(magnitude / step) * step, self.high), wide)
        return rounded

    def encode(self, x: Reals) -> Codes:
        """The code of the nearest value, as `dtype`; negative zero keeps its sign. NaN has no code here."""
        rounded = self.round(x)
        magnitude = np.abs(rounded)
        _, exponent = np.frexp(magnitude)
        field = np.where(magnitude > 0, np.maximum(exponent - 1, self.smallest_exponent), self.smallest_exponent)
        steps = np.ldexp(magnitude, self.mantissa - field).astype(np.int64)  # with the leading one of normal numbers
        # A normal number's leading one adds 1 to the exponent field by itself.
        code = (field - self.smallest_exponent) * 2**self.mantissa + steps
        sign = np.signbit(rounded).astype(np.int64) << (self.bits - 1)
        codes: Codes = (code | sign).astype(self.dtype)
        return codes

    def decode(self, codes: Codes) -> NDArray[np.float32]:
        """The value of each code. Raises ValueError for codes that are NaN, infinity, or no codes of this format."""
        wide = codes.astype(np.int64)
        magnitude = wide & (2 ** (self.bits - 1) - 1)
        if codes.size and (wide.min() < 0 or wide.max() >= 2**self.bits or magnitude.max() > self.highest_code):
            raise ValueError(f"codes hold what is no finite {self.name}")
        signs = np.where(wide >> (self.bits - 1), -1.0, 1.0)
        return (signs * self._magnitudes(magnitude)).astype(np.float32)

    def pack(self, codes: Codes) -> NDArray[np.uint8]:
        """Codes at `bits` bits each (`bevel.calib.formats.packing`)."""
        return pack_bits(codes, self.bits)

    def unpack(self, packed: NDArray[np.uint8], count: int) -> Codes:
        """The first `count` codes of `pack`'s bytes."""
        return unpack_bits(packed, count, self.bits, signed=False).astype(self.dtype)

    def _magnitudes(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        field, fraction = codes >> self.mantissa, codes & (2**self.mantissa - 1)
        normal = field > 0
        steps = fraction + normal * 2**self.mantissa
        power = np.maximum(field, 1) - self.bias - self.mantissa
        reals: NDArray[np.float64] = np.ldexp(steps.astype(np.float64), power)
        return reals


E2M1 = FloatFormat(2, 1)
E2M3 = FloatFormat(2, 3)
E3M2 = FloatFormat(3, 2)
E4M3 = FloatFormat(4, 3, "nan")
E5M2 = FloatFormat(5, 2, "ieee")
FLOAT16 = FloatFormat(5, 10, "ieee")
BFLOAT16 = FloatFormat(8, 7, "ieee")

NAMED: dict[str, FloatFormat] = {
    "e2m1": E2M1,
    "e2m3": E2M3,
    "e3m2": E3M2,
    "e4m3": E4M3,
    "e5m2": E5M2,
    "float16": FLOAT16,
    "bfloat16": BFLOAT16,
}


def parse_float(name: str) -> FloatFormat:
    """The format of a standard's name, or of a split: "e3m4" (all codes finite), "e4m3ieee", "e4m3all", "e2m5b4".

    Raises ValueError for anything else.
    """
    if name in NAMED:
        return NAMED[name]
    match = re.fullmatch(r"e([1-8])m(\d|10)(fn|ieee|all)?(?:b(-?\d{1,3}))?", name)
    if match is None:
        raise ValueError(f"no float format {name!r}; known: {', '.join(NAMED)}, and splits such as e3m4 or e4m3ieee")
    specials: dict[str | None, Specials] = {None: "none", "all": "none", "fn": "nan", "ieee": "ieee"}
    return FloatFormat(int(match[1]), int(match[2]), specials[match[3]], int(match[4]) if match[4] else None)
