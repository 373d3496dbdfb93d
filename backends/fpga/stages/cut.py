"""A part of a tensor: of its elements those between two places of each axis, as they pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bevel.backends.fpga.logic import logic
from bevel.backends.fpga.stage import Phase, PhasedStage, in_order
from bevel.backends.fpga.verilog.text import HardwareCounter, Module, counters, number, ports
from bevel.backends.program.resources import Resources

LATENCY = 1


class AxisCut(NamedTuple):
    """Of an axis of `extent`: from `first` on, `size` of them."""

    extent: int
    first: int
    size: int

    @property
    def whole(self) -> bool:
        return self.size == self.extent


@dataclass(frozen=True)
class CutStage(PhasedStage):
    """axes: outermost first, in beats."""

    axes: tuple[AxisCut, ...] = field(kw_only=True)

    def phases(self) -> Sequence[Phase]:
        kept = np.ones((1,), bool)
        for axis in self.axes:
            place = np.arange(axis.extent)
            within = (place >= axis.first) & (place < axis.first + axis.size)
            kept = (kept[:, np.newaxis] & within).reshape(-1)
        return (Phase((in_order(len(kept)),), np.flatnonzero(kept).astype(np.int64), LATENCY),)

    @property
    def cycles(self) -> int:
        return self.inputs[0].beats

    def estimate(self) -> Resources:
        return logic(lut=20 + 4 * len(self.axes), ff=self.output.width + 20)

    def modules(self) -> Sequence[Module]:
        walk = [HardwareCounter(f"axis{place}", axis.extent) for place, axis in enumerate(self.axes)]
        tests = []
        for one, axis in zip(walk, self.axes, strict=True):
            end = axis.first + axis.size
            tests += [f"{one.name} >= {number(axis.first, one.bits)}"] if axis.first else []
            tests += [f"{one.name} < {number(end, one.bits)}"] if end < axis.extent else []
        width = self.output.width
        text = f"""// A part of a tensor, as it passes.
module {self.name} (
{ports(self.inputs[0].width, width)});
  wire en = !m_valid || m_ready;
  assign s_ready = en;
  wire go = en && s_valid;
{counters(walk[::-1], "go")}
  wire kept = {" && ".join(tests) or "1'b1"};
  reg coming;
  reg [{width - 1}:0] found;
  assign m_valid = coming;
  assign m_data = found;
  always @(posedge clk) if (en) found <= s_data;
  always @(posedge clk)
    if (rst) coming <= 1'b0;
    else if (en) coming <= s_valid && kept;
endmodule
"""
        return (Module(self.name, text, {}),)
