"""Rows of int16 steps, each rounded to few codes between its own ends: `bevel.calib.arithmetic.round_rows`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, pixel_by_pixel
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, output
from bevel.calib.arithmetic.round_rows import HIGHEST, round_rows


@dataclass(frozen=True)
class RoundRows(Op):
    """q, y: int16 [rows, n]. levels: the largest code, of 3 to 255; the least is 0."""

    rows: int
    n: int
    levels: int

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.rows, self.n)
        return activation("q", shape, "int16"), output("y", shape, "int16")

    @property
    def in_place(self) -> bool:
        return True

    def reference(self, *arrays: Array) -> Array:
        return round_rows(arrays[0], self.levels)

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        """A row's least stays, and its largest may grow by less than the levels."""
        (known,) = inputs
        low, high = known if known is not None else (-(2**15), HIGHEST)
        return low, min(high + self.levels - 1, HIGHEST)

    def banding(self, laid: Laid) -> Banding | None:
        """Rows are pixels."""
        return pixel_by_pixel(laid, self.rows, self.n, lambda rows: replace(self, rows=rows))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Rows of every size, ties, zeros, and int16's ends."""
        size = 2.0 ** rng.uniform(0, 15, (self.rows, 1))
        q = np.rint(rng.standard_normal((self.rows, self.n)) * size)
        q.flat[0] = 2**15 - 1
        if self.rows > 2:
            q[-1] = -(2**15)
            q[0, -1] = -(2**15)
            q[1] = 5
            q[2] = np.arange(self.n) - self.n // 2
        return (np.clip(q, -(2**15), 2**15 - 1).astype(np.int16),)


def cases() -> Iterable[RoundRows]:
    yield RoundRows(1, 1, 255)
    yield RoundRows(40, 64, 255)
    yield RoundRows(33, 70, 15)
    yield RoundRows(9, 300, 3)
    yield RoundRows(17, 24, 31)
