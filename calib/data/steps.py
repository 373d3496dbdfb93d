"""Windows of a model over time, column by column: what its step form is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from bevel.calib.data.dataset import Array, Dataset, Inputs


@dataclass(frozen=True, eq=False)
class WindowSteps(Dataset):
    """Each run of `windows` as a sequence of steps, of `period` columns of `input` along `axis`, with `states`, which
    are zeros before each step: who runs them goes on from its own. Columns that a first step lacks are zeros."""

    windows: Dataset
    input: str
    axis: int
    period: int
    inputs: Inputs
    labels: Array | None = None
    notes: tuple[str, ...] = ()
    together: int = 1
    group: int = 1

    @property
    def steps(self) -> int:
        """Of a window."""
        return -(-self.windows.inputs[self.input].shape[self.axis] // self.period)

    def begins(self, run: int) -> bool:
        return run % self.steps == 0

    def __len__(self) -> int:
        return len(self.windows) * self.steps

    def __iter__(self) -> Iterator[dict[str, Array]]:
        zeros = {
            name: np.zeros(one.shape, one.dtype) for name, one in self.inputs.items() if name not in self.windows.inputs
        }
        for window in self.windows:
            for columns in in_steps(window[self.input], self.axis, self.period):
                yield {**window, **zeros, self.input: columns}


@dataclass(frozen=True, eq=False)
class LongerWindows(Dataset):
    """The runs of `windows` with zeros beside `input` along `axis`: `before` columns and `behind`."""

    windows: Dataset
    input: str
    axis: int
    beside: tuple[int, int]
    inputs: Inputs
    labels: Array | None
    notes: tuple[str, ...]
    together: int
    group: int

    def __len__(self) -> int:
        return len(self.windows)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for window in self.windows:
            given = window[self.input]
            widths = [self.beside if place == self.axis else (0, 0) for place in range(given.ndim)]
            yield {**window, self.input: np.pad(given, widths)}


def longer(windows: Dataset, input_: str, axis: int, beside: tuple[int, int]) -> LongerWindows:
    """`windows` with so many columns of zeros before and behind."""
    given = windows.inputs[input_]
    shape = (*given.shape[:axis], given.shape[axis] + sum(beside), *given.shape[axis + 1 :])
    inputs = {**windows.inputs, input_: replace(given, shape=shape)}
    return LongerWindows(
        windows,
        input_,
        axis,
        beside,
        inputs,
        windows.labels,
        windows.notes,
        windows.together,
        windows.group,
    )


def in_steps(window: Array, axis: int, period: int) -> Iterator[Array]:
    """The columns of a window, `period` at a time, the last ones last; zeros where the first step lacks some."""
    missing = -window.shape[axis] % period
    padding = [(missing if place == axis else 0, 0) for place in range(window.ndim)]
    whole = np.pad(window, padding)
    for first in range(0, whole.shape[axis], period):
        yield np.ascontiguousarray(whole.take(range(first, first + period), axis=axis))


def steps_of(windows: Dataset, input_: str, axis: int, period: int, states: Inputs) -> WindowSteps:
    """`windows` in steps, with inputs of `states` besides."""
    given = windows.inputs[input_]
    shape = (*given.shape[:axis], period, *given.shape[axis + 1 :])
    inputs = {**windows.inputs, input_: replace(given, shape=shape), **states}
    return WindowSteps(windows, input_, axis, period, inputs)
