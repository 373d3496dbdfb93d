"""Codes of 1 to 8 bits of a matrix, for 16 outputs at a time: what a vector of words holds of 32 inputs in a row.

    word [block, unit, plane's word, lane]: lane: one of 16 outputs; unit: 32 inputs

The bits of a code are cut into planes of 8, 4, 2 and 1, lowest first, as the width is a sum of these; a word of a plane
of p bits holds those of 32 / p inputs, first input lowest. So 32 inputs take as many words of each output as a code has
bits, whatever these are, and a code is found by one shift and one mask a plane.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LANES = 16  # outputs
UNIT = 32  # inputs
WIDTHS = (8, 4, 2, 1)

Words = NDArray[np.int32]


def planes(bits: int) -> list[tuple[int, int, int]]:
    """(bits of a plane, those before it, which is its first word, too) of each plane."""
    found, taken = [], 0
    for width in WIDTHS:
        if bits & width:
            found.append((width, taken, taken))
            taken += width
    return found


def blocks_of(n: int) -> int:
    return -(-n // LANES)


def units_of(k: int) -> int:
    return -(-k // UNIT)


def by_lanes(values: NDArray[Any]) -> NDArray[Any]:
    """[k, n] of each output as [blocks, k, 16], zeros where outputs are missing."""
    k, n = values.shape
    filled = np.pad(values, ((0, 0), (0, blocks_of(n) * LANES - n)))
    return np.ascontiguousarray(filled.reshape(k, -1, LANES).transpose(1, 0, 2))


def from_lanes(values: NDArray[Any], n: int) -> NDArray[Any]:
    """`by_lanes` undone."""
    return np.ascontiguousarray(values.transpose(1, 0, 2).reshape(values.shape[1], -1)[:, :n])


def pack_planes(codes: NDArray[Any], bits: int) -> Words:
    """Codes from 0 on, [k, n], as int32 [blocks, units, bits, 16]."""
    k, _ = codes.shape
    laid = by_lanes(np.pad(codes.astype(np.uint32), ((0, units_of(k) * UNIT - k), (0, 0))))
    units = laid.reshape(laid.shape[0], -1, UNIT, LANES)
    words = []
    for width, taken, _ in planes(bits):
        part = (units >> np.uint32(taken) & np.uint32(2**width - 1)).reshape(*units.shape[:2], width, -1, LANES)
        places = np.arange(UNIT // width, dtype=np.uint32)[:, np.newaxis] * np.uint32(width)
        words.append(np.bitwise_or.reduce(part << places, axis=3))
    return np.concatenate(words, axis=2).astype(np.uint32).view(np.int32)


def unpack_planes(words: Words, k: int, n: int) -> NDArray[np.int32]:
    """`pack_planes` undone: [k, n]."""
    blocks, units, bits, _ = words.shape
    given = np.ascontiguousarray(words).view(np.uint32)
    codes = np.zeros((blocks, units, UNIT, LANES), np.uint32)
    for width, taken, first in planes(bits):
        places = np.arange(UNIT // width, dtype=np.uint32)[:, np.newaxis] * np.uint32(width)
        part = given[:, :, first : first + width, np.newaxis] >> places & np.uint32(2**width - 1)
        codes |= part.reshape(codes.shape) << np.uint32(taken)
    return from_lanes(codes.reshape(blocks, units * UNIT, LANES), n)[:k].astype(np.int32)
