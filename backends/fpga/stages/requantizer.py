"""A sum brought to its output's scale: `bevel.calib.arithmetic.requantize` as registers, exact for every sum.

    y = clamp(zero_point + ((sum * multiplier + 2**(shift - 1)) >> shift))

The multiplier has up to 31 bits, which no multiplier block takes: it is two of 17 and 14, whose products are added. The
shifts of a layer's channels are close to each other: what all have in common is wiring, and the rest, `beyond`, a
shifter of a few places. Adding half before a shift is adding 1 before the last place of it:

    (p + 2**(s - 1)) >> s  ==  ((p >> (s - 1)) + 1) >> 1

Every width comes from the sums that are possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bevel.backends.fpga.logic import logic
from bevel.backends.fpga.verilog.text import Module, count_bits, number, signed_bits, signed_number
from bevel.backends.program.op import Array, Bounds
from bevel.backends.program.resources import Resources
from bevel.calib.arithmetic.requantize import Output

LOW_BITS = 17  # of the multiplier, unsigned: with a sign what a block of 18 bits takes
LATENCY = 6  # registers from a sum to its result


@dataclass(frozen=True, eq=False)
class Requantizer:
    """sums: what they lie in, the bias included; multiplier, shift: of each channel, int [channels], shifts of 1 to 62.

    Raises ValueError for a shift of 0.
    """

    name: str
    sums: Bounds
    multiplier: Array
    shift: Array
    output: Output

    def __post_init__(self) -> None:
        if int(self.shift.min()) < 1:
            raise ValueError("a rescaling by a shift of 0")

    @cached_property
    def shifts(self) -> Array:
        """Those of channels whose multiplier is 0 decide nothing: they take the least."""
        used = self.shift[self.multiplier != 0].astype(np.int64)
        least = int(used.min()) if used.size else 1
        return np.where(self.multiplier != 0, self.shift.astype(np.int64), least)

    @property
    def least(self) -> int:
        return int(self.shifts.min())

    @property
    def sum_bits(self) -> int:
        return signed_bits(*self.sums)

    @cached_property
    def multiplier_bits(self) -> int:
        return max(LOW_BITS + 1, int(self.multiplier.max()).bit_length())

    @cached_property
    def beyond_bits(self) -> int:
        return count_bits(int(self.shifts.max()) - self.least + 1)

    @property
    def parameter_bits(self) -> int:
        """Of a channel: its multiplier, and above it how far its shift is beyond the least."""
        return self.multiplier_bits + self.beyond_bits

    def parameters(self) -> list[int]:
        """Of each channel, as one number."""
        pairs = zip(self.multiplier, self.shifts - self.least, strict=True)
        return [int(factor) | int(beyond) << self.multiplier_bits for factor, beyond in pairs]

    @property
    def result_bits(self) -> int:
        return signed_bits(self.output.low, self.output.high)

    @cached_property
    def takes(self) -> Resources:
        """An estimate, of one."""
        a, m, d = self.sum_bits, self.multiplier_bits, self.beyond_bits
        kept = max(a + m + 1 - (self.least - 1), 2)
        blocks = 2 * (1 if a <= 25 else 2)
        varied = kept * d if self.shifts.max() > self.least else 0
        return logic(lut=a + m + varied * 0.7 + kept + 3 * self.result_bits, ff=a + m + 3 * kept + m + d, dsp=blocks)

    def module(self) -> Module:
        """Ports: sum, parameter; y after LATENCY clocks with `en`."""
        a, m, d, y = self.sum_bits, self.multiplier_bits, self.beyond_bits, self.result_bits
        product, low_bits, high_bits = a + m + 1, a + LOW_BITS + 1, a + m - LOW_BITS + 1
        kept = max(product - (self.least - 1), 2)  # what the common shift leaves
        out = max(kept, signed_bits(self.output.low, self.output.high)) + 2
        low, high = (signed_number(value, out) for value in (self.output.low, self.output.high))
        below = min(self.least - 1, product - 1)
        odd, lost_wire, lost_register = "1'b1", "", ""
        if self.output.even:
            dropped = f"|total[{below - 1}:0]" if below else "1'b0"
            back = f"({kept}'(shifted) <<< beyond3) != kept"
            lost_register = f"    tie <= !({dropped} || {back});\n"
            lost_wire = "  reg tie;\n"
            odd = "!tie || near[1]"
        ties = "ties to even" if self.output.even else "half up"
        text = f"""// sum * multiplier / 2**({self.least} + beyond), to the nearest, {ties};
// {self.output.zero_point:+d}, within {self.output.low} to {self.output.high}.
module {self.name} (
    input  wire clk,
    input  wire en,
    input  wire signed [{a - 1}:0] sum,
    input  wire [{m + d - 1}:0] parameter_word,
    output reg signed [{y - 1}:0] y
);
  wire [{m - 1}:0] multiplier = parameter_word[{m - 1}:0];
  reg signed [{low_bits - 1}:0] low_part;
  reg signed [{high_bits - 1}:0] high_part;
  reg signed [{product - 1}:0] total;
  reg signed [{kept - 1}:0] near;
  reg signed [{out - 1}:0] rounded, placed;
  reg [{d - 1}:0] beyond1, beyond3;
{lost_wire}  wire signed [{kept - 1}:0] kept = {f"{kept}'($signed(total[{product - 1}:{below}]))"};
  wire signed [{kept - 1}:0] shifted = kept >>> beyond3;
  wire signed [{kept - 1}:0] half = near >>> 1;

  always @(posedge clk)
    if (en) begin
      low_part  <= {low_bits}'(sum) * {low_bits}'($signed({{1'b0, multiplier[{LOW_BITS - 1}:0]}}));
      high_part <= {high_bits}'(sum) * {high_bits}'($signed({{1'b0, multiplier[{m - 1}:{LOW_BITS}]}}));
      beyond1   <= parameter_word[{m + d - 1}:{m}];
      total     <= ({product}'(high_part) <<< {LOW_BITS}) + {product}'(low_part);
      beyond3   <= beyond1;
      near      <= shifted;
{lost_register}      rounded   <= {out}'(half) + $signed({{{out - 1}'d0, near[0] && ({odd})}});
      placed    <= rounded + {signed_number(self.output.zero_point, out)};
      y         <= {y}'(placed < {low} ? {low} : placed > {high} ? {high} : placed);
    end
endmodule
"""
        return Module(self.name, text, {})

    def instance(self, total: str) -> str:
        """Verilog of y, what one multiplier for all makes of a sum."""
        return f"""      wire signed [{self.result_bits - 1}:0] y;
      {self.name} rescale (
          .clk(clk),
          .en(en),
          .sum({self.sum_bits}'({total})),
          .parameter_word({number(self.parameters()[0], self.parameter_bits)}),
          .y(y)
      );"""
