"""From whole sums to results, behind a matrix-vector unit: PE sums at once, brought to their channels' scales.

As sums come seldom where a sum takes many beats, fewer rescalings than sums stand there, one after the other. Of each
channel a memory holds its bias, multiplier and shift; where results have few values, thresholds stand in their place
(`thresholds.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from bevel.backends.fpga.logic import logic, memory, style, total
from bevel.backends.fpga.stages.requantizer import LATENCY, Requantizer
from bevel.backends.fpga.stages.thresholds import Thresholds
from bevel.backends.fpga.verilog.text import HardwareCounter, Module, counters, image, number, signed_bits
from bevel.backends.program.op import Array, Bounds
from bevel.backends.program.resources import Resources

FED = 1  # registers between a sum and what rescales it


@dataclass(frozen=True, eq=False)
class ResultsOfSums:
    """`outputs` sums within `sums` at a time, `per` of them rescaled at a time, of all channels in turn. bias:
    [channels]; scaled: of sums with them; thresholds: in its place, where results have few values."""

    name: str
    outputs: int
    per: int
    sums: Bounds
    bias: Array
    scaled: Requantizer
    thresholds: Thresholds | None

    @property
    def turns(self) -> int:
        return self.outputs // self.per

    @property
    def words(self) -> int:
        """Of the memory of channels: turns of all of them."""
        return len(self.bias) // self.per

    @property
    def bits(self) -> int:
        return signed_bits(*self.sums)

    @property
    def bias_bits(self) -> int:
        return signed_bits(int(self.bias.min()), int(self.bias.max()))

    @property
    def stages(self) -> int:
        """Registers from a whole sum to its result."""
        return FED + (1 + LATENCY if self.thresholds is None else self.thresholds.latency)

    @property
    def channel_bits(self) -> int:
        """Of what is known of a channel: its bias, multiplier and shift."""
        return self.bias_bits + self.scaled.parameter_bits

    def estimate(self) -> Resources:
        found = []
        if self.turns > 1:
            found.append(logic(lut=self.bits * self.outputs, ff=self.bits * self.outputs))
        if self.thresholds is not None:
            return total([*found, self.thresholds.estimate(self.words).times(self.per)])
        found.append(memory(self.words, self.per * self.channel_bits, False))
        found.append(self.scaled.takes.times(self.per))
        return total(found)

    def memories(self) -> dict[str, str]:
        if self.thresholds is not None:
            return self.thresholds.memories(self.per)
        low = (1 << self.bias_bits) - 1
        pairs = zip(self.bias, self.scaled.parameters(), strict=True)
        whole = [int(bias) & low | word << self.bias_bits for bias, word in pairs]
        rows = [whole[first : first + self.per] for first in range(0, len(whole), self.per)]
        return {f"{self.name}_channels.mem": image(rows, self.channel_bits)}

    def modules(self) -> list[Module]:
        """Without the text that stands in the unit itself."""
        return [self.scaled.module()] if self.thresholds is None else self.thresholds.modules(self.per, self.words)

    def text(self, result_bits: int) -> str:
        """Of `sum` and `whole`, results in `m_data`."""
        waiting, feed, fed = self.taking_turns()
        per, bits, stages = self.per, self.bits, self.stages
        channel = HardwareCounter("channel", self.words)
        declared, moves = self.known(channel)
        return f"""
  // Rescaling.{waiting}
  wire feed = {feed};
{counters([channel], "en && feed")}
  reg [{per * bits - 1}:0] fed;
  reg [{stages}:1] coming;
{declared}
  always @(posedge clk)
    if (en) begin
      fed   <= {fed};
{moves}
    end
  always @(posedge clk)
    if (rst) coming <= {stages}'d0;
    else if (en) coming <= {{coming[{stages - 1}:1], feed}};
{self.beside(result_bits, channel)}
  assign m_valid = coming[{stages}];"""

    def taking_turns(self) -> tuple[str, str, str]:
        """What keeps sums that are not rescaled yet; when some are, and which."""
        per, bits, left = self.per, self.bits, HardwareCounter("left", self.turns).bits
        if self.turns == 1:
            return "", "whole", "sum"
        rest = (self.outputs - per) * bits
        kept = f"""
  reg [{rest - 1}:0] waiting;  // sums that are not rescaled yet
  reg [{left - 1}:0] left;
  always @(posedge clk)
    if (rst) left <= {number(0, left)};
    else if (en && whole) left <= {number(self.turns - 1, left)};
    else if (en && left != {number(0, left)}) left <= left - {number(1, left)};
  always @(posedge clk)
    if (en) waiting <= whole ? sum[{self.outputs * bits - 1}:{per * bits}] : {rest}'(waiting >> {per * bits});
"""
        taken = f"whole ? sum[{per * bits - 1}:0] : waiting[{per * bits - 1}:0]"
        return kept, f"whole || left != {number(0, left)}", taken

    def known(self, channel: HardwareCounter) -> tuple[str, str]:
        """Declarations and moves of what belongs to the channels of `fed`."""
        if self.thresholds is not None:
            return f"  reg [{channel.bits - 1}:0] which;", "      which <= channel;"
        width = self.per * self.channel_bits
        declared = f"""  {style(self.words, width)}reg [{width - 1}:0] channels[0:{self.words - 1}];
  initial $readmemh("{self.name}_channels.mem", channels);
  reg [{width - 1}:0] known;"""
        return declared, "      known <= channels[channel];"

    def beside(self, result_bits: int, channel: HardwareCounter) -> str:
        """The rescalings beside each other."""
        if self.thresholds is not None:
            return "\n".join(self.thresholds.instance(place, result_bits) for place in range(self.per))
        bits, width, bias, scaled = self.bits, self.channel_bits, self.bias_bits, self.scaled
        return f"""  genvar r;
  generate
    for (r = 0; r < {self.per}; r = r + 1) begin : result
      reg signed [{scaled.sum_bits - 1}:0] total;
      reg [{scaled.parameter_bits - 1}:0] parameters;
      always @(posedge clk)
        if (en) begin
          total <= {scaled.sum_bits}'($signed(fed[r*{bits}+:{bits}]))
              + {scaled.sum_bits}'($signed(known[r*{width}+:{bias}]));
          parameters <= known[r*{width}+{bias}+:{scaled.parameter_bits}];
        end
      wire signed [{scaled.result_bits - 1}:0] y;
      {scaled.name} rescale (
          .clk(clk),
          .en(en),
          .sum(total),
          .parameter_word(parameters),
          .y(y)
      );
      assign m_data[r*{result_bits}+:{result_bits}] = y;
    end
  endgenerate"""
