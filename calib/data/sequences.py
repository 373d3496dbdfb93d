"""Samples of a model with state: steps in sequences, each of which begins with zeros.

What a file holds of an input that is given in each step, of shape S = [B, ...]:

    [sequences, steps, B, ...]   and, where B is 1, [sequences, steps, ...]: every row is a sequence
    [steps, B, ...]              and [steps * B, ...], as of other models: one sequence, or, with an array `reset`
                                 [steps], one that begins anew wherever that is true

An array of the first form that could be one of the second, is one. Arrays of states need not be there; where they are,
they hold the zeros that sequences begin with, and steps of the second form are a sequence each. Labels have a row for
each step, [sequences, steps, ...] or [steps, ...], or one for each sequence, which is that of all its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from bevel.calib.data.dataset import (
    LABELS,
    Array,
    Column,
    Dataset,
    FileDataset,
    Inputs,
    InputType,
    Readable,
    Samples,
    arrays_at,
    arrays_in,
    check_limit,
    check_type,
    column,
    count_runs,
    data_files,
    place_of,
    quoted,
    read_labels,
    whole_groups,
)
from bevel.calib.errors import UserError

RESET = "reset"

Advance = Callable[[Mapping[str, Array]], Mapping[str, Array]]  # a step's inputs to the states behind it


@dataclass(frozen=True, eq=False)
class Sequences(Dataset):
    """`given`, with the states before each step as `advance` leaves them, or zeros without it. `starts`: the runs that
    sequences begin with; None: all."""

    given: Dataset
    states: Inputs
    starts: frozenset[int] | None
    advance: Advance | None
    inputs: Inputs
    labels: Array | None
    notes: tuple[str, ...]
    together: int
    group: int

    def begins(self, run: int) -> bool:
        return self.starts is None or run in self.starts

    def __len__(self) -> int:
        return len(self.given)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        zeros = {name: np.zeros(one.shape, one.dtype) for name, one in self.states.items()}
        held: Mapping[str, Array] = zeros
        for run, sample in enumerate(self.given):
            whole = {**sample, **(zeros if self.begins(run) else held)}
            yield whole
            if self.advance is not None:
                held = self.advance(whole)


def in_sequences(
    given: Dataset, states: Inputs, starts: frozenset[int] | None, advance: Advance | None = None
) -> Sequences:
    """`given` without states as samples of the whole model."""
    return Sequences(
        given,
        states,
        starts,
        advance,
        {**given.inputs, **states},
        given.labels,
        given.notes,
        given.together,
        given.group,
    )


def open_sequences(
    given: Samples,
    inputs: Inputs,
    states: Inputs,
    limit: int | None = None,
    advance: Advance | None = None,
    grouped: bool = False,
) -> Sequences:
    """The samples of a model with `inputs`, and `states` besides, as the module's head says.

    At most `limit` steps are used. grouped: a label may be one of several steps, as of `open_dataset`; of sequences,
    which are then used whole. Raises UserError as `open_dataset` does.
    """
    check_limit(limit)
    files = [arrays_of(file, inputs) for file in data_files(given)]
    for file in files:
        check_known(given, file, inputs, states)
    check_zeros(files, states)
    columns = sequence_columns(inputs, files)
    together = max(one.together for one in columns)
    runs, notes = count_runs(place_of(given), columns, together, limit)
    steps = columns[0].steps
    labels, group = labels_of_steps(given, files, columns, steps, grouped)
    if group > 1:
        runs = whole_groups(place_of(given), runs, together, group)
    rows = None if labels is None else labels[: runs * together // group]
    alone = steps is None and any(name in file for file in files for name in states)
    starts = None if alone else starts_of(given, files, columns, steps, inputs)
    return in_sequences(FileDataset(inputs, columns, runs, rows, notes, together, group), states, starts, advance)


def arrays_of(file: Samples, inputs: Inputs) -> Mapping[str, Readable]:
    """All arrays of a file by their names; the one of an .npy by that of the only input."""
    return arrays_in(file, inputs) if isinstance(file, Path) and file.suffix == ".npy" else arrays_at(file)


def check_known(given: Samples, file: Mapping[str, Readable], inputs: Inputs, states: Inputs) -> None:
    missing = [name for name in inputs if name not in file]
    extra = [name for name in file if name not in (*inputs, *states, LABELS, RESET)]
    if missing or extra:
        needed = f"{quoted(inputs)}, and keeps {quoted(states)} itself"
        raise UserError(f"{place_of(given)}: arrays {quoted(list(file)) or 'none'}; the model takes {needed}")


def check_zeros(files: list[Mapping[str, Readable]], states: Inputs) -> None:
    """What a device begins with is zeros."""
    for name in states:
        for file in files:
            if name in file and any(row.any() for row in file[name].rows()):
                raise UserError(f"{file[name].place}: {name!r} is state, which begins with zeros; leave the array out")


def sequence_columns(inputs: Inputs, files: list[Mapping[str, Readable]]) -> tuple[Column, ...]:
    """Raises UserError where some inputs come in sequences and others do not."""
    columns = tuple(sequence_column(name, one, [file[name] for file in files]) for name, one in inputs.items())
    if len({one.steps for one in columns}) > 1:
        listed = ", ".join(f"{one.name!r} {one.steps or 'none'}" for one in columns)
        raise UserError(f"{columns[0].parts[0].place}: the inputs have sequences of different lengths: {listed}")
    return columns


def sequence_column(name: str, one: InputType, parts: list[Readable]) -> Column:
    lengths = {steps_of(part, one) for part in parts}
    if len(lengths) > 1:
        raise UserError(f"{parts[0].place}: the files' sequences of {name!r} have different lengths")
    steps = lengths.pop()
    if steps is None:
        return column(name, one, parts)
    for part in parts:
        check_type(part, one)
    return Column(name, one, tuple(parts), 1, steps)


def steps_of(part: Readable, one: InputType) -> int | None:
    """The steps of each row, where rows are sequences."""
    shape = part.shape
    if shape[2:] == one.shape and len(shape) == len(one.shape) + 2:
        return shape[1]
    single = one.shape[:1] == (1,) and len(shape) == len(one.shape) + 1 and shape[1:] != one.shape
    return shape[1] if single and shape[2:] == one.shape[1:] else None


def labels_of_steps(
    given: Samples,
    files: list[Mapping[str, Readable]],
    columns: tuple[Column, ...],
    steps: int | None,
    grouped: bool,
) -> tuple[Array | None, int]:
    """The labels, and how many steps each is for: one, unless they are `grouped`."""
    present = [file.get(LABELS) for file in files]
    if steps is None or all(one is None for one in present):
        return read_labels(place_of(given), present, columns, grouped)
    labels, _ = read_labels(place_of(given), present, tuple(replace(one, steps=None) for one in columns), False)
    if labels is None:
        return None, 1
    if labels.shape[1:2] == (steps,):
        return labels.reshape(-1, *labels.shape[2:]), 1
    return (labels, steps) if grouped else (np.repeat(labels, steps, axis=0), 1)


def starts_of(
    given: Samples,
    files: list[Mapping[str, Readable]],
    columns: tuple[Column, ...],
    steps: int | None,
    inputs: Inputs,
) -> frozenset[int]:
    """The runs that sequences begin with: the first of each row; or the first of all, and those that `reset` names."""
    lengths = [file[columns[0].name].shape[0] for file in files]
    marks = [file.get(RESET) if RESET not in inputs else None for file in files]
    if steps is not None:
        if any(one is not None for one in marks):
            raise UserError(f"{place_of(given)}: {RESET!r} is there, but each row of {columns[0].name!r} is a sequence")
        return frozenset(range(0, sum(lengths) * steps, steps))
    together = columns[0].together
    starts = {0}
    for file, mark, before in zip(files, marks, accumulate([0, *lengths]), strict=False):
        if mark is not None:
            starts |= {before // together + run for run in resets(given, mark, file[columns[0].name], together)}
    return frozenset(starts)


def resets(given: Samples, marks: Readable, rows: Readable, together: int) -> list[int]:
    wanted = rows.shape[0] // together
    if marks.shape != (wanted,) or marks.dtype.kind not in "biu":
        raise UserError(f"{place_of(given)}: {RESET!r} is {marks.dtype} {list(marks.shape)}; bool [{wanted}] would fit")
    found: Any = np.flatnonzero(marks.load())
    return [int(run) for run in found]
