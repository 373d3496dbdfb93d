"""The elements of a frame in another order: two memories of a frame, one that fills while the other is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bevel.backends.fpga.logic import logic, memory
from bevel.backends.fpga.stage import Phase, PhasedStage, in_order
from bevel.backends.fpga.verilog.text import HardwareCounter, Module, count_bits, counters, number, ports
from bevel.backends.program.resources import Resources


@dataclass(frozen=True)
class Reorder(PhasedStage):
    """axes: of the output, outermost first, the length of each and how many elements of the input lie between two of
    its places."""

    axes: tuple[tuple[int, int], ...] = field(kw_only=True)

    @property
    def cycles(self) -> int:
        return self.output.elements

    def phases(self) -> Sequence[Phase]:
        """A frame comes in; once it is there, it goes out."""
        every = in_order(self.output.elements)
        return Phase((every,), every - 1, 1), Phase((np.full(len(every), len(every)),), every - 1, 1)

    def estimate(self) -> Resources:
        return memory(2 << count_bits(self.output.elements), self.output.bits, True) + logic(lut=60, ff=30)

    def modules(self) -> Sequence[Module]:
        count, bits = self.output.elements, self.output.bits
        at = HardwareCounter("at", count)
        places = [HardwareCounter(f"axis{number_}", length) for number_, (length, _) in enumerate(self.axes)]
        width = at.bits
        terms = [
            f"{width}'({one.name})" + (f" * {number(stride, width)}" if stride != 1 else "")
            for one, (_, stride) in zip(places, self.axes, strict=True)
        ]
        ends = " && ".join(f"{one.name}_last" for one in places)
        text = f"""// {count} elements in another order, a frame behind.
module {self.name} (
{ports(bits, bits)});
  reg [{bits - 1}:0] frames[0:{(2 << width) - 1}];
  reg [{bits - 1}:0] found;
  reg into, out_of, coming;
  reg [1:0] filled;  // frames that are there
  assign s_ready = filled != 2'd2;
  assign m_valid = coming;
  assign m_data = found;
  wire put = s_valid && s_ready;
  wire get = filled != 2'd0 && (!coming || m_ready);
{counters([at], "put")}
{counters(places[::-1], "get")}
  wire [{width - 1}:0] place = {" + ".join(terms)};
  wire entered = put && at_last;
  wire left = get && {ends};
  always @(posedge clk) begin
    if (put) frames[{{into, at}}] <= s_data;
    if (get) found <= frames[{{out_of, place}}];
  end
  always @(posedge clk)
    if (rst) begin
      into   <= 1'b0;
      out_of <= 1'b0;
      coming <= 1'b0;
      filled <= 2'd0;
    end else begin
      if (entered) into <= !into;
      if (left) out_of <= !out_of;
      coming <= get || (coming && !m_ready);
      filled <= filled + {{1'b0, entered}} - {{1'b0, left}};
    end
endmodule
"""
        return (Module(self.name, text, {}),)
