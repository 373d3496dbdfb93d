"""What a tensor element can hold, and how it is stored.

A format has a finite set of real values, each with one code. `round` moves reals to the nearest value, `encode` gives
codes, `decode` gives the values back, `pack` stores codes at their true width. Scales and zero points are not part of
a format: they belong to a tensor (`bevel.calib.scheme`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[Any]
Codes = NDArray[Any]

MIN_BITS, MAX_BITS = 2, 16


@dataclass(frozen=True)
class IntFormat:
    """Integers of `bits` bits (2 to 16), two's complement where `signed`. The code of an integer is that integer.

    Raises ValueError for other widths.
    """

    bits: int
    signed: bool

    def __post_init__(self) -> None:
        if not MIN_BITS <= self.bits <= MAX_BITS:
            raise ValueError(f"an integer format has {MIN_BITS} to {MAX_BITS} bits, not {self.bits}")

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
        """Codes at `bits` bits each, flattened, lowest bit first: [ceil(size * bits / 8)] bytes, zeros at the end.

        At 4 bits this is ONNX's layout for INT4 and UINT4 (first element in the low nibble), at 8 and 16 bits the
        array's own little-endian bytes. Raises ValueError for codes the format has not.
        """
        self._check(codes)
        places = np.arange(self.bits, dtype=np.uint16)
        words = codes.ravel().astype(np.uint16)  # modulo 2**16: the low bits of two's complement are unchanged
        bits = (words[:, np.newaxis] >> places & 1).astype(np.uint8)
        return np.packbits(bits, bitorder="little")

    def unpack(self, packed: NDArray[np.uint8], count: int) -> Codes:
        """The first `count` codes of `pack`'s bytes: [count] of `dtype`. Raises ValueError where bytes are missing."""
        if packed.size * 8 < count * self.bits:
            raise ValueError(f"{count} {self.name} codes need {-(-count * self.bits // 8)} bytes, not {packed.size}")
        bits = np.unpackbits(packed.ravel(), count=count * self.bits, bitorder="little").reshape(count, self.bits)
        weights = 1 << np.arange(self.bits, dtype=np.int32)
        if self.signed:
            weights[-1] = -weights[-1]
        return (bits @ weights).astype(self.dtype)

    def _check(self, codes: Codes) -> None:
        if codes.dtype.kind not in "iu":
            raise ValueError(f"codes of {self.name} are integers, not {codes.dtype}")
        if codes.size and (int(codes.min()) < self.low or int(codes.max()) > self.high):
            raise ValueError(f"codes from {codes.min()} to {codes.max()} lie outside {self.name}")


def parse(name: str) -> IntFormat:
    """The format of a name such as "int8" or "uint4". Raises ValueError for anything else."""
    match = re.fullmatch(r"(u?)int([1-9]\d?)", name)
    if match is None or not MIN_BITS <= int(match[2]) <= MAX_BITS:
        raise ValueError(f"no format {name!r}; known: int and uint of {MIN_BITS} to {MAX_BITS} bits, such as uint4")
    return IntFormat(int(match[2]), not match[1])


INT2, UINT2 = IntFormat(2, True), IntFormat(2, False)
INT4, UINT4 = IntFormat(4, True), IntFormat(4, False)
INT8, UINT8 = IntFormat(8, True), IntFormat(8, False)
INT16, UINT16 = IntFormat(16, True), IntFormat(16, False)
