"""The place of the largest or the smallest element of each row; of equal ones the first, or the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bevel.backends.fpga.logic import logic
from bevel.backends.fpga.stage import Phase, PhasedStage
from bevel.backends.fpga.verilog.text import HardwareCounter, Module, counters, number, ports
from bevel.backends.program.resources import Resources


@dataclass(frozen=True)
class ArgMaxStage(PhasedStage):
    """inputs: rows of n elements, one a beat; output: one place a row."""

    n: int = field(kw_only=True)
    largest: bool = field(kw_only=True)
    last: bool = field(kw_only=True)

    def phases(self) -> Sequence[Phase]:
        steps = np.arange(self.inputs[0].beats, dtype=np.int64)
        return (Phase((steps + 1,), steps[self.n - 1 :: self.n], 1),)

    @property
    def cycles(self) -> int:
        return self.inputs[0].beats

    def estimate(self) -> Resources:
        return logic(lut=40, ff=30)

    def modules(self) -> Sequence[Module]:
        x, at = self.inputs[0], HardwareCounter("at", self.n)
        better = f"element {'>' if self.largest else '<'}{'=' if self.last else ''} best"
        text = f"""// The place of the {"largest" if self.largest else "smallest"} of {self.n} elements.
module {self.name} (
{ports(x.width, self.output.width)});
  wire en = !m_valid || m_ready;
  assign s_ready = en;
  wire go = en && s_valid;
{counters([at], "go")}
  wire signed [{x.bits - 1}:0] element = $signed(s_data);
  reg signed [{x.bits - 1}:0] best;
  reg [{at.bits - 1}:0] place;
  reg coming;
  always @(posedge clk)
    if (go && (at == {number(0, at.bits)} || {better})) begin
      best  <= element;
      place <= at;
    end
  always @(posedge clk)
    if (rst) coming <= 1'b0;
    else if (en) coming <= go && at_last;
  assign m_valid = coming;
  assign m_data = {{{self.output.bits - at.bits}'d0, place}};
endmodule
"""
        return (Module(self.name, text, {}),)
