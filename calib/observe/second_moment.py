"""The second moment of what a product reads: E[x x^T] over samples and rows, for each group of channels.

    error of a product whose weights change by dw:     E[(dw x)**2] = dw E[x x^T] dw^T

Twice this is GPTQ's Hessian; rotations diagonalize it, and least squares solve with it. Source: Frantar et al. 2023,
"GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers". The products of one sample are
summed in float64, always over the same shape, and added exactly over samples. Price: `ENTRY` bytes for each, which is
why `observe` takes large ones in turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bevel.calib.arithmetic.exact_sum import ExactSum
from bevel.calib.observe.base import Observation, first_not_finite, samples
from bevel.calib.observe.rows import Rows

ENTRY = 56  # bytes: three digits of an exact sum where values are ordinary, with what adding takes; or all digits of
# values up to 2**60


@dataclass(frozen=True, eq=False)
class SecondMoment(Observation):
    """sums: of all entries of [groups, k, k]; count: rows that were summed."""

    sums: ExactSum
    count: int
    shape: tuple[int, int, int]
    large = True

    @staticmethod
    def of(values: NDArray[np.float32], rows: Rows) -> SecondMoment:
        groups, k = rows.width(values.shape)
        sums, count = ExactSum.of(np.zeros((0, groups * k * k))), 0
        for sample in samples(values):
            read = rows.of(sample)
            products = read.swapaxes(1, 2) @ read
            if not np.isfinite(products).all():
                raise first_not_finite(values)
            sums, count = sums.merge(ExactSum.of(products.reshape(1, -1))), count + read.shape[1]
        return SecondMoment(sums, count, (groups, k, k))

    def merge(self, other: SecondMoment) -> SecondMoment:
        if self.shape != other.shape:
            raise ValueError(f"second moments {self.shape} and {other.shape} do not merge")
        return SecondMoment(self.sums.merge(other.sums), self.count + other.count, self.shape)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """[groups, k, k]; zeros where nothing was seen."""
        return self.sums.over(max(self.count, 1)).reshape(self.shape)

    @staticmethod
    def size(shapes: Sequence[tuple[int, ...]], *args: Rows) -> int:
        groups, k = args[0].width(shapes[0])
        return groups * k * k * ENTRY

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SecondMoment)
            and (self.shape, self.count) == (other.shape, other.count)
            and np.array_equal(self.sums.digits, other.sums.digits)
        )

    __hash__ = None  # type: ignore[assignment]
