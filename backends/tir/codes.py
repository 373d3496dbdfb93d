"""Codes of `bevel.backends.encodings.coded` as TIR expressions, for use inside kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bevel.backends.encodings.coded import CODES, Coding
from bevel.backends.tir.lazy import T


def integers_of(coding: Coding, packed: Any, first: Any, lanes: int, table: Any) -> list[Any]:
    """The integers of the eight codes of a lane whose first byte is `first`, as int32 expressions."""
    return [integer(coding, code, table) for code in codes_of(coding, packed, first, lanes)]


def codes_of(coding: Coding, packed: Any, first: Any, lanes: int) -> Iterator[Any]:
    for start in range(0, CODES * coding.bits, coding.bits):
        byte, offset = divmod(start, 8)
        word = T.cast(packed[first + byte * lanes], "int32")
        for more in range(1, (offset + coding.bits + 7) // 8):
            word = word | (T.cast(packed[first + (byte + more) * lanes], "int32") << (8 * more))
        yield (word >> offset) & ((1 << coding.bits) - 1)


def integer(coding: Coding, code: Any, table: Any) -> Any:
    if coding.tabled:
        return T.cast(table[code], "int32")
    return code * 2 - 1 if coding.bits == 1 else code + coding.low
