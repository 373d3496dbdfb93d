"""What an observation is: something that is remembered of a tensor, bounded, and the same however samples are grouped.

    of(all samples) == of(some) merged with of(the others), in any order

A pass asks for observations of tensors (`Want`); `bevel.calib.observe.observe` runs the model once for all that is
asked for, and computes nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Observation(ABC):
    """What is remembered. A file of this folder holds one kind, with `of`: from arrays of one or more samples."""

    large: ClassVar[bool] = False  # whether `size` counts: all others take a few kilobytes of a tensor
    any_rows: ClassVar[bool] = False  # whether `of` takes arrays of several runs, one behind the other along axis 0

    @staticmethod
    @abstractmethod
    def of(*given: Any) -> Observation:
        """Of the float32 arrays of one run, as many as the kind reads, and then the arguments of the `Want`. Axis 0
        counts samples.

        Raises NotFiniteError for NaN or infinity.
        """

    @abstractmethod
    def merge(self, other: Self) -> Self:
        """Of both data sets together. Raises ValueError where they are of different shapes."""

    @staticmethod
    def size(shapes: Sequence[tuple[int, ...]], *args: Any) -> int:
        """Bytes that are held, at most, of tensors of these shapes, however many samples there are."""
        return 0


@dataclass(frozen=True)
class Want:
    """What shall be remembered of a tensor: a kind of observation and its arguments (axes, numbers, ways to read rows).

    beside: further tensors of the same run that the kind reads, in its order.
    """

    kind: type[Observation]
    args: tuple[Hashable, ...] = ()
    beside: tuple[str, ...] = ()

    def of(self, *arrays: NDArray[Any]) -> Observation:
        with np.errstate(over="ignore"):  # what float32 does not hold is infinite, and refused as such
            floats = [np.ascontiguousarray(array, np.float32) for array in arrays]
        return self.kind.of(*floats, *self.args)


class NotFiniteError(ValueError):
    """A tensor holds NaN or infinity; `row` is its first index along axis 0 (0 for a scalar), `value` what it holds."""

    def __init__(self, row: int, value: float) -> None:
        super().__init__(f"row {row} holds {value}")
        self.row, self.value = row, value


def first_not_finite(values: Floats) -> NotFiniteError:
    rows = values.reshape(values.shape[0] if values.ndim else 1, -1)
    row, place = (int(index[0]) for index in np.nonzero(~np.isfinite(rows)))
    return NotFiniteError(row, float(rows[row, place]))


def samples(values: Floats) -> Iterator[Floats]:
    """The samples of an array: along axis 0, but the whole where that is its only axis, or it has none."""
    yield from values if values.ndim > 1 else (values,)
