"""Any function of one int16 value as straight lines between codes (`bevel.calib.arithmetic.piecewise`), in 32 bits.

The block of a code says where its segments begin and how long they are; a shift and an addition find the segment, and
nothing is searched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, element_by_element
from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, constant, stored
from bevel.calib.arithmetic.piecewise import BITS_OF_LENGTH, DOMAIN_BITS, END, evaluate
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class WideTable(Op):
    """x: int16 [size]; blocks: uint16 [2**16 / 2**block]; ends: int16 [segments, 2]; y: output.dtype [size].

    The ends hold the zero point: that of `output` is 0. No segment is longer than 2**block, which is at most 2**12.
    """

    size: int
    segments: int
    block: int
    fraction: int
    output: Output

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.size,), "int16"),
            constant("blocks", (2 ** (DOMAIN_BITS - self.block),), "uint16"),
            constant("ends", (self.segments, 2), "int16"),
            stored("y", (self.size,), self.output),
        )

    @property
    def in_place(self) -> bool:
        return self.output.dtype == "int16"

    def reference(self, *arrays: Array) -> Array:
        x, blocks, ends = arrays
        return self.output.store(evaluate(x, blocks, ends, self.block, self.fraction))

    def banding(self, laid: Laid) -> Banding | None:
        return element_by_element(laid, self.size, lambda size: replace(self, size=size))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Segments of every length that a block takes, in no order, with ends anywhere in int16."""
        blocks = 2 ** (DOMAIN_BITS - self.block)
        bits = rng.integers(0, self.block + 1, blocks)
        bits[: self.block + 1] = np.arange(self.block + 1)[:blocks]
        bits = np.maximum(bits, self.block - self.segments.bit_length() + 1)  # a block's segments must be there
        firsts = rng.integers(0, self.segments - 2 ** (self.block - bits) + 1)
        entries = firsts * BITS_OF_LENGTH + bits
        ends = rng.integers(END[0], END[1] + 1, (self.segments, 2), dtype=np.int16)
        return random_values(rng, (self.size,), "int16"), entries.astype(np.uint16), ends


def cases() -> Iterable[WideTable]:
    int16 = Output(0, -(2**15), 2**15 - 1, "int16")
    yield WideTable(1, segments=1, block=12, fraction=0, output=int16)
    yield WideTable(2000, segments=300, block=9, fraction=0, output=int16)
    yield WideTable(2000, segments=4096, block=6, fraction=0, output=Output(0, -300, 20000, "int16"))
    yield WideTable(2000, segments=200, block=10, fraction=8, output=Output())
    yield WideTable(2000, segments=16, block=12, fraction=8, output=Output(0, -7, 90))
