"""The matrix-vector unit: PE sums of SIMD products a cycle, folded over the outputs and the elements of a window.

    windows -> kept for the groups of outputs after the first -> PE x SIMD multipliers -> sums -> rescaling -> results

A window's elements come once, in beats of SIMD, and are read again from a small memory for each further group of PE
outputs. As a group takes as many cycles as a window has beats, its sums go through fewer rescalings than there are
sums, one after the other, wherever that leaves no cycle idle (`results.py`). Which weights stand in a word of the
weight memory is read off the schedule of the nest (`nest.py`). Outputs beside each other multiply the same elements:
with multiplier blocks two of them share each (`pair.py`), where their weights leave room for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bevel.backends.fpga import nest
from bevel.backends.fpga.logic import MultiplierBlock, logic, memory, style, total
from bevel.backends.fpga.stage import Phase, PhasedStage
from bevel.backends.fpga.stages import dot
from bevel.backends.fpga.stages.constants import ProductConstants
from bevel.backends.fpga.stages.dot import Multiplier
from bevel.backends.fpga.stages.pair import PairOfSums, pair_of_sums, stored
from bevel.backends.fpga.stages.results import ResultsOfSums
from bevel.backends.fpga.stages.sums import on_the_way
from bevel.backends.fpga.stages.weights import Coding
from bevel.backends.fpga.verilog.text import HardwareCounter, Module, counters, image, number, ports, signed_bits
from bevel.backends.program.op import Bounds
from bevel.backends.program.resources import Resources


def divided(outputs: int, beats: int) -> int:
    """How many rescalings PE sums need, which come every `beats` cycles: the fewest that keep up."""
    return next(many for many in range(1, outputs + 1) if outputs % many == 0 and outputs // many <= beats)


@dataclass(frozen=True, eq=False)
class ProductStage(PhasedStage):
    """inputs: the elements of windows, SIMD a beat (where depthwise, PE x rows); output: results in order."""

    shape: nest.ProductShape = field(kw_only=True)
    factors: nest.Unrolled = field(kw_only=True)
    constants: ProductConstants = field(kw_only=True)
    multiplier: Multiplier = field(kw_only=True)
    block: MultiplierBlock = field(kw_only=True)

    @property
    def simd(self) -> int:
        """Products of a sum in a cycle."""
        return self.factors.rows * (1 if self.shape.depthwise else self.factors.channels)

    @property
    def groups(self) -> int:
        """Of outputs: NF."""
        return self.shape.channels_out // self.factors.outputs

    @property
    def beats(self) -> int:
        """Of a sum: SF."""
        return self.shape.taps // self.simd

    @property
    def rescalings(self) -> int:
        return divided(self.factors.outputs, self.beats)

    @property
    def lanes(self) -> int:
        return self.factors.outputs * self.simd

    @property
    def kept(self) -> bool:
        """Whether a window is read again."""
        return self.groups > 1 and not self.shape.depthwise

    @cached_property
    def pair(self) -> PairOfSums | None:
        """How two outputs share multiplier blocks."""
        if self.multiplier != "dsp" or self.shape.depthwise or self.factors.outputs % 2:
            return None
        x = self.inputs[0]
        return pair_of_sums(self.simd, x.bits, x.bounds, self.constants.limits, self.block)

    @property
    def coding(self) -> Coding:
        """How weights are spelled, but for those that share a factor."""
        return self.constants.by_tables if self.multiplier == "lut" else self.constants.by_blocks

    @property
    def weight_bits(self) -> int:
        """As the memory holds them."""
        return self.coding.bits if self.pair is None else self.pair.w_bits

    @property
    def accumulator(self) -> Bounds:
        return self.constants.accumulator

    @cached_property
    def results(self) -> ResultsOfSums:
        c = self.constants
        return ResultsOfSums(
            self.name, self.factors.outputs, self.rescalings, c.accumulator, c.bias, c.requantizer, c.thresholds
        )

    @property
    def depth(self) -> int:
        """Clocks from a beat to the sum of its products."""
        return 1 + (dot.latency(self.simd) if self.pair is None else self.pair.latency)

    @property
    def latency(self) -> int:
        """Clocks from the last beat of a sum to its result."""
        return self.depth + 1 + self.results.stages

    def phases(self) -> Sequence[Phase]:
        windows, groups, beats = self.shape.windows, self.groups, self.beats
        window, group, beat = (
            axis.reshape(-1) for axis in np.meshgrid(*map(np.arange, (windows, groups, beats)), indexing="ij")
        )
        if self.shape.depthwise:
            needs = np.arange(1, windows * groups * beats + 1)
        else:
            needs = np.where(group == 0, window * beats + beat + 1, (window + 1) * beats)
        ends = np.flatnonzero(beat == beats - 1)
        turns = self.factors.outputs // self.rescalings
        gives = np.repeat(ends, turns)
        return (Phase((needs,), gives, self.latency, np.tile(np.arange(turns), len(ends))),)

    @property
    def cycles(self) -> int:
        return self.shape.windows * self.groups * self.beats

    def estimate(self) -> Resources:
        outputs, sums = self.factors.outputs, signed_bits(*self.accumulator)
        if self.pair is None:
            products = dot.estimate(self.simd, self.inputs[0].bits, self.coding, self.multiplier).times(outputs)
        else:
            products = self.pair.estimate().times(outputs // 2)
        found = [
            products,
            memory(self.groups * self.beats, self.lanes * self.weight_bits, False),
            self.results.estimate(),
            logic(lut=(sums if self.beats > 1 else 0) * outputs, ff=sums * outputs),
            logic(lut=60, ff=60 + self.inputs[0].width),
        ]
        if self.kept:
            found.append(memory(self.beats, self.inputs[0].width, True) + logic(lut=self.inputs[0].width))
        return total(found)

    @cached_property
    def order(self) -> nest.Order:
        return nest.order(self.shape_of_one, self.factors)

    @property
    def shape_of_one(self) -> nest.ProductShape:
        s = self.shape
        return nest.ProductShape(1, s.kernel, s.channels_in, s.channels_out, s.depthwise)

    def memories(self) -> dict[str, str]:
        weights = self.constants.weights.reshape(-1)[self.order.weights]
        if self.pair is None:
            weights = self.coding.encoded(weights)
        else:
            weights = stored(weights.reshape(len(weights), self.factors.outputs, -1)).reshape(len(weights), -1)
        return {f"{self.name}_weights.mem": image(weights.tolist(), self.weight_bits), **self.results.memories()}

    def modules(self) -> Sequence[Module]:
        parts = (self.head(), self.reading(), self.summing(), self.results.text(self.output.bits), "endmodule\n")
        own = Module(self.name, "\n".join(parts), self.memories())
        products = self.dot if self.pair is None else self.pair.module()
        return (own, products, *self.results.modules())

    @cached_property
    def dot(self) -> Module:
        return dot.dot(self.simd, self.inputs[0].bits, self.coding, self.multiplier)

    def head(self) -> str:
        s, f = self.shape, self.factors
        what = "of each channel" if s.depthwise else f"of {s.channels_in} channels"
        folding = f"PE {f.outputs}, SIMD {self.simd}: {self.groups} groups of {self.beats} beats"
        return f"""// {s.channels_out} sums over {s.kernel[0]} x {s.kernel[1]} elements {what}, for {s.windows} windows.
// {folding}; {self.rescalings} rescaled at a time.
module {self.name} (
{ports(self.inputs[0].width, self.output.width)});
  wire en = !m_valid || m_ready;"""

    def reading(self) -> str:
        """Elements and weights, a beat a step."""
        x_width, w_width = self.inputs[0].width, self.lanes * self.weight_bits
        words = self.groups * self.beats
        beat, group, at = (
            HardwareCounter("beat", self.beats),
            HardwareCounter("group", self.groups),
            HardwareCounter("at", words),
        )
        walk = counters([beat, group] if self.kept else [beat], "go")
        if self.kept:
            fresh, x = "group == " + number(0, group.bits), "fresh ? s_data : window[beat]"
            memory = f"""  reg [{x_width - 1}:0] window[0:{self.beats - 1}];
  always @(posedge clk) if (go && fresh) window[beat] <= s_data;
"""
        else:
            fresh, x, memory = "1'b1", "s_data", ""
        return f"""
  // A window is new for the first group of outputs, and kept for the others.
  wire go;
{walk}
{counters([at], "go")}
  wire fresh = {fresh};
  assign go = en && (s_valid || !fresh);
  assign s_ready = en && fresh;
{memory}  {style(words, w_width)}reg [{w_width - 1}:0] weights[0:{words - 1}];
  initial $readmemh("{self.name}_weights.mem", weights);
  reg [{x_width - 1}:0] x;
  reg [{w_width - 1}:0] w;
  always @(posedge clk)
    if (en) begin
      x <= {x};
      w <= weights[at];
    end"""

    def summing(self) -> str:
        """Products, sums, and when a sum is whole."""
        outputs, bits, depth = self.factors.outputs, signed_bits(*self.accumulator), self.depth
        first = f"beat == {number(0, HardwareCounter('beat', self.beats).bits)}"
        return f"""{on_the_way(depth, "go", first, "beat_last")}
  reg [{outputs * bits - 1}:0] sum;
  genvar pe;
  generate
{self.single() if self.pair is None else self.paired(self.pair)}
  endgenerate"""

    def single(self) -> str:
        """A sum of products for each output."""
        outputs, rows, simd = self.factors.outputs, self.factors.rows, self.simd
        x_bits, w_bits, of_dot = self.inputs[0].bits, self.weight_bits, self.dot_bits
        if self.shape.depthwise:  # the channels of a row lie side by side
            taken = ", ".join(f"x[({row * outputs} + pe) * {x_bits} +: {x_bits}]" for row in reversed(range(rows)))
            weighed = ", ".join(f"w[({row * outputs} + pe) * {w_bits} +: {w_bits}]" for row in reversed(range(rows)))
            x, w = f"{{{taken}}}", f"{{{weighed}}}"
        else:
            x, w = "x", f"w[pe * {simd * w_bits} +: {simd * w_bits}]"
        return f"""    for (pe = 0; pe < {outputs}; pe = pe + 1) begin : lane
      wire signed [{of_dot - 1}:0] product;
      {self.dot.name} multiply (
          .clk(clk),
          .en(en),
          .x({x}),
          .w({w}),
          .y(product)
      );
{self.accumulating("pe", "product")}
    end"""

    def paired(self, pair: PairOfSums) -> str:
        """Two sums of products for every two outputs."""
        row = self.simd * self.weight_bits
        return f"""    for (pe = 0; pe < {self.factors.outputs}; pe = pe + 2) begin : lanes
      wire signed [{self.dot_bits - 1}:0] low, high;
      {pair.name} multiply (
          .clk(clk),
          .en(en),
          .x(x),
          .low(w[pe * {row} +: {row}]),
          .high(w[(pe + 1) * {row} +: {row}]),
          .low_sum(low),
          .high_sum(high)
      );
{self.accumulating("pe", "low")}
{self.accumulating("(pe+1)", "high")}
    end"""

    @property
    def dot_bits(self) -> int:
        if self.pair is not None:
            return self.pair.sum_bits
        return dot.sum_bits(self.simd, self.inputs[0].bits, self.coding)

    def accumulating(self, place: str, product: str) -> str:
        """The products of a beat, added to the sum of the beats before."""
        bits, of_dot = signed_bits(*self.accumulator), self.dot_bits
        fitted = f"{bits}'({product})" if bits > of_dot else f"{product}[{bits - 1}:0]" if bits < of_dot else product
        before = f"first[{self.depth}] ? {bits}'d0 : sum[{place}*{bits}+:{bits}]"
        value = fitted if self.beats == 1 else f"$signed({before}) + $signed({fitted})"
        return f"""      always @(posedge clk)
        if (en && live[{self.depth}]) sum[{place}*{bits}+:{bits}] <= {value};"""
