"""What a node becomes: streams in, a stream out, modules of Verilog, and when it takes and gives each beat.

A stream carries the elements of a tensor in the order of its memory, channels last, `lanes` of them a beat. A stage is
described in steps: a step takes a cycle, and begins when as many beats have come as it needs. So the cycles of a whole
network follow from its stages without simulating it (`timing.py`).

    begin[s] = max(begin[s - 1] + 1, latest arrival of what step s needs)

which over all steps at once is a running maximum: (max, +) algebra.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bevel.backends.fpga.verilog.text import Module
from bevel.backends.program.op import Bounds
from bevel.backends.program.resources import Resources

Steps = NDArray[np.int64]


@dataclass(frozen=True)
class BeatStream:
    """Elements of `bits` bits, signed, that lie in `bounds`: `elements` of them a frame, `lanes` a beat."""

    elements: int
    lanes: int
    bounds: Bounds
    bits: int

    @property
    def beats(self) -> int:
        return self.elements // self.lanes

    @property
    def width(self) -> int:
        return self.lanes * self.bits


@dataclass(frozen=True)
class Phase:
    """needs: of each input, how many of a frame's beats a step needs, [steps]; gives: the steps behind which output
    beats come, [beats of output], after `latency` cycles and `delay` more for each of them."""

    needs: tuple[Steps, ...]
    gives: Steps
    latency: int
    delay: Steps | int = 0

    @property
    def steps(self) -> int:
        return len(self.needs[0])


@dataclass(frozen=True)
class Stage(ABC):
    """name: an identifier of Verilog, of the stage's own module."""

    name: str
    inputs: tuple[BeatStream, ...] = field(kw_only=True)
    output: BeatStream = field(kw_only=True)

    @abstractmethod
    def modules(self) -> Sequence[Module]:
        """The stage's own module first, then those that it is made of."""

    @abstractmethod
    def through(self, ready: Sequence[Steps], frames: int) -> tuple[list[Steps], Steps]:
        """When each beat of the inputs is taken, and when those of the output leave: [frames * beats], of inputs whose
        beats are there at `ready`."""

    @property
    @abstractmethod
    def cycles(self) -> int:
        """Of a frame, where nothing is waited for: the steps of its longest phase."""

    @abstractmethod
    def estimate(self) -> Resources:
        """What it takes of programmable logic (`logic.py`)."""

    @property
    def lanes(self) -> int:
        """Multipliers that work in each step."""
        return 0


@dataclass(frozen=True)
class PhasedStage(Stage):
    """A stage whose steps are known beforehand."""

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """What its steps need and give, one phase behind the other."""

    def through(self, ready: Sequence[Steps], frames: int) -> tuple[list[Steps], Steps]:
        taken: list[Steps] = []
        times = list(ready)
        for number, phase in enumerate(self.phases()):
            begun = steps_of(phase, times, frames)
            if number == 0:
                beats = [len(one) // frames for one in ready]
                taken = [begun[first_needing(phase, place, many, frames)] for place, many in enumerate(beats)]
            gives = (phase.gives[np.newaxis] + np.arange(frames)[:, np.newaxis] * phase.steps).reshape(-1)
            delay = np.tile(np.broadcast_to(phase.delay, len(phase.gives)), frames)
            times = [np.maximum.accumulate(begun[gives] + phase.latency + delay)]
        return taken, times[0]


@dataclass(frozen=True, eq=False)
class BeatByBeat(PhasedStage):
    """A stage that takes a beat of each input in each step, and gives one `latency` cycles later."""

    @property
    @abstractmethod
    def latency(self) -> int:
        """Clocks from a beat to its result."""

    def phases(self) -> Sequence[Phase]:
        every = in_order(self.output.beats)
        return (Phase((every,) * len(self.inputs), every - 1, self.latency),)

    @property
    def cycles(self) -> int:
        return self.output.beats


def in_order(beats: int) -> Steps:
    """The needs of a stage that takes a beat a step."""
    return np.arange(1, beats + 1, dtype=np.int64)


def begins(ready: Steps) -> Steps:
    """When steps begin that are ready at `ready`, one a cycle, in order."""
    order = np.arange(len(ready))
    found: Steps = np.maximum.accumulate(ready - order) + order
    return found


def steps_of(phase: Phase, ready: Sequence[Steps], frames: int) -> Steps:
    """When each step begins."""
    latest = np.zeros(phase.steps * frames, np.int64)
    for needs, times in zip(phase.needs, ready, strict=True):
        beats = len(times) // frames
        whole = (needs[np.newaxis] + np.arange(frames)[:, np.newaxis] * beats).reshape(-1)
        latest = np.maximum(latest, np.where(whole > 0, times[np.maximum(whole - 1, 0)], 0))
    return begins(latest)


def first_needing(phase: Phase, place: int, beats: int, frames: int) -> Steps:
    """The step that takes each beat of an input."""
    within = np.searchsorted(phase.needs[place], np.arange(1, beats + 1))
    found: Steps = (within[np.newaxis] + np.arange(frames)[:, np.newaxis] * phase.steps).reshape(-1)
    return found
