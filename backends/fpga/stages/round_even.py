"""Sums as integers of another scale, ties to even: `bevel.calib.arithmetic.requantize.even_shift_right` as registers.

raised = x * multiplier + 2**(shift - 1) + tolerance
y = clamp(zero_point + (raised >> shift) - (1, where that is odd and the rest of raised is 2 * tolerance at most))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bevel.backends.fpga.logic import logic
from bevel.backends.fpga.stage import BeatByBeat
from bevel.backends.fpga.stages.sums import coming
from bevel.backends.fpga.verilog.text import Module, number, ports, signed_bits, signed_number
from bevel.backends.program.ops.round_even import RoundEven
from bevel.backends.program.resources import Resources

LATENCY = 5


@dataclass(frozen=True, eq=False)
class RoundEvenStage(BeatByBeat):
    """input, output: as many beats, of elements within +-`op.reach`, and of their results."""

    op: RoundEven = field(kw_only=True)

    @property
    def latency(self) -> int:
        return LATENCY

    @property
    def raised_bits(self) -> int:
        """Of a product with what is added to it, and of what is left of it at least."""
        most = self.op.reach * self.op.multiplier + (1 << self.op.shift >> 1) + self.op.tolerance
        return max(signed_bits(-most, most), self.op.shift + 2)

    def estimate(self) -> Resources:
        bits, kept = self.raised_bits, self.raised_bits - self.op.shift
        x, factor = self.inputs[0].bits, self.op.multiplier.bit_length() + 1
        blocks = -(-x // 25) * -(-factor // 18)
        one = logic(lut=2 * bits + 3 * kept + 24, ff=2 * bits + 3 * kept + 24, dsp=blocks)
        return one.times(self.output.lanes) + logic(lut=6, ff=LATENCY)

    def modules(self) -> Sequence[Module]:
        op, x, y, bits = self.op, self.inputs[0], self.output, self.raised_bits
        kept, out = bits - op.shift, op.output
        wide = max(kept, signed_bits(out.low, out.high), signed_bits(out.zero_point, out.zero_point)) + 2
        low, high = signed_number(out.low, wide), signed_number(out.high, wide)
        added = (1 << op.shift >> 1) + op.tolerance
        text = f"""// x * {op.multiplier} / 2**{op.shift}, to the nearest, ties to even; {out.zero_point:+d},
// within {out.low} to {out.high}.
module {self.name} (
{ports(x.width, y.width)});
  wire en = !m_valid || m_ready;
  assign s_ready = en;
{coming(LATENCY, "s_valid")}
  genvar lane;
  generate
    for (lane = 0; lane < {y.lanes}; lane = lane + 1) begin : element
      reg signed [{bits - 1}:0] multiplied, raised;
      reg signed [{kept - 1}:0] rounded;
      reg on_half;
      reg signed [{wide - 1}:0] placed;
      reg signed [{y.bits - 1}:0] y;
      always @(posedge clk)
        if (en) begin
          multiplied <= {bits}'($signed(s_data[lane*{x.bits}+:{x.bits}])) * {signed_number(op.multiplier, bits)};
          raised     <= multiplied + {signed_number(added, bits)};
          rounded    <= $signed(raised[{bits - 1}:{op.shift}]);
          on_half    <= raised[{op.shift - 1}:0] <= {number(2 * op.tolerance, op.shift)};
          placed     <= {wide}'(rounded) - $signed({{{wide - 1}'d0, on_half && rounded[0]}})
                        + {signed_number(out.zero_point, wide)};
          y          <= {y.bits}'(placed < {low} ? {low} : placed > {high} ? {high} : placed);
        end
      assign m_data[lane*{y.bits}+:{y.bits}] = y;
    end
  endgenerate
endmodule
"""
        return (Module(self.name, text, {}),)
