"""Max and Min of two tensors: both on the result's scale with the same shift, compared, and rounded once.

    y = store(max(a * a_multiplier + a_offset, b * b_multiplier + b_offset) >> shift)

A shift keeps order, so that this is the larger of the two as they would be rounded alone. The offsets hold
2**(shift - 1) and the zero points.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.op import Array, Operand, stored
from bevel.backends.program.pairs import Pair
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class Extreme(Pair):
    """Both sums fit int32 where all is int8, else int64."""

    a_multiplier: int
    b_multiplier: int
    a_offset: int
    b_offset: int
    shift: int
    largest: bool
    output: Output

    def result(self) -> Operand:
        return stored("y", self.shape, self.output)

    def reference(self, *arrays: Array) -> Array:
        a, b = self.broadcast(*arrays)
        pick = np.maximum if self.largest else np.minimum
        sums = pick(a * self.a_multiplier + self.a_offset, b * self.b_multiplier + self.b_offset)
        return self.output.store(sums >> self.shift)


def cases() -> Iterable[Extreme]:
    for largest in (True, False):
        yield Extreme((1,), (1,), (1,), 1, 1, 0, 0, 0, largest, Output())
        yield Extreme(
            (2, 5, 3, 7), (2, 5, 3, 7), (3, 1), 700_001, 523_456, 2**19, 128 * 523_456, 20, largest, Output(-7)
        )
        yield Extreme((3, 4), (3, 4), (3, 4), 3, 2, 9, 1, 1, largest, Output(3, -50, 60))
        int16 = Output(3, -(2**15), 2**15 - 1, "int16")
        yield Extreme(
            (3, 4), (3, 4), (4,), 2**30, 2**29, 2**45, 77, 30, largest, int16, a_dtype="int16", b_dtype="int16"
        )
        yield Extreme((3, 4), (3, 4), (), 2**20, 2**29, 2**25, 77, 30, largest, int16, a_dtype="int16")
