"""A function of one element, looked up: a table for each lane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bevel.backends.fpga.logic import logic, memory, style
from bevel.backends.fpga.stage import BeatByBeat
from bevel.backends.fpga.verilog.text import Module, image, ports
from bevel.backends.program.resources import Resources

LATENCY = 1


@dataclass(frozen=True)
class TableStage(BeatByBeat):
    """entries: the answer for each code of 8 bits, from the lowest on."""

    entries: tuple[int, ...] = field(kw_only=True)

    @property
    def latency(self) -> int:
        return LATENCY

    def estimate(self) -> Resources:
        return memory(256, self.output.bits, False).times(self.output.lanes) + logic(lut=4, ff=2)

    def modules(self) -> Sequence[Module]:
        x, y = self.inputs[0], self.output
        text = f"""// A function of each element, by its code: the lowest first.
module {self.name} (
{ports(x.width, y.width)});
  wire en = !m_valid || m_ready;
  assign s_ready = en;
  reg coming;
  always @(posedge clk)
    if (rst) coming <= 1'b0;
    else if (en) coming <= s_valid;
  assign m_valid = coming;
  genvar lane;
  generate
    for (lane = 0; lane < {y.lanes}; lane = lane + 1) begin : element
      {style(256, y.bits)}reg [{y.bits - 1}:0] entries[0:255];
      initial $readmemh("{self.name}.mem", entries);
      wire [7:0] code = 8'($signed(s_data[lane*{x.bits}+:{x.bits}])) ^ 8'h80;
      reg [{y.bits - 1}:0] found;
      always @(posedge clk) if (en) found <= entries[code];
      assign m_data[lane*{y.bits}+:{y.bits}] = found;
    end
  endgenerate
endmodule
"""
        return (Module(self.name, text, {f"{self.name}.mem": image(([entry] for entry in self.entries), y.bits)}),)
