"""The sum or difference of two streams on a common scale: y = store((a * A + b * B + offset) >> shift).

Its beats come together: the stream that is ahead waits, in a FIFO deep enough for what the other one keeps back. Where
b is constant, a memory holds b * B + offset in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bevel.backends.fpga.logic import logic, memory
from bevel.backends.fpga.stage import BeatByBeat
from bevel.backends.fpga.stages.kept import in_turn
from bevel.backends.fpga.stages.sums import coming
from bevel.backends.fpga.verilog.text import (
    HardwareCounter,
    Module,
    image,
    port_letters,
    ports,
    signed_bits,
    signed_number,
)
from bevel.backends.program.op import Array
from bevel.backends.program.ops.add import Add
from bevel.backends.program.resources import Resources

LATENCY = 4


@dataclass(frozen=True, eq=False)
class Two(BeatByBeat):
    """inputs: two streams of equal lanes, called a and b; output: one. held: b, where it is constant; then a alone
    comes in."""

    add: Add = field(kw_only=True)
    held: Array | None = field(default=None, kw_only=True)

    @property
    def latency(self) -> int:
        return LATENCY

    @property
    def sum_bits(self) -> int:
        """Of everything up to the sum, a part of it and the whole."""
        limits = [one.bounds for one in self.inputs]
        limits += [] if self.held is None else [(int(self.held.min()), int(self.held.max()))]
        reach = [max(abs(bound) for bound in one) for one in limits]
        parts = reach[0] * abs(self.add.a_multiplier), reach[1] * abs(self.add.b_multiplier)
        most = sum(parts) + abs(self.add.offset)
        return max(signed_bits(-most, most), self.add.shift + 2)

    def estimate(self) -> Resources:
        bits = self.sum_bits
        if self.held is not None:
            one = logic(lut=bits + 30, ff=2 * bits + 40, dsp=1)
            kept = memory(self.output.beats, bits * self.output.lanes, False)
            return one.times(self.output.lanes) + kept + logic(lut=20, ff=14)
        one = logic(lut=2 * bits + 30, ff=2 * bits + 40, dsp=2)
        return one.times(self.output.lanes) + logic(lut=6, ff=4)

    def modules(self) -> Sequence[Module]:
        add, out, bits = self.add, self.add.output, self.sum_bits
        a, kept = self.inputs[0], self.sum_bits - add.shift
        wide = max(kept, signed_bits(out.low, out.high), signed_bits(out.zero_point, out.zero_point)) + 1
        low, high = signed_number(out.low, wide), signed_number(out.high, wide)
        result = signed_bits(out.low, out.high)
        names = port_letters(len(self.inputs))
        given = {name: one.width for name, one in zip(names, self.inputs, strict=True)}
        factor_a, factor_b = (signed_number(one, bits) for one in (add.a_multiplier, add.b_multiplier))
        constant = self.held is not None
        if constant:
            b = f"$signed(held[lane*{bits}+:{bits}])"
            of_b, sum_of, waits = "b", "a_part + b_part", ""
        else:
            b = f"{bits}'($signed(b_data[lane*{self.inputs[1].bits}+:{self.inputs[1].bits}]))"
            of_b, sum_of, waits = (
                f"b * {factor_b}",
                f"a_part + b_part + {signed_number(add.offset, bits)}",
                " && b_valid",
            )
        text = f"""// (a * {add.a_multiplier} + b * {add.b_multiplier} + {add.offset}) >> {add.shift},
// {out.zero_point:+d}, within {out.low} to {out.high}.
module {self.name} (
{ports(given, self.output.width)});
  wire en = !m_valid || m_ready;
  wire go = en && {names[0]}_valid{waits};
  assign {names[0]}_ready = go;
{self.holding() if constant else "  assign b_ready = go;"}
{coming(LATENCY, "go")}
  genvar lane;
  generate
    for (lane = 0; lane < {self.output.lanes}; lane = lane + 1) begin : element
      wire signed [{bits - 1}:0] a = {bits}'($signed({names[0]}_data[lane*{a.bits}+:{a.bits}]));
      wire signed [{bits - 1}:0] b = {b};
      reg signed [{bits - 1}:0] a_part, b_part, total;
      reg signed [{wide - 1}:0] placed;
      reg signed [{result - 1}:0] y;
      wire signed [{kept - 1}:0] shifted = $signed(total[{bits - 1}:{add.shift}]);
      always @(posedge clk)
        if (en) begin
          a_part <= a * {factor_a};
          b_part <= {of_b};
          total  <= {sum_of};
          placed <= {wide}'(shifted) + {signed_number(out.zero_point, wide)};
          y      <= {result}'(placed < {low} ? {low} : placed > {high} ? {high} : placed);
        end
      assign m_data[lane*{self.output.bits}+:{self.output.bits}] = y;
    end
  endgenerate
endmodule
"""
        return (Module(self.name, text, self.memories()),)

    def holding(self) -> str:
        """What is added, by a counter of beats."""
        at, width = HardwareCounter("at", self.output.beats), self.output.lanes * self.sum_bits
        return in_turn(at, "go", "parts", width, f"{self.name}.mem", "held")

    def memories(self) -> dict[str, str]:
        if self.held is None:
            return {}
        parts = [int(one) * self.add.b_multiplier + self.add.offset for one in self.held.reshape(-1)]
        rows = np.array(parts, object).reshape(-1, self.output.lanes)
        return {f"{self.name}.mem": image(rows.tolist(), self.sum_bits)}
