"""The mean of all pixels of each channel: a sum a channel in a small memory, rescaled with the last pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bevel.backends.fpga.logic import logic, memory
from bevel.backends.fpga.stage import Phase, PhasedStage
from bevel.backends.fpga.stages.requantizer import LATENCY as RESCALING
from bevel.backends.fpga.stages.requantizer import Requantizer
from bevel.backends.fpga.stages.sums import coming
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

LATENCY = 1 + RESCALING


@dataclass(frozen=True)
class MeanStage(PhasedStage):
    """inputs: `pixels` times all channels; output: all channels. start: what a sum begins with; sums: what it lies in,
    from the first pixel on."""

    pixels: int = field(kw_only=True)
    channels: int = field(kw_only=True)
    start: int = field(kw_only=True)
    sums: tuple[int, int] = field(kw_only=True)
    rescaling: Requantizer = field(kw_only=True)

    def phases(self) -> Sequence[Phase]:
        folds = self.channels // self.output.lanes
        steps = np.arange(self.inputs[0].beats, dtype=np.int64)
        last = steps // folds % self.pixels == self.pixels - 1
        return (Phase((steps + 1,), steps[last], LATENCY),)

    @property
    def cycles(self) -> int:
        return self.inputs[0].beats

    def estimate(self) -> Resources:
        bits = signed_bits(*self.sums)
        one = memory(self.channels // self.output.lanes, bits, True) + logic(lut=2 * bits) + self.rescaling.takes
        return one.times(self.output.lanes) + logic(lut=30, ff=30)

    def modules(self) -> Sequence[Module]:
        lanes, x, bits = self.output.lanes, self.inputs[0], signed_bits(*self.sums)
        fold, pixel = HardwareCounter("fold", self.channels // lanes), HardwareCounter("pixel", self.pixels)
        scaled = self.rescaling
        text = f"""// The mean of {self.pixels} pixels of {self.channels} channels.
module {self.name} (
{ports(x.width, self.output.width)});
  wire en = !m_valid || m_ready;
  assign s_ready = en;
  wire go = en && s_valid;
{counters([fold, pixel], "go")}
  wire first = pixel == {number(0, pixel.bits)};
{coming(LATENCY, "go && pixel_last")}
  genvar lane;
  generate
    for (lane = 0; lane < {lanes}; lane = lane + 1) begin : channel
      reg signed [{bits - 1}:0] sums[0:{fold.values - 1}];
      wire signed [{bits - 1}:0] sofar = first ? {signed_number(self.start, bits)} : sums[fold];
      wire signed [{bits - 1}:0] after = sofar + {bits}'($signed(s_data[lane*{x.bits}+:{x.bits}]));
      reg signed [{bits - 1}:0] total;
      always @(posedge clk) begin
        if (go) sums[fold] <= after;
        if (en) total <= after;
      end
{scaled.instance("total")}
      assign m_data[lane*{self.output.bits}+:{self.output.bits}] = y;
    end
  endgenerate
endmodule
"""
        return Module(self.name, text, {}), scaled.module()
