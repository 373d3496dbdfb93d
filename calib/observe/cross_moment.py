"""How what a product reads goes with what it should make: E[y x^T] of two tensors of one run.

    W' = E[y x^T] (E[x x^T])^-1     the weights that make the float output y best of the quantized input x

x may be an input that is quantized already, y the output, or the input, of the float model beside it. Source: Zhang,
Zhou and Saab 2023, "Post-training Quantization for Neural Networks with Provable Guarantees", whose error is that of
W x_float - Q x_quantized. Sums are as exact as those of `bevel.calib.observe.second_moment`, at the same price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bevel.calib.arithmetic.exact_sum import ExactSum
from bevel.calib.observe.base import Observation, first_not_finite, samples
from bevel.calib.observe.rows import Rows
from bevel.calib.observe.second_moment import ENTRY


@dataclass(frozen=True, eq=False)
class CrossMoment(Observation):
    """sums: of all entries of [groups, out, k]; count: rows that were summed."""

    sums: ExactSum
    count: int
    shape: tuple[int, int, int]
    large = True

    @staticmethod
    def of(x: NDArray[np.float32], y: NDArray[np.float32], rows: Rows, others: Rows) -> CrossMoment:
        """Rows of `x` as `rows` says, and of `y`, which are as many, as `others` says."""
        (groups, k), (parts, width) = rows.width(x.shape), others.width(y.shape)
        out = width * parts // groups
        sums, count = ExactSum.of(np.zeros((0, groups * out * k))), 0
        for one, other in zip(samples(x), samples(y), strict=True):
            read, made = rows.of(one), split(others.of(other), groups)
            products = made.swapaxes(1, 2) @ read
            if not np.isfinite(products).all():
                raise first_not_finite(y if np.isfinite(x).all() else x)
            sums, count = sums.merge(ExactSum.of(products.reshape(1, -1))), count + read.shape[1]
        return CrossMoment(sums, count, (groups, out, k))

    def merge(self, other: CrossMoment) -> CrossMoment:
        if self.shape != other.shape:
            raise ValueError(f"cross moments {self.shape} and {other.shape} do not merge")
        return CrossMoment(self.sums.merge(other.sums), self.count + other.count, self.shape)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """[groups, out, k]; zeros where nothing was seen."""
        return self.sums.over(max(self.count, 1)).reshape(self.shape)

    @staticmethod
    def size(shapes: Sequence[tuple[int, ...]], *args: Rows) -> int:
        (_, k), (parts, out) = (rows.width(shape) for rows, shape in zip(args, shapes, strict=True))
        return parts * out * k * ENTRY

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CrossMoment)
            and (self.shape, self.count) == (other.shape, other.count)
            and np.array_equal(self.sums.digits, other.sums.digits)
        )

    __hash__ = None  # type: ignore[assignment]


def split(rows: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """[1, rows, out] as [groups, rows, out / groups]; rows that are grouped already stay."""
    if len(rows) == groups:
        return rows
    return np.moveaxis(rows[0].reshape(rows.shape[1], groups, -1), 1, 0)
