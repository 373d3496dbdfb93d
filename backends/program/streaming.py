"""Run a few calls band by band of rows, so that what lies between them never exists whole.

    x ──conv──> a ──conv──> b ──conv──> y        x and y are whole, or as much of them as is live
                                                 a and b are windows: a few rows that move along

In each step the last call computes `rows` more rows of y, and every call before it just the rows that this needs and
that are not there yet. Nothing is computed twice: a window keeps the rows that the next step will read again, and moves
them to its start when it is full. That is the patch-based inference of Lin et al. 2021, "MCUNetV2: Memory-Efficient
Patch-based Inference for Tiny Deep Learning", section 3.1, with patches as wide as the image, whose halos then need no
recomputation but a copy, as in the line buffers of Alwani et al. 2016, "Fused-Layer CNN Accelerators", section III.

The result is an ordinary program with more calls; its results are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from math import prod

import numpy as np

from bevel.backends.program.bands import Banding, Window, banding
from bevel.backends.program.op import Role
from bevel.backends.program.ops.copy import Copy
from bevel.backends.program.program import Buffer, Call, Program


@dataclass(frozen=True)
class StreamStage:
    """One call of the chain. After step k it has computed rows [0, ends[k]).

    Rows are counted from the top of the image, or, in a stream that runs upward, from its bottom; so are `windows`.
    """

    call: Call
    banding: Banding
    windows: tuple[Window | None, ...]  # one an input
    ends: tuple[int, ...]

    @cached_property
    def row_bytes(self) -> int:
        return self.call.writes()[0].end // self.banding.rows

    def band(self, step: int) -> tuple[int, int]:
        return (self.ends[step - 1] if step else 0), self.ends[step]


@dataclass(frozen=True)
class Move:
    """At the start of a step: `rows` rows of a window go from row `source` to its start."""

    source: int
    rows: int


@dataclass(frozen=True)
class Rolling:
    """A window on the rows of one buffer. In step k it holds rows [bases[k], ends[k]) from its row places[k] on."""

    capacity: int  # rows
    bases: tuple[int, ...]
    places: tuple[int, ...]
    moves: dict[int, Move]  # step: what moves before it


@dataclass(frozen=True)
class Stream:
    """Calls [first, first + len(stages)) of a program, to be run in steps, from the top of the image or the bottom."""

    first: int
    stages: tuple[StreamStage, ...]
    windows: dict[str, Rolling]  # of the buffers that live only inside
    upward: bool

    @property
    def steps(self) -> int:
        return len(self.stages[-1].ends)

    @property
    def window_bytes(self) -> int:
        return sum(
            self.windows[s.call.output].capacity * s.row_bytes for s in self.stages if s.call.output in self.windows
        )

    @property
    def copied_bytes(self) -> int:
        return sum(move.rows * stage.row_bytes for stage, window in self.windowed() for move in window.moves.values())

    @property
    def calls(self) -> int:
        bands = sum(end > first for stage in self.stages for first, end in map(stage.band, range(self.steps)))
        return bands + sum(len(window.moves) for window in self.windows.values())

    def windowed(self) -> Iterator[tuple[StreamStage, Rolling]]:
        for stage in self.stages:
            if stage.call.output in self.windows:
                yield stage, self.windows[stage.call.output]

    def readers(self, buffer: str) -> Iterator[tuple[StreamStage, Window | None]]:
        for stage in self.stages:
            for name, window in zip(stage.call.inputs, stage.windows, strict=True):
                if name == buffer:
                    yield stage, window


def streamed(program: Program, first: int, last: int, rows: int, upward: bool = False) -> Program:
    """`program` with calls first..last run band by band, `rows` output rows of call `last` at a time.

    Downward, an output can lie over the input from a little before its start; `upward`, to a little behind its end.
    Raises ValueError where these calls cannot be run so; `stream` tells.
    """
    found = stream(program, first, last, rows, upward)
    if found is None:
        raise ValueError(f"calls {first} to {last} of {program.name} cannot be run in bands of {rows} rows")
    buffers = dict(program.buffers)
    for stage, window in found.windowed():
        buffer = buffers[stage.call.output]
        shape = (window.capacity, prod(buffer.shape) // stage.banding.rows)
        buffers[buffer.name] = replace(buffer, shape=shape)
    calls = tuple(call for step in range(found.steps) for call in step_calls(found, buffers, step))
    return replace(program, buffers=buffers, calls=(*program.calls[:first], *calls, *program.calls[last + 1 :]))


def stream(program: Program, first: int, last: int, rows: int, upward: bool = False) -> Stream | None:
    """How calls first..last can be run in bands of `rows` output rows of call `last`, or None where they cannot."""
    calls = program.calls[first : last + 1]
    bandings = [found for call in calls if (found := banding(program, call)) is not None]
    if len(bandings) < len(calls) or not fit_together(calls, bandings):
        return None
    outside = read_outside(program, first, last)
    windows = [seen(found, upward) for found in bandings]
    ends = schedule(calls, [found.rows for found in bandings], windows, outside, rows)
    stages = tuple(StreamStage(*one) for one in zip(calls, bandings, windows, ends, strict=True))
    plain = Stream(first, stages, {}, upward)
    inside = (stage for stage in stages if stage.call.output not in outside)
    return replace(plain, windows={stage.call.output: rolling(plain, stage) for stage in inside})


def seen(found: Banding, upward: bool) -> tuple[Window | None, ...]:
    """The windows, in the direction of the stream."""
    return tuple(window.mirrored(found.rows) if window and upward else window for window in found.windows)


def fit_together(calls: Sequence[Call], bandings: Sequence[Banding]) -> bool:
    """Whether each buffer has the same rows for all calls, and none that is made here is read whole or never."""
    made = {call.output: found.rows for call, found in zip(calls, bandings, strict=True)}
    rows = dict(made)
    for call, found in zip(calls, bandings, strict=True):
        for name, window in zip(call.inputs, found.windows, strict=True):
            if window is None:
                if name in made:
                    return False
            elif rows.setdefault(name, window.rows) != window.rows:
                return False
    return len(made) == len(calls)


def read_outside(program: Program, first: int, last: int) -> frozenset[str]:
    """Buffers that calls beyond first..last, or the caller, read or write."""
    ports = (port.buffer for port in (*program.inputs, *program.outputs))
    others = (*program.entries, *program.calls[:first], *program.calls[last + 1 :], *program.exits)
    return frozenset((*ports, *program.states, *(name for call in others for name in (*call.inputs, *call.outputs))))


def schedule(
    calls: Sequence[Call],
    heights: Sequence[int],
    windows: Sequence[tuple[Window | None, ...]],
    outside: frozenset[str],
    rows: int,
) -> list[tuple[int, ...]]:
    """For each call, the rows that are done after each step: what its readers have to have, and all in the end where
    the result is read outside. A result that is only read outside grows in even steps."""
    steps = -(-heights[-1] // rows)
    needed: dict[str, list[int]] = {}
    ends: list[tuple[int, ...]] = []
    for call, height, of_inputs in zip(reversed(calls), reversed(heights), reversed(windows), strict=True):
        own = needed.get(call.output) or [-(-height * (step + 1) // steps) for step in range(steps)]
        if call is calls[-1]:
            own = [min(rows * (step + 1), height) for step in range(steps)]
        if call.output in outside:
            own = [*own[:-1], height]
        for name, window in zip(call.inputs, of_inputs, strict=True):
            if window is not None:
                before = needed.get(name, [0] * steps)
                needed[name] = [max(window.end(end), known) for end, known in zip(own, before, strict=True)]
        ends.append(tuple(own))
    return ends[::-1]


def rolling(plain: Stream, stage: StreamStage) -> Rolling:
    """The smallest window on a stage's output in which no move overlaps itself."""
    needed = [0, *(first_needed(plain, stage, step) for step in range(plain.steps - 1))]
    bases = tuple(min(base, stage.band(step)[0]) for step, base in enumerate(needed))
    smallest = max(end - base for end, base in zip(stage.ends, bases, strict=True))
    tried = (of_capacity(capacity, bases, stage.ends) for capacity in count(max(smallest, 1)))
    return next(found for found in tried if found is not None)


def first_needed(plain: Stream, stage: StreamStage, step: int) -> int:
    """The first row of a stage's output that is read after `step`."""
    found = stage.ends[step]
    for reader, window in plain.readers(stage.call.output):
        if window is not None and reader.ends[step] < reader.ends[-1]:
            found = min(found, window.first(reader.ends[step]))
    return found


def of_capacity(capacity: int, bases: Sequence[int], ends: Sequence[int]) -> Rolling | None:
    places, moves = [], {}
    place = before = 0
    for step, (base, end) in enumerate(zip(bases, ends, strict=True)):
        place, before = place + base - before, base
        if place + end - base > capacity:
            kept = (ends[step - 1] if step else 0) - base
            if kept > place or end - base > capacity:
                return None
            if kept:
                moves[step] = Move(place, kept)
            place = 0
        places.append(place)
    return Rolling(capacity, tuple(bases), tuple(places), moves)


def step_calls(found: Stream, buffers: dict[str, Buffer], step: int) -> Iterator[Call]:
    """Each stage's new rows, behind the move that makes room for them."""
    for stage in found.stages:
        first, end = stage.band(step)
        if first == end:
            continue
        output = stage.call.output
        if output in found.windows and step in found.windows[output].moves:
            yield moved(found, stage, buffers[output], step)
        rows = stage.banding.rows
        kernel, constants = stage.banding.piece(*((rows - end, rows - first) if found.upward else (first, end)))
        starts = [
            0
            if window is None
            else start(found, name, window.rows, (window.first(first), window.end(end)), step)
            * operand.bytes
            // window.rows
            for name, window, operand in zip(
                stage.call.inputs, stage.windows, stage.call.kernel.roles(Role.INPUT), strict=True
            )
        ]
        place = start(found, output, rows, (first, end), step) * stage.row_bytes
        call = replace(stage.call, kernel=kernel, constants=constants)
        yield replace(call, input_starts=tuple(starts), output_start=place)


def start(found: Stream, buffer: str, rows: int, band: tuple[int, int], step: int) -> int:
    """The row of a buffer of `rows` rows, or of its window, where a band begins."""
    first, end = band
    window = found.windows.get(buffer)
    if window is not None:
        shift = window.places[step] - window.bases[step]
        first, end, rows = first + shift, end + shift, window.capacity
    return rows - end if found.upward else first


def moved(found: Stream, stage: StreamStage, buffer: Buffer, step: int) -> Call:
    window = found.windows[buffer.name]
    move = window.moves[step]
    source, target = move.source, 0
    if found.upward:
        source, target = window.capacity - move.source - move.rows, window.capacity - move.rows
    kernel = Copy(move.rows * stage.row_bytes // int(np.dtype(buffer.dtype).itemsize), buffer.dtype)
    places = (source * stage.row_bytes,), target * stage.row_bytes
    return Call(stage.call.node, kernel, (buffer.name,), (), buffer.name, *places)
