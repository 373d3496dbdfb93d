"""Words of four int8, which GPUs multiply at a time.

`bevel_dot4(a, b, sum)` is `sum` and the products of the bytes of two words, an instruction where the device has it
(cl_khr_integer_dot_product, dp4a), else the same in C.

`bevel_bytes4(a, b, c, d)` is the word of the lowest bytes of four integers, for what does not lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bevel.backends.program.op import Array
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.lazy import T

DOT4, BYTES4 = "bevel_dot4", "bevel_bytes4"
WORD = 4  # int8 in a word


def dot4(a: Any, b: Any, total: Any) -> Any:
    return T.call_pure_extern("int32", DOT4, a, b, total)


def bytes4(values: Sequence[Any]) -> Any:
    return T.call_pure_extern("int32", BYTES4, *values)


def byte_of(words: Sequence[Any], which: int) -> Any:
    """The word of the same byte of each of four words."""
    return bytes4([one >> (8 * which) if which else one for one in words])


def word_of(value: int) -> int:
    """Four times the same int8."""
    return int(np.full(WORD, value, np.int8).view(np.int32)[0])


def in_words(values: Array) -> Array:
    """int8 [..., n] as int32 [..., words], the last one filled up with 0."""
    missing = -values.shape[-1] % WORD
    filled = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])
    return np.ascontiguousarray(filled).view(np.int32)


def from_words(words: Array, size: int) -> Array:
    """The way back, to int8 [..., size]."""
    return np.ascontiguousarray(words).view(np.int8)[..., :size]


def words_for(size: int) -> int:
    return blocks_of(size, WORD)


def within(inside: Any, taken: Any, padding: int) -> Any:
    """TIR for a value of the image, or of its padding."""
    return taken if inside is True else T.if_then_else(inside, taken, padding)


TILES = (1, 2, 4, 8)  # sums of a thread


def tiles_of(channels: int, taken: int) -> Iterator[int]:
    """The sums that a thread may have of so many, but for those that it has, which are tried as the kernel is."""
    return (tile for tile in TILES if channels % tile == 0 and tile != taken)


def as_conv(plain: Any) -> Conv:
    """A product of rows as a convolution of one pixel a row."""
    if isinstance(plain, Conv):
        return plain
    return Conv(1, 1, plain.rows, plain.k, plain.n, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1, 0, plain.output)
