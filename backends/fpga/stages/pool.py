"""The largest of each window, or its mean: windows by channel in, one element of each channel out.

Padding holds what changes nothing: the lowest number, or the input's zero point, which is taken off every element.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bevel.backends.fpga.logic import logic
from bevel.backends.fpga.stage import Phase, PhasedStage
from bevel.backends.fpga.stages.requantizer import LATENCY as RESCALING
from bevel.backends.fpga.stages.requantizer import Requantizer
from bevel.backends.fpga.verilog.text import (
    HardwareCounter,
    Module,
    counters,
    number,
    ports,
    signed_bits,
    signed_number,
)
from bevel.backends.program.resources import Resources


@dataclass(frozen=True)
class PoolStage(PhasedStage):
    """inputs: rows x lanes elements a beat; output: lanes. beats: of a window's channels. zero_point: taken off each
    element of a mean; mean: how its sums are rescaled; without it the largest is taken."""

    rows: int = field(kw_only=True)
    beats: int = field(kw_only=True)
    zero_point: int = field(kw_only=True)
    mean: Requantizer | None = field(kw_only=True)

    @property
    def bits(self) -> int:
        """Of what is kept of a window."""
        if self.mean is None:
            return self.inputs[0].bits
        return signed_bits(*mean_sums(self.inputs[0].bounds, self.zero_point, self.rows * self.beats))

    @property
    def latency(self) -> int:
        return 2 + (0 if self.mean is None else RESCALING)

    def phases(self) -> Sequence[Phase]:
        steps = np.arange(self.inputs[0].beats, dtype=np.int64)
        return (Phase((steps + 1,), steps[self.beats - 1 :: self.beats], self.latency),)

    @property
    def cycles(self) -> int:
        return self.inputs[0].beats

    def estimate(self) -> Resources:
        one = logic(lut=(self.rows + 1) * 2 * self.bits, ff=2 * self.bits)
        if self.mean is not None:
            one += self.mean.takes
        return one.times(self.output.lanes) + logic(lut=20, ff=20)

    def modules(self) -> Sequence[Module]:
        beat, x, bits, depth = HardwareCounter("beat", self.beats), self.inputs[0], self.bits, self.latency
        first = number(0, beat.bits)
        what = "largest" if self.mean is None else "sum"
        if self.mean is None:
            result, instance = "kept", ""
        else:
            result = "y"
            instance = f"\n{self.mean.instance('kept')}"
        text = f"""// The {what} of {self.rows * self.beats} elements, {self.rows} of a channel a beat.
module {self.name} (
{ports(x.width, self.output.width)});
  wire en = !m_valid || m_ready;
  assign s_ready = en;
  wire go = en && s_valid;
{counters([beat], "go")}
  reg live, first, last;
  reg [{depth}:2] coming;
  always @(posedge clk)
    if (rst) begin
      live   <= 1'b0;
      coming <= {depth - 1}'d0;
    end else if (en) begin
      live   <= go;
      coming <= {self.shifting(depth)};
    end
  always @(posedge clk)
    if (en) begin
      first <= beat == {first};
      last  <= beat_last;
    end
  assign m_valid = coming[{depth}];
  genvar lane;
  generate
    for (lane = 0; lane < {self.output.lanes}; lane = lane + 1) begin : channel
{self.column()}
      reg signed [{bits - 1}:0] rows, kept;
      always @(posedge clk)
        if (en) begin
          rows <= column{self.rows - 1};
          if (live) kept <= {self.joined("kept", "rows", "first")};
        end{instance}
      assign m_data[lane*{self.output.bits}+:{self.output.bits}] = {result};
    end
  endgenerate
endmodule
"""
        return (Module(self.name, text, {}), *(() if self.mean is None else (self.mean.module(),)))

    def shifting(self, depth: int) -> str:
        return "live && last" if depth == 2 else f"{{coming[{depth - 1}:2], live && last}}"

    def column(self) -> str:
        """The elements of a beat that belong to a channel, together."""
        bits, x, lanes, lines = self.bits, self.inputs[0], self.output.lanes, []
        for row in range(self.rows):
            value = f"{bits}'($signed(s_data[({row * lanes}+lane)*{x.bits}+:{x.bits}]))"
            if self.mean is not None and self.zero_point:
                value = f"{value} - {signed_number(self.zero_point, bits)}"
            lines.append(f"      wire signed [{bits - 1}:0] row{row} = {value};")
            joined = "row0" if row == 0 else self.joined(f"column{row - 1}", f"row{row}")
            lines.append(f"      wire signed [{bits - 1}:0] column{row} = {joined};")
        return "\n".join(lines)

    def joined(self, a: str, b: str, anew: str | None = None) -> str:
        """The larger of two, or their sum; the second alone where `anew`."""
        if self.mean is None:
            return f"{anew} || {b} > {a} ? {b} : {a}" if anew else f"{b} > {a} ? {b} : {a}"
        return f"{anew} ? {b} : {a} + {b}" if anew else f"{a} + {b}"


def mean_sums(bounds: tuple[int, int], zero_point: int, taps: int) -> tuple[int, int]:
    """What the sum of `taps` elements, and of some of them, lies in; one element, and the zero point, too."""
    low, high = bounds[0] - zero_point, bounds[1] - zero_point
    lowest, highest = min(low, low * taps, bounds[0], 0), max(high, high * taps, bounds[1], 0)
    return min(lowest, zero_point), max(highest, zero_point)
