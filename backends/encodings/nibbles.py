"""Codes of four bits that the device writes itself, two to a byte: what a cache keeps.

    byte = (first code + 8) + 16 * (second code + 8)

Codes of -8 to 7 lie as 0 to 15, so that a kernel takes them out of words by a mask; a zero point that is larger by 8
makes up for it. Weights of four bits, which nothing writes, lie as two's complement (`bevel.calib.formats.packing`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.packing import pack_bits, unpack_bits

EACH = 2  # codes to a byte
BITS = 4
LEAST = 8  # what is added to codes


def pack_nibbles(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """Integers, flattened, modulo 16 from -8 on: [ceil(size / 2)] bytes; the last half byte of an odd number is 0."""
    return pack_bits((codes.astype(np.int32) + LEAST) % 2**BITS, BITS)


def unpack_nibbles(packed: NDArray[np.uint8], count: int) -> NDArray[np.int8]:
    """The first `count` codes: [count]."""
    return (unpack_bits(packed, count, BITS, signed=False) - LEAST).astype(np.int8)
