"""The product of two streams, element by element, at its own scale:

    y = requantize((a - a_zero_point) * (b - b_zero_point))

Beats of one shape come together: the stream that is ahead waits in a FIFO deep enough for what the other one keeps
back. A stream that is repeated comes with the first elements that it meets and is kept for the others: all of it for
each part of a frame (a squeeze-and-excitation gate, of all channels, for every pixel), or an element for some that are
neighbours (a weight of a pixel, for all its channels). A constant lies in a memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import numpy as np

from bevel.backends.fpga.logic import MultiplierBlock, logic, memory, total
from bevel.backends.fpga.stage import BeatStream, Phase, PhasedStage, Steps, in_order
from bevel.backends.fpga.stages.kept import in_turn
from bevel.backends.fpga.stages.requantizer import LATENCY as RESCALING
from bevel.backends.fpga.stages.requantizer import Requantizer
from bevel.backends.fpga.stages.sums import coming
from bevel.backends.fpga.verilog.text import (
    HardwareCounter,
    Module,
    counters,
    image,
    number,
    port_letters,
    ports,
    signed_bits,
    signed_number,
)
from bevel.backends.program.op import Array, Bounds
from bevel.backends.program.resources import Resources

LATENCY = 2 + RESCALING  # less zero points, the product, its rescaling

Repeated = Literal["never", "whole", "each"]


@dataclass(frozen=True, eq=False)
class MultiplyStage(PhasedStage):
    """inputs: a, and b unless it is held; output: as many beats as a.

    repeated: whether b is repeated as a whole, each `length` elements of a, or each element of it is, `length` times;
    held: b in the order of y, where it is constant; limits: what b lies in.
    """

    zero_points: tuple[int, int] = field(kw_only=True)
    limits: Bounds = field(kw_only=True)
    rescaling: Requantizer = field(kw_only=True)
    block: MultiplierBlock = field(kw_only=True)
    length: int = field(default=1, kw_only=True)
    repeated: Repeated = field(default="never", kw_only=True)
    held: Array | None = field(default=None, kw_only=True)
    first: bool = field(default=True, kw_only=True)  # whether a is the first input

    @property
    def a(self) -> BeatStream:
        return self.inputs[0 if self.first else -1]

    @property
    def folds(self) -> int:
        """Beats of `length`."""
        return self.length // self.output.lanes

    def phases(self) -> Sequence[Phase]:
        steps = in_order(self.output.beats)
        needs: dict[Repeated, Steps] = {
            "never": steps,
            "whole": np.minimum(steps, self.folds),
            "each": (steps - 1) // self.folds + 1,
        }
        both = (steps, needs[self.repeated]) if self.first else (needs[self.repeated], steps)
        return (Phase((steps,) if self.held is not None else both, steps - 1, LATENCY),)

    @property
    def cycles(self) -> int:
        return self.output.beats

    @property
    def bits(self) -> tuple[int, int]:
        """Of a and b less their zero points."""
        every = zip((self.a.bounds, self.limits), self.zero_points, strict=True)
        return tuple(max(signed_bits(*one), signed_bits(zero, zero)) + 1 for one, zero in every)  # type: ignore[return-value]

    def estimate(self) -> Resources:
        a, b = self.bits
        blocks = (1 + (max(a, b) > self.block.wide)) * (1 + (min(a, b) > self.block.narrow))
        one = logic(lut=a + b, ff=2 * (a + b), dsp=blocks) + self.rescaling.takes
        found = [one.times(self.output.lanes), logic(lut=20, ff=16)]
        if self.held is not None:
            found.append(memory(len(self.words), self.output.lanes * signed_bits(*self.limits), False))
        elif self.repeated == "whole":
            found.append(memory(self.folds, self.output.lanes * signed_bits(*self.limits), True))
        return total(found)

    def modules(self) -> Sequence[Module]:
        lanes, scaled = self.output.lanes, self.rescaling
        letters = port_letters(len(self.inputs))
        a = letters[0 if self.first else -1]
        (a_zero, b_zero), (a_bits, b_bits) = self.zero_points, self.bits
        b_width = signed_bits(*self.limits)
        place = "0" if self.repeated == "each" else f"lane*{b_width}"
        wait, source = self.source("b" if self.first else "a")
        text = f"""// (a {-a_zero:+d}) * (b {-b_zero:+d}), rescaled.
module {self.name} (
{ports({name: one.width for name, one in zip(letters, self.inputs, strict=True)}, self.output.width)});
  wire en = !m_valid || m_ready;
  wire go = en && {a}_valid{wait};
  assign {a}_ready = go;
{source}
{coming(LATENCY, "go")}
  genvar lane;
  generate
    for (lane = 0; lane < {lanes}; lane = lane + 1) begin : element
      wire signed [{a_bits - 1}:0] x = {a_bits}'($signed({a}_data[lane*{self.a.bits}+:{self.a.bits}]));
      wire signed [{b_bits - 1}:0] w = {b_bits}'($signed(factors[{place}+:{b_width}]));
      reg signed [{a_bits - 1}:0] x_moved;
      reg signed [{b_bits - 1}:0] w_moved;
      reg signed [{a_bits + b_bits - 1}:0] product;
      always @(posedge clk)
        if (en) begin
          x_moved <= x - {signed_number(a_zero, a_bits)};
          w_moved <= w - {signed_number(b_zero, b_bits)};
          product <= {a_bits + b_bits}'(x_moved) * {a_bits + b_bits}'(w_moved);
        end
{scaled.instance("product")}
      assign m_data[lane*{self.output.bits}+:{self.output.bits}] = y;
    end
  endgenerate
endmodule
"""
        return Module(self.name, text, self.memories()), scaled.module()

    def source(self, b: str) -> tuple[str, str]:
        """Verilog of what a beat waits for besides a, and of `factors`, the beat of b that it meets."""
        if self.held is not None:
            width = self.output.lanes * signed_bits(*self.limits)
            at = HardwareCounter("at", len(self.words))
            return "", in_turn(at, "go", "words", width, f"{self.name}.mem", "factors")
        width = self.inputs[1 if self.first else 0].width
        if self.repeated == "never":
            return f" && {b}_valid", f"  assign {b}_ready = go;\n  wire [{width - 1}:0] factors = {b}_data;"
        fold, part = HardwareCounter("fold", self.folds), HardwareCounter("part", self.output.beats // self.folds)
        over, kept, place = (
            (part, f"kept[0:{self.folds - 1}]", "kept[fold]") if self.repeated == "whole" else (fold, "kept", "kept")
        )
        text = f"""{counters([fold, part], "go")}
  wire fresh = {over.name} == {number(0, over.bits)};
  assign {b}_ready = go && fresh;
  reg [{width - 1}:0] {kept};
  always @(posedge clk) if (go && fresh) {place} <= {b}_data;
  wire [{width - 1}:0] factors = fresh ? {b}_data : {place};"""
        return f" && ({b}_valid || !fresh)", text

    @property
    def words(self) -> Array:
        """A constant b in beats, as many as come before they repeat: [words, lanes]."""
        assert self.held is not None
        beats = self.held.reshape(-1, self.output.lanes)
        lengths = (one for one in range(1, len(beats) + 1) if len(beats) % one == 0)
        alike = (one for one in lengths if (beats.reshape(-1, one, beats.shape[1]) == beats[:one]).all())
        found: Array = beats[: next(alike)]
        return found

    def memories(self) -> dict[str, str]:
        if self.held is None:
            return {}
        return {f"{self.name}.mem": image(self.words.tolist(), signed_bits(*self.limits))}


def products(first: Bounds, second: Bounds, zero_points: tuple[int, int]) -> Bounds:
    """What the products of two numbers less their zero points lie in."""
    a, b = ([bound - zero for bound in one] for one, zero in zip((first, second), zero_points, strict=True))
    found = [x * y for x, y in product(a, b)]
    return min(found), max(found)
