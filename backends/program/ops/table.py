"""Any function of one value. Of int8, looked up: y = table[x + 128]. The entries are int8, or int16 for int16 results.

Of int16, straight lines between codes (`bevel.calib.arithmetic.piecewise`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, element_by_element
from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, constant, of_values, output, stored
from bevel.calib.arithmetic.piecewise import BITS_OF_LENGTH, DOMAIN_BITS, END, evaluate
from bevel.calib.arithmetic.requantize import Output

ENTRIES = 256


@dataclass(frozen=True)
class Table(Op):
    """x: int8 [size]; table: dtype [256], entry q + 128 is the answer for q; y: dtype [size]."""

    size: int
    dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.size,)
        return activation("x", shape), constant("table", (ENTRIES,), self.dtype), output("y", shape, self.dtype)

    @property
    def in_place(self) -> bool:
        return self.dtype == "int8"

    def reference(self, *arrays: Array) -> Array:
        x, table = arrays
        result: Array = table[x.astype(np.int32) + 128]
        return result

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        low, high = inputs[0] or (-ENTRIES // 2, ENTRIES // 2 - 1)
        return of_values(constants[0][low + ENTRIES // 2 : high + ENTRIES // 2 + 1])

    def banding(self, laid: Laid) -> Banding | None:
        return element_by_element(laid, self.size, lambda size: replace(self, size=size))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = rng.integers(-128, 128, self.size, dtype=np.int8)
        x[0], x[-1] = -128, 127
        limits = np.iinfo(self.dtype)
        return x, rng.permutation(np.linspace(limits.min, limits.max, ENTRIES).astype(self.dtype))


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


def cases() -> Iterable[Table | WideTable]:
    yield Table(1)
    yield Table(2)
    yield Table(263)
    yield Table(300, "int16")
    int16 = Output(0, -(2**15), 2**15 - 1, "int16")
    yield WideTable(1, segments=1, block=12, fraction=0, output=int16)
    yield WideTable(2000, segments=300, block=9, fraction=0, output=int16)
    yield WideTable(2000, segments=4096, block=6, fraction=0, output=Output(0, -300, 20000, "int16"))
    yield WideTable(2000, segments=200, block=10, fraction=8, output=Output())
    yield WideTable(2000, segments=16, block=12, fraction=8, output=Output(0, -7, 90))
