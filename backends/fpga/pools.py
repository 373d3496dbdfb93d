"""Nodes that reduce windows channel by channel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from bevel.backends.fpga.node import Folding, LogicNode, divisors
from bevel.backends.fpga.stage import BeatStream, Stage
from bevel.backends.fpga.stages.pool import PoolStage
from bevel.backends.fpga.stages.requantizer import Requantizer
from bevel.backends.fpga.stages.window import Geometry, WindowStage


@dataclass(frozen=True, eq=False)
class PoolNode(LogicNode):
    """Windows by channel, and one element of each."""

    @property
    @abstractmethod
    def geometry(self) -> Geometry: ...

    @property
    @abstractmethod
    def fill(self) -> int:
        """What padding holds."""

    @property
    def zero_point(self) -> int:
        """Taken off each element of a mean."""
        return 0

    @property
    def mean(self) -> Requantizer | None:
        """How sums become means; None where the largest is taken."""
        return None

    def foldings(self) -> Sequence[Folding]:
        g = self.geometry
        rows = sorted({1, g.kernel[0]})
        return [Folding(rows=row, channels=lanes) for lanes in divisors(g.channels) for row in rows]

    def stages(self, folding: Folding) -> Sequence[Stage]:
        x, g = self.given(folding.channels), self.geometry
        taps = g.kernel[0] * g.kernel[1]
        elements = g.positions[0] * g.positions[1] * taps * g.channels
        windows = BeatStream(elements, folding.rows * folding.channels, x.bounds, x.bits)
        window = WindowStage(
            f"{self.name}_window",
            inputs=(x,),
            output=windows,
            geometry=g,
            pace=0,
            rows=folding.rows,
            by_channel=True,
            fill=self.fill,
        )
        pool = PoolStage(
            self.name,
            inputs=(windows,),
            output=self.made(folding.channels),
            rows=folding.rows,
            beats=taps // folding.rows,
            zero_point=self.zero_point,
            mean=self.mean,
        )
        return [window, pool]
