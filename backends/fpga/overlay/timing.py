"""The cycles of the overlay's program: when each tile has come, when it begins, and when its results lie in memory.

    loaded[t] = max(begun[t - 1], free[bank]) + beats[t]
    begun[t]  = max(loaded[t], ended[t - 1]), or later, where it reads what is still on its way
    ended[t]  = begun[t] + results * max(steps of a result, turns of its rescalings)

Memory gives a beat a clock, the first LATENCY clocks after it was asked for, as the test bench's does where nothing is
held back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from bevel.backends.fpga import timing
from bevel.backends.fpga.overlay.assembly import Assembled
from bevel.backends.fpga.overlay.network import OverlayEnd, OverlayStep
from bevel.backends.fpga.overlay.tile import ComputeTile, MoveTile, head_beats
from bevel.backends.fpga.overlay.unit import OverlayUnit
from bevel.backends.fpga.timing import ModelCycles

LATENCY = 24  # clocks of memory
FIRST = LATENCY + 3  # clocks from reset to the first beat of the program
FRAMES = 3


@dataclass
class OverlayClock:
    """Where all is at: clocks, from reset on."""

    begun: int = 0  # of the tile before
    idle: int = 0  # nothing is at work
    paced: int = 0  # a result may begin
    settled: int = 0  # all results lie in memory
    bank: int = 0
    free: list[int] = field(default_factory=lambda: [0, 0])


def modelled(made: Assembled, unit: OverlayUnit) -> ModelCycles:
    """Of frames whose elements come as soon as they are taken."""
    clock, ends = OverlayClock(begun=FIRST), list[int]()
    given = [0] * len(made.network.inputs)
    for _ in range(FRAMES):
        last = 0
        for tile in made.tiles:
            match tile:
                case ComputeTile():
                    compute(clock, tile, unit)
                case MoveTile(kind="load"):
                    end = made.network.inputs[tile.stream]
                    given[tile.stream] = load(clock, end, given[tile.stream], unit.lanes)
                case MoveTile():
                    last = max(last, store(clock, made.network.outputs[tile.stream], unit.lanes))
        ends.append(last)
    return ModelCycles(ends[0] + 1, ends[-1] - ends[-2])


def compute(clock: OverlayClock, tile: ComputeTile, unit: OverlayUnit) -> None:
    lanes, walk = unit.lanes, tile.walk
    headed = clock.begun + 1 + head_beats(lanes)
    loaded = max(headed, clock.free[clock.bank]) + 1 + tile.beats(lanes) - head_beats(lanes)
    start = max(loaded, clock.idle, clock.settled if tile.waits else 0)
    spacing, first = max(walk.steps, unit.turns), max(start + 1, clock.paced)
    last = first + (walk.results - 1) * spacing
    ends = last + walk.steps - 1
    clock.begun, clock.idle, clock.paced = start, ends + 1, last + unit.turns
    clock.settled = clock.free[clock.bank] = ends + unit.latency + 1
    clock.bank ^= 1


def moved(clock: OverlayClock, lanes: int) -> int:
    """When a tile that only moves words begins."""
    ready = clock.begun + 1 + head_beats(lanes) + 1
    clock.begun = max(ready, clock.idle, clock.settled)
    return clock.begun


def word_beats(end: OverlayEnd, lanes: int) -> tuple[int, int, int]:
    """Beats of a tensor, of its first word, and of its last."""
    full, last, depth = end.beats(lanes)
    return end.layout.pixels * (full * (depth - 1) + last), full if depth > 1 else last, last


def load(clock: OverlayClock, end: OverlayEnd, given: int, lanes: int) -> int:
    """given: when the first of its words could come, of this frame; returns that of the next."""
    beats, first, _ = word_beats(end, lanes)
    start = max(moved(clock, lanes) + 1, given + turned(end) + first)
    clock.idle = start + beats - first + 1
    return clock.idle


def turned(end: OverlayEnd) -> int:
    """Clocks that a stage before the unit takes until its first element."""
    if end.stage is None:
        return 0
    ready = np.arange(end.stage.inputs[0].beats)
    return int(timing.through(end.stage, [ready], 1)[1][0])


def store(clock: OverlayClock, end: OverlayEnd, lanes: int) -> int:
    """When the last element has left."""
    beats, _, last = word_beats(end, lanes)
    start = moved(clock, lanes)
    clock.idle = start + 3 + beats - last
    times = start + 3 + np.arange(beats)
    if end.stage is None:
        return int(times[-1])
    (taken,), left = timing.through(end.stage, [times], 1)
    clock.idle = max(start + 3, int(taken[-last - 1]) + 1 if beats > last else 0)
    return int(left[-1])


def busy(made: Assembled, unit: OverlayUnit) -> Iterator[tuple[OverlayStep, int]]:
    """Each step, and the cycles in which its products are summed or its results rescaled."""
    for step, tiles in zip(made.network.steps, made.steps, strict=True):
        yield step, sum(one.walk.results * max(one.walk.steps, unit.turns) for one in tiles)
