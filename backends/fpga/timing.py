"""The cycles of a network without simulating it: each stage's steps begin when what they need has come.

How a stage's steps follow each other is its own (`stage.py`). FIFOs have no end here. With beats coming in as
fast as the slowest stage takes them, what each FIFO then holds at most is a depth with which nothing ever waits for
room: a network of these depths keeps that schedule's rate, whatever comes in, and so cannot deadlock (more room and
earlier beats never make anything later). Simulated, no FIFO held more, and residual ones one beat less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.fpga.network import HOST, Folded
from bevel.backends.fpga.stage import BeatStream, Stage, Steps, begins, first_needing, steps_of
from bevel.backends.fpga.stages.window import FILL_LATENCY, READ_LATENCY, WindowStage
from bevel.backends.fpga.top import SKID, conversions

QUEUE_LATENCY = 2  # cycles that a beat spends in an empty FIFO
SLICE_LATENCY = 1
SETTLED = 3  # frames after which the interval between two no longer changes


@dataclass(frozen=True)
class ModelCycles:
    """first_frame: from the first beat that goes in to the last of its frame that comes out; steady_state: between the
    last beats of two frames that follow each other."""

    first_frame: int
    steady_state: int


@dataclass(frozen=True)
class BeatTimes:
    """When beats leave the accelerator: of each output port, [frames, beats]; peaks: the beats that each edge's FIFO
    holds at most."""

    leaving: tuple[Steps, ...]
    peaks: tuple[int, ...]

    @property
    def first_frame(self) -> int:
        return max(int(times[0, -1]) for times in self.leaving) + 1

    @property
    def steady_state(self) -> int:
        """Between the last two frames."""
        ends = [max(int(times[frame, -1]) for times in self.leaving) for frame in (-2, -1)]
        return ends[1] - ends[0]


def modelled(folded: Folded) -> ModelCycles:
    """Of beats that come in as soon as they are taken."""
    times = flow(folded, SETTLED, paced=False)
    return ModelCycles(times.first_frame, times.steady_state)


def depths(folded: Folded) -> list[int]:
    """A capacity for each edge's FIFO with which the network keeps its rate.

    A stage whose FIFO is full stands still as a whole, with what is in its registers. Inputs that come as fast as they
    are taken run ahead of the slowest part's rate by what the first FIFOs hold: those behind have room for that, too.
    """
    found = [max(SKID, peak + 1) for peak in flow(folded, SETTLED, paced=True).peaks]
    first = [index for index, edge in enumerate(folded.network.edges) if edge.source == HOST]
    ahead = max(found[index] * folded.taken(folded.network.edges[index]).lanes for index in first)
    later = flow(folded, SETTLED, paced=True, ahead=ahead).peaks
    return [one if index in first else max(one, later[index] + 1) for index, one in enumerate(found)]


def flow(folded: Folded, frames: int, paced: bool, ahead: int = 0) -> BeatTimes:
    """`frames` frames through the network; paced: at the rate of its slowest part; ahead: the elements of inputs that
    come before that, one beat a cycle."""
    network = folded.network
    made: dict[tuple[int, int], Steps] = {}
    for place in range(len(network.inputs)):
        edge = network.edges[network.out_of((HOST, place))[0]]
        beats = folded.given(edge).beats
        spacing = max(folded.cycles / beats, 1.0) if paced else 1.0
        order = np.arange(frames * beats)
        early = ahead // folded.given(edge).lanes
        made[HOST, place] = np.maximum(np.floor((order - early) * spacing).astype(np.int64), order)
    peaks = [0] * len(network.edges)
    for number, stages in enumerate(folded.stages):
        arrived = []
        for index in network.into(number):
            edge = network.edges[index]
            arrived.append(converted(made[edge.origin], folded.given(edge), folded.taken(edge)))
        ready = [times + QUEUE_LATENCY for times in arrived]
        begun, out = through(stages[0], ready, frames)
        for place, index in enumerate(network.into(number)):
            peaks[index] = most_held(arrived[place], begun[place])
        for stage in stages[1:]:
            _, out = through(stage, [out + SLICE_LATENCY], frames)
        made[number, 0] = out
    leaving = []
    for port in range(len(network.outputs)):
        edge = next(edge for edge in network.edges if edge.target == HOST and edge.place == port)
        leaving.append((made[edge.origin] + QUEUE_LATENCY).reshape(frames, -1))
    return BeatTimes(tuple(leaving), tuple(peaks))


def converted(times: Steps, given: BeatStream, taken: BeatStream) -> Steps:
    """When the beats of another width are there, of beats that come at `times`."""
    for module, stream, count in conversions(given, taken):
        if module == "bevel_narrow":
            needs = np.repeat(np.arange(1, len(times) + 1), count)
        else:
            needs = np.arange(1, len(times) // count + 1) * count
        times = begins(times[needs - 1] + 1) if module == "bevel_narrow" else times[needs - 1] + 1
        del stream
    return times


def through(stage: Stage, ready: Sequence[Steps], frames: int) -> tuple[list[Steps], Steps]:
    """`Stage.through`, of a window unit with the end of its ring."""
    return windowed(stage, ready[0], frames) if isinstance(stage, WindowStage) else stage.through(ready, frames)


def windowed(stage: WindowStage, ready: Steps, frames: int) -> tuple[list[Steps], Steps]:
    """`through` for a window unit, whose ring holds only so many columns: those that are read make room for others.

    Columns follow each other in the order in which they are put, windows in that in which they are read.
    """
    fill, read = stage.phases()
    alone = steps_of(fill, [ready], frames)
    ends = alone[(fill.gives[np.newaxis] + np.arange(frames)[:, np.newaxis] * fill.steps).reshape(-1)]
    places = (fill.gives[np.newaxis] + np.arange(frames)[:, np.newaxis] * fill.steps).reshape(-1)
    last, first = places[stage.folds - 1 :: stage.folds], places[:: stage.folds]
    per_frame = len(last) // frames
    room, begun = read_along(stage, ends[stage.folds - 1 :: stage.folds].tolist(), last.tolist(), per_frame, frames)
    latest = np.zeros(fill.steps * frames, np.int64)
    latest[first] = room
    filled = begins(np.maximum(alone, latest))
    taken = filled[first_needing(fill, 0, len(ready) // frames, frames)]
    out = begun[:, np.newaxis] + np.arange(stage.window_steps) + READ_LATENCY
    del read
    return [taken], out.reshape(-1)


def read_along(
    stage: WindowStage, alone: list[int], steps: list[int], per_frame: int, frames: int
) -> tuple[Steps, Steps]:
    """When there is room for each column, and when each window begins. alone: when columns would be there with room for
    all; steps: the numbers of the steps that end them."""
    needed, freed = stage.columns_needed.tolist(), stage.columns_freed.tolist()
    period, length = max(stage.pace, stage.window_steps), stage.window_steps
    room, there, begun = [0] * len(alone), [0] * len(alone), []
    put = free = 0
    before, at = -period, 0
    for window in range(len(needed) * frames):
        frame, place = divmod(window, len(needed))
        while put < frame * per_frame + needed[place]:
            ring_step = steps[put] - steps[put - 1] if put else 0
            follows = there[put - 1] + ring_step if put else 0
            there[put] = max(alone[put], follows, room[put] + stage.folds - 1)
            put += 1
        at = max(before + period, there[put - 1] + FILL_LATENCY)
        begun.append(at)
        before = at
        while free < frame * per_frame + freed[place]:
            if free + stage.ring < len(room):
                room[free + stage.ring] = at + length
            free += 1
    return np.array(room, np.int64), np.array(begun, np.int64)


def most_held(arrived: Steps, taken: Steps) -> int:
    """The most beats that are there and not taken yet, at any time; in the cycle in which one is taken it still is."""
    before = np.searchsorted(taken, arrived, side="left")
    return int((np.arange(1, len(arrived) + 1) - before).max())
