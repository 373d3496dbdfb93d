"""Some samples of a tensor as they are, at most so many: what learned rounding and searches by output error run on.

The samples that are kept are those whose bytes have the lowest hashes. That is a uniform choice of `count` out of all
that were seen, whatever their order and grouping: bottom-k sampling, Cohen and Kaplan 2007, "Summarizing data using
bottom-k sketches". Tensors that are asked for together keep the same samples, by the hashes of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.data.content import content
from bevel.calib.observe.base import Observation, first_not_finite

Kept = tuple[tuple[bytes, ...], tuple[NDArray[np.float32], ...]]  # of each tensor the sample's hash, and the sample


@dataclass(frozen=True, eq=False)
class Inputs(Observation):
    """kept: in the order of their hashes, `count` at most."""

    kept: tuple[Kept, ...]
    count: int
    large = True

    @staticmethod
    def of(*given: Any) -> Inputs:
        """Of one array or more, and the count. Axis 0 counts samples, of all arrays the same."""
        *arrays, count = given
        for array in arrays:
            if not np.isfinite(array).all():
                raise first_not_finite(array)
        rows = zip(*arrays, strict=True)
        kept = [(tuple(map(content, one)), tuple(row.copy() for row in one)) for one in rows]
        return Inputs(lowest(kept, count), count)

    def merge(self, other: Inputs) -> Inputs:
        if self.count != other.count:
            raise ValueError(f"the best {self.count} and {other.count} samples do not merge")
        return Inputs(lowest([*self.kept, *other.kept], self.count), self.count)

    def samples(self, tensor: int = 0) -> NDArray[np.float32]:
        """What was kept of a tensor: [kept, ...], in an order that says nothing."""
        return np.stack([rows[tensor] for _, rows in self.kept])

    @staticmethod
    def size(shapes: Sequence[tuple[int, ...]], *args: int) -> int:
        return args[0] * sum(prod(shape[1:]) for shape in shapes) * np.dtype(np.float32).itemsize

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Inputs)
            and (self.count, len(self.kept)) == (other.count, len(other.kept))
            and all(
                mine[0] == theirs[0] and all(map(np.array_equal, mine[1], theirs[1]))
                for mine, theirs in zip(self.kept, other.kept, strict=True)
            )
        )

    __hash__ = None  # type: ignore[assignment]


def lowest(kept: list[Kept], count: int) -> tuple[Kept, ...]:
    """Samples of equal hashes are the same: it says nothing which of them are kept."""
    return tuple(sorted(kept, key=lambda one: one[0])[:count])
