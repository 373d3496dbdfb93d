"""Integers to blocks of channels that share a power of two: `bevel.calib.formats.mx.MxRounding.round`, channels last.

Results are half as wide as what they may overwrite, so that those of a block never lie on what is still to be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, pixel_by_pixel
from bevel.backends.program.op import Array, Op, Operand, activation, output
from bevel.calib.formats.mx import MxRounding


@dataclass(frozen=True)
class RoundMx(Op):
    """q: int32 [rows, channels], up to +-rounding.limit; y: int16 [rows, channels]. The last block may be shorter."""

    rows: int
    channels: int
    rounding: MxRounding

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.rows, self.channels)
        return activation("q", shape, "int32"), output("y", shape, "int16")

    @property
    def in_place(self) -> bool:
        return True

    def reference(self, *arrays: Array) -> Array:
        return self.rounding.round(arrays[0], axis=1)

    def banding(self, laid: Laid) -> Banding | None:
        """Blocks lie within pixels."""
        return pixel_by_pixel(laid, self.rows, self.channels, lambda rows: replace(self, rows=rows))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Blocks of every size, ties, zeros, and the largest magnitudes."""
        limit = self.rounding.limit
        size = 2.0 ** rng.uniform(0, np.log2(limit), (self.rows, 1))
        q = np.rint(rng.standard_normal((self.rows, self.channels)) * size)
        ties = rng.random(q.shape) < 0.3
        q = np.where(ties, rng.integers(-32, 33, q.shape) << rng.integers(0, 12, q.shape), q)
        q.flat[0] = limit
        if self.rows > 1:
            q[-1] = -limit
            q[self.rows // 2] = 0
        return (np.clip(q, -limit, limit).astype(np.int32),)


def cases() -> Iterable[RoundMx]:
    e2m1, e3m2 = MxRounding(1, 12, 11), MxRounding(2, 448, 6)
    yield RoundMx(1, 1, e2m1)
    yield RoundMx(40, 32, e2m1)
    yield RoundMx(33, 70, e2m1)
    yield RoundMx(21, 64, e3m2)
    yield RoundMx(17, 24, MxRounding(3, 60, 9, fraction=2))
    yield RoundMx(9, 100, MxRounding(6, 127, 8))
    yield RoundMx(12, 20, MxRounding(0, 4, 0, block=6, fraction=12))
