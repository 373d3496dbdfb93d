"""The sum or difference of two streams on a common scale: y = store((a * A + b * B + offset) >> shift).

Its beats come together: the stream that is ahead waits, in a FIFO deep enough for what the other one keeps back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bevel.backends.fpga.logic import logic
from bevel.backends.fpga.stage import Phase, Stage, in_order
from bevel.backends.fpga.verilog.text import Module, ports, signed_bits, signed_number
from bevel.backends.program.ops.add import Add
from bevel.backends.program.resources import Resources

LATENCY = 4


@dataclass(frozen=True)
class Two(Stage):
    """inputs: two streams of equal lanes, called a and b; output: one."""

    add: Add = field(kw_only=True)

    def phases(self) -> Sequence[Phase]:
        every = in_order(self.output.beats)
        return (Phase((every, every), every - 1, LATENCY),)

    @property
    def sum_bits(self) -> int:
        """Of everything up to the sum, a part of it and the whole."""
        reach = [max(abs(bound) for bound in one.bounds) for one in self.inputs]
        parts = reach[0] * abs(self.add.a_multiplier), reach[1] * abs(self.add.b_multiplier)
        most = sum(parts) + abs(self.add.offset)
        return max(signed_bits(-most, most), self.add.shift + 2)

    @property
    def cycles(self) -> int:
        return self.output.beats

    def estimate(self) -> Resources:
        bits = self.sum_bits
        one = logic(lut=2 * bits + 30, ff=2 * bits + 40, dsp=2)
        return one.times(self.output.lanes) + logic(lut=6, ff=4)

    def modules(self) -> Sequence[Module]:
        add, out, bits = self.add, self.add.output, self.sum_bits
        (a, b), kept = self.inputs, self.sum_bits - add.shift
        wide = max(kept, signed_bits(out.low, out.high), signed_bits(out.zero_point, out.zero_point)) + 1
        low, high = signed_number(out.low, wide), signed_number(out.high, wide)
        result = signed_bits(out.low, out.high)
        text = f"""// (a * {add.a_multiplier} + b * {add.b_multiplier} + {add.offset}) >> {add.shift},
// {out.zero_point:+d}, within {out.low} to {out.high}.
module {self.name} (
{ports({"a": a.width, "b": b.width}, self.output.width)});
  wire en = !m_valid || m_ready;
  wire go = en && a_valid && b_valid;
  assign a_ready = go;
  assign b_ready = go;
  reg [{LATENCY}:1] coming;
  always @(posedge clk)
    if (rst) coming <= {LATENCY}'d0;
    else if (en) coming <= {{coming[{LATENCY - 1}:1], go}};
  assign m_valid = coming[{LATENCY}];
  genvar lane;
  generate
    for (lane = 0; lane < {self.output.lanes}; lane = lane + 1) begin : element
      wire signed [{bits - 1}:0] a = {bits}'($signed(a_data[lane*{a.bits}+:{a.bits}]));
      wire signed [{bits - 1}:0] b = {bits}'($signed(b_data[lane*{b.bits}+:{b.bits}]));
      reg signed [{bits - 1}:0] a_part, b_part, total;
      reg signed [{wide - 1}:0] placed;
      reg signed [{result - 1}:0] y;
      wire signed [{kept - 1}:0] shifted = $signed(total[{bits - 1}:{add.shift}]);
      always @(posedge clk)
        if (en) begin
          a_part <= a * {signed_number(add.a_multiplier, bits)};
          b_part <= b * {signed_number(add.b_multiplier, bits)};
          total  <= a_part + b_part + {signed_number(add.offset, bits)};
          placed <= {wide}'(shifted) + {signed_number(out.zero_point, wide)};
          y      <= {result}'(placed < {low} ? {low} : placed > {high} ? {high} : placed);
        end
      assign m_data[lane*{self.output.bits}+:{self.output.bits}] = y;
    end
  endgenerate
endmodule
"""
        return (Module(self.name, text, {}),)
