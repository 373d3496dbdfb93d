"""Results of few values without any multiplication: how many thresholds of its channel a sum has reached.

    y = low + n    where thresholds[n] <= sum < thresholds[n + 1]

Rescaling never falls where a sum grows, so each value of a result begins at one least sum; they are found by asking
`bevel.calib.arithmetic.requantize`, and hold the bias, too (FINN's `MultiThreshold`, Umuroglu et al. 2017, arXiv
1612.07119). Which of them a sum has reached is a search by halves: a comparison for each bit of n, with a memory of
the thresholds that can be asked for then.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bevel.backends.fpga.logic import logic, memory, style, total
from bevel.backends.fpga.stages.requantizer import Requantizer
from bevel.backends.fpga.verilog.text import Module, count_bits, image, number, signed_bits, signed_number
from bevel.backends.program.op import Array, Bounds
from bevel.backends.program.resources import Resources
from bevel.calib.arithmetic.requantize import requantize

MOST_BITS = 4  # of a result: the memory doubles with each
STEP_LATENCY = 2  # a threshold is read, then compared


@dataclass(frozen=True, eq=False)
class Thresholds:
    """sums: what sums lie in, without their biases; bias: [channels]; scaled: what they stand for."""

    name: str
    sums: Bounds
    bias: Array
    scaled: Requantizer

    @classmethod
    def of(cls, name: str, sums: Bounds, bias: Array, scaled: Requantizer) -> Thresholds | None:
        output = scaled.output
        values = output.high - output.low + 1
        if values > 1 << MOST_BITS or values < 2:
            return None
        return cls(name, sums, bias, scaled)

    @cached_property
    def least(self) -> Array:
        """The least sum of each value but the lowest; one past the largest sum where none is: [channels, values]."""
        return least_sums(self.sums, self.bias, self.scaled)

    @property
    def low(self) -> int:
        return self.scaled.output.low

    @property
    def count(self) -> int:
        """Of a channel."""
        return self.scaled.output.high - self.low

    @property
    def steps(self) -> int:
        return self.count.bit_length()

    @property
    def sum_bits(self) -> int:
        """Of sums and thresholds, of which one may be past them."""
        return signed_bits(self.sums[0], self.sums[1] + 1)

    @property
    def latency(self) -> int:
        return STEP_LATENCY * self.steps + 1

    def estimate(self, words: int) -> Resources:
        """Of one, for so many channels."""
        found = [memory(words << step, self.sum_bits, False) for step in range(self.steps)]
        found.append(logic(lut=self.sum_bits * 0.6, ff=2 * self.sum_bits + 12).times(self.steps))
        return total(found)

    def memories(self, per: int) -> dict[str, str]:
        """One for each place among `per` and each step: [channel, what is known of n]."""
        found, past = {}, self.sums[1] + 1
        spare = (1 << self.steps) - 1 - self.count
        every = np.pad(self.least, ((0, 0), (1, spare)), constant_values=past)
        for place in range(per):
            of_place = every[place::per]
            for step in range(self.steps):
                half = 1 << (self.steps - 1 - step)
                rows = of_place[:, half :: 2 * half].reshape(-1, 1)
                found[f"{self.name}_{place}_{step}.mem"] = image(rows.tolist(), self.sum_bits)
        return found

    def modules(self, per: int, words: int) -> list[Module]:
        return [self.module(place, words) for place in range(per)]

    def instance(self, place: int, result_bits: int) -> str:
        bits = signed_bits(*self.sums)
        return f"""  {self.name}_{place} reached{place} (
      .clk(clk),
      .en(en),
      .which(which),
      .sum(fed[{place * bits} +: {bits}]),
      .y(m_data[{place * result_bits} +: {result_bits}])
  );"""

    def module(self, place: int, words: int) -> Module:
        """Ports: which, of the channels in turn; sum; y behind `latency` clocks with `en`."""
        bits, given, which = self.sum_bits, signed_bits(*self.sums), count_bits(words)
        result = signed_bits(self.low, self.low + self.count)
        parts, before = [], f"{bits}'($signed(sum))"
        for step in range(self.steps):
            parts.append(self.step(place, step, words, before))
            before = f"sum{step}b"
        wide = max(result, self.steps) + 1
        placed = f"$signed({{{number(0, wide - self.steps)}, n{self.steps - 1}}}) + {signed_number(self.low, wide)}"
        body = "\n".join(parts)
        text = f"""// How many of {self.count} thresholds a sum has reached, by halves; {self.low:+d}.
module {self.name}_{place} (
    input  wire clk,
    input  wire en,
    input  wire [{which - 1}:0] which,
    input  wire [{given - 1}:0] sum,
    output reg signed [{result - 1}:0] y
);
{body}
  always @(posedge clk) if (en) y <= {result}'({placed});
endmodule
"""
        return Module(f"{self.name}_{place}", text, {})

    def step(self, place: int, step: int, words: int, before: str) -> str:
        """A bit of n: whether the sum has reached the threshold in the middle of those that are left."""
        bits, which, depth = self.sum_bits, count_bits(words), words << step
        if words == 1:
            at = f"n{step - 1}" if step else "0"
        else:
            at = f"{{which{step - 1}, n{step - 1}}}" if step else "which"
        old, last = ("which" if step == 0 else f"which{step - 1}"), step == self.steps - 1
        kept = f"  reg [{step - 1}:0] n{step}a;\n" if step else ""
        keeping = f"      n{step}a <= n{step - 1};\n" if step else ""
        found = f"{{n{step}a, sum{step}a >= threshold{step}}}" if step else "sum0a >= threshold0"
        carried = f"  reg [{which - 1}:0] which{step}a, which{step};\n  reg signed [{bits - 1}:0] sum{step}b;\n"
        carrying = f"      which{step}a <= {old};\n      which{step} <= which{step}a;\n"
        carrying += f"      sum{step}b <= sum{step}a;\n"
        return f"""
  {style(depth, bits)}reg [{bits - 1}:0] thresholds{step}[0:{depth - 1}];
  initial $readmemh("{self.name}_{place}_{step}.mem", thresholds{step});
  reg signed [{bits - 1}:0] sum{step}a, threshold{step};
  reg [{step}:0] n{step};
{kept}{"" if last else carried}  always @(posedge clk)
    if (en) begin
      threshold{step} <= $signed(thresholds{step}[{at}]);
      sum{step}a <= {before};
      n{step} <= {found};
{keeping}{"" if last else carrying}    end"""


def least_sums(sums: Bounds, bias: Array, scaled: Requantizer) -> Array:
    """The least sum with which each channel has each value above the lowest; sums[1] + 1 where none has it. By
    bisection: int64 [channels, values - 1]."""
    output = scaled.output
    values = np.arange(output.low + 1, output.high + 1)
    shape = len(bias), len(values)
    low, high = np.full(shape, sums[0], np.int64), np.full(shape, sums[1] + 1, np.int64)
    multiplier, shift = (array.astype(np.int64)[:, np.newaxis] for array in (scaled.multiplier, scaled.shift))
    while (low < high).any():
        middle = (low + high) // 2
        # past the last sum nothing is asked: there `middle` never is
        reached = requantize(middle + bias.astype(np.int64)[:, np.newaxis], multiplier, shift, output) >= values
        high, low = np.where(reached, middle, high), np.where(reached | (low >= high), low, middle + 1)
    return high
