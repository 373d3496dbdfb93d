"""Words of bit planes (`bevel.backends.encodings.bitplanes`) as TIR expressions, for use inside kernels."""

from __future__ import annotations

from typing import Any

from bevel.backends.tir.lazy import T

FIELDS = {1: 0x55, 2: 0x33, 4: 0x0F}  # a byte's fields of 1, 2 and 4 bits, every second one


def popcount(value: Any, word: int) -> Any:
    """The set bits of an unsigned expression, counted in fields that grow: no memory, no instruction of its own.

    Compilers know this form, and take the instruction of processors that have one.
    """

    def mask(field: int) -> Any:
        return T.IntImm(f"uint{word}", FIELDS[field] * (2**word // 255))

    def by(bits: int) -> Any:
        return T.IntImm(f"uint{word}", bits)

    value = value - ((value >> by(1)) & mask(1))
    value = (value & mask(2)) + ((value >> by(2)) & mask(2))
    value = (value + (value >> by(4))) & mask(4)
    return (value * T.IntImm(f"uint{word}", 2**word // 255)) >> by(word - 8)


def nibble(four: Any, plane: int) -> Any:
    """Bit `plane` of the four bytes of a uint32 expression, as the low four bits of another.

    One product moves all of them: 2**24 + 2**17 + 2**10 + 2**3, and no two terms meet.
    """
    ones = (four >> T.uint32(plane)) & T.uint32(0x01010101) if plane else four & T.uint32(0x01010101)
    return (ones * T.uint32(0x01020408)) >> T.uint32(24)
