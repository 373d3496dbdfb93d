"""The matrix-vector unit: PE sums of SIMD products a cycle, folded over the outputs and the elements of a window.

    windows -> kept for the groups of outputs after the first -> PE x SIMD multipliers -> sums -> rescaling -> results

A window's elements come once, in beats of SIMD, and are read again from a small memory for each further group of PE
outputs. As a group takes as many cycles as a window has beats, its sums go through fewer rescalings than there are
sums, one after the other, wherever that leaves no cycle idle. Which weights stand in a word of the weight memory is
read off the schedule of the nest (`nest.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np

from bevel.backends.fpga import nest
from bevel.backends.fpga.logic import logic, memory, style, total
from bevel.backends.fpga.stage import Phase, Stage
from bevel.backends.fpga.stages import dot
from bevel.backends.fpga.stages.dot import Multiplier
from bevel.backends.fpga.stages.requantizer import LATENCY, Requantizer
from bevel.backends.fpga.verilog.text import HardwareCounter, Module, counters, image, number, ports, signed_bits
from bevel.backends.program.op import Array, Bounds
from bevel.backends.program.resources import Resources
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True, eq=False)
class ProductConstants:
    """weights: int [Cout, kh, kw, Cin], without the last axis where depthwise; bias, multiplier, shift: [Cout]."""

    weights: Array
    bias: Array
    multiplier: Array
    shift: Array


def divided(outputs: int, beats: int) -> int:
    """How many rescalings PE sums need, which come every `beats` cycles: the fewest that keep up."""
    return next(many for many in range(1, outputs + 1) if outputs % many == 0 and outputs // many <= beats)


@dataclass(frozen=True, eq=False)
class ProductStage(Stage):
    """inputs: the elements of windows, SIMD a beat (where depthwise, PE x rows); output: results in order."""

    shape: nest.ProductShape = field(kw_only=True)
    factors: nest.Unrolled = field(kw_only=True)
    constants: ProductConstants = field(kw_only=True)
    multiplier: Multiplier = field(kw_only=True)
    epilogue: Output = field(kw_only=True)

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
        of_sum = prod(self.shape.kernel) * (1 if self.shape.depthwise else self.shape.channels_in)
        return of_sum // self.simd

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
    def weight_bits(self) -> int:
        return signed_bits(int(self.constants.weights.min()), int(self.constants.weights.max()))

    @cached_property
    def accumulator(self) -> Bounds:
        """What a sum of any of a channel's products lies in, without the bias."""
        low, high = self.extremes
        return int(low.min(initial=0)), int(high.max(initial=0))

    @cached_property
    def extremes(self) -> tuple[Array, Array]:
        """The least and the largest sum of each channel; of a part of its products, if that is further from 0."""
        x_low, x_high = self.inputs[0].bounds
        flat = self.constants.weights.reshape(self.shape.channels_out, -1).astype(np.int64)
        one, other = flat * x_low, flat * x_high
        return np.minimum(np.minimum(one, other), 0).sum(1), np.maximum(np.maximum(one, other), 0).sum(1)

    @cached_property
    def requantizer(self) -> Requantizer:
        (low, high), bias = self.extremes, self.constants.bias.astype(np.int64)
        sums = min(int((low + bias).min()), 0), max(int((high + bias).max()), 0)
        name = f"{self.name}_rescale"
        return Requantizer(name, sums, self.constants.multiplier, self.constants.shift, self.epilogue)

    @property
    def bias_bits(self) -> int:
        return signed_bits(int(self.constants.bias.min()), int(self.constants.bias.max()))

    @property
    def latency(self) -> int:
        """Clocks from the last beat of a sum to its result."""
        return 1 + dot.latency(self.simd) + 1 + 2 + LATENCY

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
        outputs, scaled = self.factors.outputs, self.requantizer
        sums = signed_bits(*self.accumulator)
        found = [
            dot.estimate(self.simd, self.inputs[0].bits, self.weight_bits, self.multiplier).times(outputs),
            memory(self.groups * self.beats, self.lanes * self.weight_bits, False),
            memory(self.shape.channels_out // self.rescalings, self.rescalings * self.channel_bits, False),
            scaled.estimate().times(self.rescalings),
            logic(lut=(sums if self.beats > 1 else 0) * outputs, ff=sums * outputs),
            logic(lut=60, ff=60 + self.inputs[0].width),
        ]
        if self.kept:
            found.append(memory(self.beats, self.inputs[0].width, True) + logic(lut=self.inputs[0].width))
        if outputs > self.rescalings:
            found.append(logic(lut=sums * outputs, ff=sums * outputs))
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
        parameters, bias = self.requantizer.parameters(), self.constants.bias
        per, low = self.rescalings, (1 << self.bias_bits) - 1
        whole = [int(b) & low | p << self.bias_bits for b, p in zip(bias, parameters, strict=True)]
        rows = [whole[first : first + per] for first in range(0, len(whole), per)]
        return {
            f"{self.name}_weights.mem": image(weights.tolist(), self.weight_bits),
            f"{self.name}_channels.mem": image(rows, self.channel_bits),
        }

    @property
    def channel_bits(self) -> int:
        """Of what is known of a channel: its bias, multiplier and shift."""
        return self.bias_bits + self.requantizer.parameter_bits

    def modules(self) -> Sequence[Module]:
        parts = (self.head(), self.reading(), self.summing(), self.rescaling(), "endmodule\n")
        own = Module(self.name, "\n".join(parts), self.memories())
        return (own, self.dot, self.requantizer.module())

    @cached_property
    def dot(self) -> Module:
        return dot.dot(self.simd, self.inputs[0].bits, self.weight_bits, self.multiplier)

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
        f, bits = self.factors, signed_bits(*self.accumulator)
        of_dot = dot.sum_bits(self.simd, self.inputs[0].bits, self.weight_bits)
        depth = 1 + dot.latency(self.simd)
        x_bits, w_bits, simd, outputs = self.inputs[0].bits, self.weight_bits, self.simd, f.outputs
        if self.shape.depthwise:  # the channels of a row lie side by side
            taken = ", ".join(f"x[({row * outputs} + pe) * {x_bits} +: {x_bits}]" for row in reversed(range(f.rows)))
            weighed = ", ".join(f"w[({row * outputs} + pe) * {w_bits} +: {w_bits}]" for row in reversed(range(f.rows)))
            x, w = f"{{{taken}}}", f"{{{weighed}}}"
        else:
            x, w = "x", f"w[pe * {simd * w_bits} +: {simd * w_bits}]"
        product = f"{bits}'(product)" if bits > of_dot else f"product[{bits - 1}:0]" if bits < of_dot else "product"
        before = f"first[{depth}] ? {bits}'d0 : sum[pe*{bits}+:{bits}]"
        value = product if self.beats == 1 else f"$signed({before}) + $signed({product})"
        return f"""
  // Products and sums.
  reg [{depth}:1] live, first, last;
  reg whole;
  always @(posedge clk)
    if (rst) begin
      live  <= {depth}'d0;
      whole <= 1'b0;
    end else if (en) begin
      live  <= {{live[{depth - 1}:1], go}};
      whole <= live[{depth}] && last[{depth}];
    end
  always @(posedge clk)
    if (en) begin
      first <= {{first[{depth - 1}:1], beat == {number(0, HardwareCounter("beat", self.beats).bits)}}};
      last  <= {{last[{depth - 1}:1], beat_last}};
    end
  reg [{outputs * bits - 1}:0] sum;
  genvar pe;
  generate
    for (pe = 0; pe < {outputs}; pe = pe + 1) begin : lane
      wire signed [{of_dot - 1}:0] product;
      {self.dot.name} multiply (
          .clk(clk),
          .en(en),
          .x({x}),
          .w({w}),
          .y(product)
      );
      always @(posedge clk)
        if (en && live[{depth}]) sum[pe*{bits}+:{bits}] <= {value};
    end
  endgenerate"""

    def rescaling(self) -> str:
        """Whole sums, a few at a time, with their biases, to results."""
        outputs, per, bits = self.factors.outputs, self.rescalings, signed_bits(*self.accumulator)
        turns, words = outputs // per, self.shape.channels_out // per
        channel = HardwareCounter("channel", words)
        width = self.channel_bits
        if turns == 1:
            waiting, feed, fed = "", "whole", "sum"
        else:
            left = HardwareCounter("left", turns).bits
            rest = (outputs - per) * bits
            waiting = f"""
  reg [{rest - 1}:0] waiting;  // sums that are not rescaled yet
  reg [{left - 1}:0] left;
  always @(posedge clk)
    if (rst) left <= {number(0, left)};
    else if (en && whole) left <= {number(turns - 1, left)};
    else if (en && left != {number(0, left)}) left <= left - {number(1, left)};
  always @(posedge clk)
    if (en) waiting <= whole ? sum[{outputs * bits - 1}:{per * bits}] : {rest}'(waiting >> {per * bits});
"""
            feed, fed = (
                f"whole || left != {number(0, left)}",
                f"whole ? sum[{per * bits - 1}:0] : waiting[{per * bits - 1}:0]",
            )
        stages = 2 + LATENCY
        return f"""
  // Rescaling.{waiting}
  wire feed = {feed};
{counters([channel], "en && feed")}
  {style(words, per * width)}reg [{per * width - 1}:0] channels[0:{words - 1}];
  initial $readmemh("{self.name}_channels.mem", channels);
  reg [{per * bits - 1}:0] fed;
  reg [{per * width - 1}:0] known;
  reg [{stages}:1] coming;
  always @(posedge clk)
    if (en) begin
      fed   <= {fed};
      known <= channels[channel];
    end
  always @(posedge clk)
    if (rst) coming <= {stages}'d0;
    else if (en) coming <= {{coming[{stages - 1}:1], feed}};
{self.results()}
  assign m_valid = coming[{stages}];"""

    def results(self) -> str:
        """The rescalings beside each other, each with its bias."""
        per, bits, width = self.rescalings, signed_bits(*self.accumulator), self.channel_bits
        bias, scaled = self.bias_bits, self.requantizer
        return f"""  genvar r;
  generate
    for (r = 0; r < {per}; r = r + 1) begin : result
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
      assign m_data[r*{self.output.bits}+:{self.output.bits}] = y;
    end
  endgenerate"""
