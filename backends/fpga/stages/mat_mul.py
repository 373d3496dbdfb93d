"""The product of two streams, matrix by matrix: both are kept, two frames of each, and multiplied in the order of y.

    for all places of y, PE columns at a time:
        for k:
            acc[PE] += (a[.., m, k] - a_zero_point) * (b[.., k, n + PE] - b_zero_point)

Where an element lies follows from the strides of the operator. PE columns of b lie in as many memories beside each
other; which one an element of the stream belongs to, and where, is counted along as it comes in. One frame fills while
the one before is multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np

from bevel.backends.fpga.logic import MultiplierBlock, logic, memory, total
from bevel.backends.fpga.stage import BeatStream, Stage, Steps, begins
from bevel.backends.fpga.stages.requantizer import Requantizer
from bevel.backends.fpga.stages.results import ResultsOfSums
from bevel.backends.fpga.stages.sums import on_the_way
from bevel.backends.fpga.verilog.text import (
    HardwareCounter,
    Module,
    count_bits,
    counters,
    number,
    ports,
    signed_bits,
    signed_number,
)
from bevel.backends.program.op import Bounds
from bevel.backends.program.resources import Resources

READ = 2  # clocks from a step to its elements
DEPTH = 4  # clocks from a step to its products: places, elements, less zero points, products


class MatrixAxis(NamedTuple):
    """An axis of the product: how many places it has, and how far those lie apart in a, b and y."""

    name: str
    extent: int
    a: int
    b: int
    y: int


@dataclass(frozen=True, eq=False)
class MatMulStage(Stage):
    """inputs: a and b, one element a beat; output: y, as many elements a beat as sums are rescaled at once.

    axes: those of the batch and m; n and k. columns: PE; reach: what no sum's magnitude passes.
    """

    axes: tuple[MatrixAxis, ...] = field(kw_only=True)
    columns: int = field(kw_only=True)
    zero_points: tuple[int, int] = field(kw_only=True)
    reach: int = field(kw_only=True)
    rescaling: Requantizer = field(kw_only=True)
    block: MultiplierBlock = field(kw_only=True)

    def axis(self, name: str) -> MatrixAxis:
        return next(one for one in self.axes if one.name == name)

    @property
    def steps(self) -> int:
        """Of a frame."""
        return prod(axis.extent for axis in self.axes if axis.name != "k") // self.columns * self.pace

    @property
    def terms(self) -> int:
        return self.axis("k").extent

    @property
    def turns(self) -> int:
        """Results of PE sums, one behind the other."""
        return self.columns // self.output.lanes

    @property
    def pace(self) -> int:
        """Steps from sum to sum: those of its terms, or of its results where these take longer."""
        return max(self.terms, self.turns)

    @property
    def cycles(self) -> int:
        return max(self.steps, *(one.beats for one in self.inputs))

    @property
    def lanes(self) -> int:
        return self.columns

    @property
    def sums(self) -> Bounds:
        return -self.reach, self.reach

    @cached_property
    def results(self) -> ResultsOfSums:
        per = self.output.lanes
        return ResultsOfSums(self.name, self.columns, per, self.sums, np.zeros(per, np.int64), self.rescaling, None)

    @property
    def latency(self) -> int:
        """Clocks from the last step of a sum to its result."""
        return DEPTH + 1 + self.results.stages

    def through(self, ready: Sequence[Steps], frames: int) -> tuple[list[Steps], Steps]:
        arrived = [times.reshape(frames, -1) for times in ready]
        taken = [np.zeros_like(times) for times in arrived]
        ends = [-READ - 1] * 2  # of the products of the frames before
        sums = np.arange(self.terms - 1, self.steps, self.pace)
        within = np.repeat(sums, self.turns) + np.tile(np.arange(self.turns), len(sums))
        out = []
        for frame in range(frames):
            for mine, times in zip(taken, arrived, strict=True):
                before = int(mine[frame - 1, -1]) + 1 if frame else 0
                mine[frame] = begins(np.maximum(times[frame], max(before, ends[-2] + READ + 1)))
            begun = max(*(int(mine[frame, -1]) + 1 for mine in taken), ends[-1] + 1, 0)
            out.append(begun + within + self.latency)
            ends.append(begun + self.steps - 1)
        return [mine.reshape(-1) for mine in taken], np.concatenate(out)

    @property
    def factor_bits(self) -> tuple[int, int]:
        """Of elements less their zero points."""
        (a, b), (a_zero, b_zero) = self.inputs, self.zero_points
        return factor_bits(a, a_zero), factor_bits(b, b_zero)

    def estimate(self) -> Resources:
        (a, b), pe, bits = self.inputs, self.columns, signed_bits(*self.sums)
        wide, narrow = max(self.factor_bits), min(self.factor_bits)
        blocks = (1 + (wide > self.block.wide)) * (1 + (narrow > self.block.narrow))
        held = [memory(2 << count_bits(a.elements), a.bits, True), memory(2 * self.words, b.bits, True).times(pe)]
        one = logic(lut=bits + sum(self.factor_bits) / 2, ff=2 * bits + sum(self.factor_bits), dsp=blocks)
        return total([*held, one.times(pe), self.results.estimate(), logic(lut=180, ff=150)])

    @property
    def words(self) -> int:
        """Of a memory of b, for one frame: a power of two."""
        return 1 << count_bits(self.inputs[1].elements // self.columns)

    def modules(self) -> Sequence[Module]:
        text = "\n".join(
            (self.head(), self.walking(), self.filling(), self.multiplying(), self.results.text(self.output.bits))
        )
        return Module(self.name, f"{text}\nendmodule\n", self.results.memories()), *self.results.modules()

    def head(self) -> str:
        shape = " x ".join(str(axis.extent) for axis in self.axes)
        given = {"a": self.inputs[0].width, "b": self.inputs[1].width}
        names = ", ".join(axis.name for axis in self.axes)
        return f"""// Sums of products of two streams: {shape} ({names}), {self.columns} at once.
module {self.name} (
{ports(given, self.output.width)});
  wire en = !m_valid || m_ready;
  reg [1:0] a_filled, b_filled;  // frames that are there
  reg [1:0] a_held, b_held;  // and those whose elements are still to be read
  reg a_into, b_into, out_of;  // which memory is filled, which is multiplied"""

    def filling(self) -> str:
        """Two frames of each input: one that fills, one that is multiplied."""
        (a, b), pe = self.inputs, self.columns
        at, places = HardwareCounter("a_at", a.elements), self.coming()
        words, word = count_bits(self.words), self.word_of("come_")
        choice = f" && come_bank == {count_bits(pe)}'(bank)" if pe > 1 else ""
        return f"""
  // Both inputs are kept.
  assign a_ready = a_held != 2'd2;
  assign b_ready = b_held != 2'd2;
  wire a_take = a_valid && a_ready;
  wire b_take = b_valid && b_ready;
{counters([at], "a_take")}
{counters(places, "b_take")}
  wire b_last = {" && ".join(f"{one.name}_last" for one in places)};
  wire [{words - 1}:0] come_word = {word};
  reg [{a.bits - 1}:0] a_codes[0:{(2 << at.bits) - 1}];
  reg [{at.bits - 1}:0] a_place;
  reg [{words - 1}:0] b_place;
  reg [{a.bits - 1}:0] a_code;
  wire [{pe * b.bits - 1}:0] b_code;
  always @(posedge clk) begin
    if (a_take) a_codes[{{a_into, a_at}}] <= a_data;
    if (en) a_code <= a_codes[{{out_of_placed, a_place}}];
  end
  genvar bank;
  generate
    for (bank = 0; bank < {pe}; bank = bank + 1) begin : column
      reg [{b.bits - 1}:0] codes[0:{2 * self.words - 1}];
      reg [{b.bits - 1}:0] code;
      always @(posedge clk) begin
        if (b_take{choice}) codes[{{b_into, come_word}}] <= b_data;
        if (en) code <= codes[{{out_of_placed, b_place}}];
      end
      assign b_code[bank*{b.bits}+:{b.bits}] = code;
    end
  endgenerate
{self.counting()}"""

    def counting(self) -> str:
        """Frames that are there, that are read, and which memory is whose."""
        return f"""  reg [{READ}:1] ending;
  wire frame_read = en && ending[{READ}];
  wire a_entered = a_take && a_at_last;
  wire b_entered = b_take && b_last;
  always @(posedge clk)
    if (rst) begin
      a_filled <= 2'd0;
      b_filled <= 2'd0;
      a_held   <= 2'd0;
      b_held   <= 2'd0;
      ending   <= {READ}'d0;
      a_into   <= 1'b0;
      b_into   <= 1'b0;
      out_of   <= 1'b0;
    end else begin
      a_filled <= a_filled + {{1'b0, a_entered}} - {{1'b0, frame_end}};
      b_filled <= b_filled + {{1'b0, b_entered}} - {{1'b0, frame_end}};
      a_held   <= a_held + {{1'b0, a_entered}} - {{1'b0, frame_read}};
      b_held   <= b_held + {{1'b0, b_entered}} - {{1'b0, frame_read}};
      if (en) ending <= {{ending[{READ - 1}:1], frame_end}};
      if (a_entered) a_into <= !a_into;
      if (b_entered) b_into <= !b_into;
      if (frame_end) out_of <= !out_of;
    end"""

    def coming(self) -> list[HardwareCounter]:
        """The axes of b as it comes, the innermost first; n in two, of which the inner one is the bank."""
        found = []
        for axis in sorted((one for one in self.axes if one.b and one.extent > 1), key=lambda one: one.b):
            if axis.name == "n":
                found += [
                    HardwareCounter("come_bank", self.columns),
                    HardwareCounter("come_n", axis.extent // self.columns),
                ]
            else:
                found.append(HardwareCounter(f"come_{axis.name}", axis.extent))
        return found or [HardwareCounter("come_k", 1)]

    def word_of(self, prefix: str) -> str:
        """Where in its memory an element of b lies: by the axes that b has, k innermost."""
        return places(self.b_places, count_bits(self.words), prefix)

    @cached_property
    def b_places(self) -> Mapping[str, int]:
        """How far the words of b lie apart along each axis."""
        found, stride = {}, 1
        for axis in sorted((one for one in self.axes if one.b), key=lambda one: one.name != "k"):
            extent = axis.extent // self.columns if axis.name == "n" else axis.extent
            if extent > 1:
                found[axis.name] = stride
            stride *= extent
        return found

    def walking(self) -> str:
        """Over all sums in the order of y, and the terms of each."""
        outer = sorted((one for one in self.axes if one.name != "k"), key=lambda one: one.y)
        walk = [HardwareCounter("k", self.pace)]
        walk += [
            HardwareCounter(one.name, one.extent // self.columns if one.name == "n" else one.extent) for one in outer
        ]
        a_steps = {one.name: one.a for one in self.axes if one.a and one.extent > 1}
        return f"""
  // Over all sums, and the terms of each.
  wire go = en && a_filled != 2'd0 && b_filled != 2'd0;
{counters(walk, "go")}
  wire frame_end = go && {" && ".join(f"{one.name}_last" for one in walk)};
  reg out_of_placed;
  always @(posedge clk)
    if (en) begin
      a_place       <= {places(a_steps, count_bits(self.inputs[0].elements), "")};
      b_place       <= {self.word_of("")};
      out_of_placed <= out_of;
    end"""

    def multiplying(self) -> str:
        b, pe, bits = self.inputs[1], self.columns, signed_bits(*self.sums)
        (a_bits, b_bits), (a_zero, b_zero) = self.factor_bits, self.zero_points
        k = HardwareCounter("k", self.pace)
        term = f"go && k < {number(self.terms, k.bits)}" if self.pace > self.terms else "go"
        product = a_bits + b_bits
        fitted = f"{bits}'(product)" if bits > product else f"product[{bits - 1}:0]"
        before = f"first[{DEPTH}] ? {bits}'d0 : sum[pe*{bits}+:{bits}]"
        first, last = (f"k == {number(place, k.bits)}" for place in (0, self.terms - 1))
        return f"""{on_the_way(DEPTH, term, first, last)}
  reg signed [{a_bits - 1}:0] x;
  always @(posedge clk) if (en) x <= {a_bits}'($signed(a_code)) - {signed_number(a_zero, a_bits)};
  reg [{pe * bits - 1}:0] sum;
  genvar pe;
  generate
    for (pe = 0; pe < {pe}; pe = pe + 1) begin : lane
      reg signed [{b_bits - 1}:0] w;
      reg signed [{product - 1}:0] product;
      always @(posedge clk)
        if (en) begin
          w       <= {b_bits}'($signed(b_code[pe*{b.bits}+:{b.bits}])) - {signed_number(b_zero, b_bits)};
          product <= {product}'(x) * {product}'(w);
          if (live[{DEPTH}]) sum[pe*{bits}+:{bits}] <= $signed({before}) + $signed({fitted});
        end
    end
  endgenerate"""


def factor_bits(stream: BeatStream, zero_point: int) -> int:
    """Of an element, its zero point and their difference."""
    low, high = (bound - zero_point for bound in stream.bounds)
    return max(signed_bits(low, high), stream.bits, signed_bits(zero_point, zero_point))


def places(strides: Mapping[str, int], bits: int, prefix: str) -> str:
    """A place as a sum of counters times how far apart theirs are."""
    terms = [
        f"{bits}'({prefix}{name})" + (f" * {number(stride, bits)}" if stride != 1 else "")
        for name, stride in strides.items()
    ]
    return " + ".join(terms) or number(0, bits)


def dense(axes: Sequence[MatrixAxis], operand: str, stream: BeatStream) -> bool:
    """Whether an operand's axes are all that its stream has, each within the next."""
    length = 1
    for stride, extent in sorted((int(getattr(axis, operand)), axis.extent) for axis in axes if axis.extent > 1):
        if stride and stride != length:
            return False
        length *= extent if stride else 1
    return length == stream.elements
