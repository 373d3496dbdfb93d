"""What a node becomes: streams in, a stream out, modules of Verilog, and when it takes and gives each beat.

A stream carries the elements of a tensor in the order of its memory, channels last, `lanes` of them a beat. A stage is
described in steps: a step takes a cycle, and begins when as many beats have come as it needs. So the cycles of a whole
network follow from its stages without simulating it (`timing.py`).
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
    def phases(self) -> Sequence[Phase]:
        """What its steps need and give, one phase behind the other."""

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


def in_order(beats: int) -> Steps:
    """The needs of a stage that takes a beat a step."""
    return np.arange(1, beats + 1, dtype=np.int64)
