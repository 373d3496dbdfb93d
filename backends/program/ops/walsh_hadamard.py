"""The Walsh-Hadamard transform of each row, requantized: `bevel.calib.arithmetic.walsh_hadamard`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, pixel_by_pixel
from bevel.backends.program.examples import example_of
from bevel.backends.program.op import Array, Op, Operand, activation, constant, scratch, stored
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize
from bevel.calib.arithmetic.walsh_hadamard import HadamardBlock, HadamardForm, walsh_hadamard


@dataclass(frozen=True)
class ButterflyBlock:
    """m: of the base; size: m times a power of two; multiplier, shift: of its sums."""

    size: int
    m: int
    multiplier: int
    shift: int

    @property
    def stages(self) -> int:
        """How many butterflies each element goes through."""
        return (self.size // self.m).bit_length() - 1


@dataclass(frozen=True)
class WalshHadamard(Op):
    """x: x_dtype [rows, n]; entries: int8, n signs, and the [m, m] bases of the blocks whose m is more than 1; y:
    output.dtype [rows, n].

    y = requantize(the transform of x - x_zero_point). No sum reaches 2**31, and |sum * multiplier| stays below 2**62.
    """

    rows: int
    blocks: tuple[ButterflyBlock, ...]
    x_zero_point: int
    output: Output
    x_dtype: str = "int8"

    @property
    def n(self) -> int:
        return sum(one.size for one in self.blocks)

    @property
    def bases(self) -> list[int]:
        """Where the base of each block begins among the entries; that of one element is nowhere."""
        sizes = [one.m**2 if one.m > 1 else 0 for one in self.blocks]
        return [self.n + sum(sizes[:place]) for place in range(len(sizes) + 1)]

    def operands(self) -> tuple[Operand, ...]:
        largest = max(one.m for one in self.blocks)
        return (
            activation("x", (self.rows, self.n), self.x_dtype),
            constant("entries", (self.bases[-1],), "int8"),
            stored("y", (self.rows, self.n), self.output),
            scratch("sums", (self.n + largest,), "int32"),  # and what a base multiplies
        )

    @property
    def macs(self) -> int:
        """Those of bases; butterflies only add."""
        return self.rows * sum(one.size * one.m for one in self.blocks if one.m > 1)

    @property
    def besides(self) -> int:
        """Additions of butterflies."""
        return self.rows * sum(one.size * one.stages for one in self.blocks)

    def form(self, entries: Array) -> HadamardForm:
        ones = np.ones((1, 1), np.int8)
        parts = [
            HadamardBlock(entries[at : at + one.m**2].reshape(one.m, one.m) if one.m > 1 else ones, one.stages)
            for one, at in zip(self.blocks, self.bases, strict=False)
        ]
        return HadamardForm(entries[: self.n], tuple(parts))

    def reference(self, *arrays: Array) -> Array:
        x, form = arrays[0], self.form(arrays[1])
        multipliers, shifts = (
            form.of_blocks([getattr(one, name) for one in self.blocks]) for name in ("multiplier", "shift")
        )
        return requantize(
            walsh_hadamard(x.astype(np.int64) - self.x_zero_point, form), multipliers, shifts, self.output
        )

    def banding(self, laid: Laid) -> Banding | None:
        """Rows are pixels."""
        return pixel_by_pixel(laid, self.rows, self.n, lambda rows: replace(self, rows=rows))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """The first row is the loudest there is: all of a block adds up in its first sum."""
        x = example_of(rng, self.operands()[0])
        entries = rng.choice(np.array([-1, 1], np.int8), self.bases[-1])
        limits = np.iinfo(x.dtype)
        column = np.concatenate([one.matrix()[:, 0] for one in self.form(entries).blocks])
        x[0] = np.where(entries[: self.n] * column > 0, limits.max, limits.min)
        return x, entries


def entries_of(form: HadamardForm) -> Array:
    """The constant of an operator."""
    bases: Sequence[Array] = [one.base.ravel() for one in form.blocks if one.base.size > 1]
    return np.concatenate([form.signs, *bases]).astype(np.int8)


def cases() -> Iterable[WalshHadamard]:
    """Of every number of stages, several blocks, bases of any matrix, both widths in and out."""

    def block(size: int, ratio: float, m: int = 1) -> ButterflyBlock:
        return ButterflyBlock(size, m, *fixed_point(ratio))

    wide = Output(-300, -(2**15), 2**15 - 1, "int16")
    for stages in range(9):
        yield WalshHadamard(3, (block(2**stages, 0.004 / (stages + 1)),), 2**stages // 2, Output(-5))
    yield WalshHadamard(9, (block(64, 0.02),), -128, Output(11, -60, 70))
    yield WalshHadamard(5, (block(128, 0.7),), 3, wide)
    yield WalshHadamard(5, (block(256, 0.0003),), -300, Output(), "int16")
    yield WalshHadamard(4, (block(32, 0.17), block(4, 0.4)), 2**15 - 1, wide, "int16")
    yield WalshHadamard(3, (block(12, 0.03, 12),), 7, Output())
    yield WalshHadamard(3, (block(40, 0.00005, 20),), 0, Output(1), "int16")
    yield WalshHadamard(2, (block(16, 0.1), block(24, 0.08, 12), block(12, 0.03, 12), block(1, 0.9)), -9, wide)
