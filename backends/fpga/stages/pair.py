"""Two sums of products in one row of multiplier blocks: both of the same x, by two weights that lie in one factor.

    (w1 * 2**s + w0) * x  ==  w1 * x * 2**s  +  w0 * x

A block multiplies numbers of `MultiplierBlock.wide` and `MultiplierBlock.narrow` bits. What lies s bits apart comes
apart again as long as the low product, or the sum of some, is a signed number of s bits: then

    w0 * x == low s bits, signed        w1 * x == the rest, and 1 more where the low part is below 0

So sums of a few products are added as they are, and taken apart behind. The factor needs no adder: its upper bits are
w1 - (w0 < 0), which the weight memory holds in place of w1 (`stored`), and below them stands w0 with its sign. Known
from the 8-bit packing of AMD's white paper 487; what is added here is that s follows from the weights that are there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bevel.backends.fpga.logic import MultiplierBlock, additions, logic, total
from bevel.backends.fpga.stages.dot import added
from bevel.backends.fpga.verilog.text import Module, signed_bits
from bevel.backends.program.op import Array, Bounds
from bevel.backends.program.resources import Resources


@dataclass(frozen=True)
class PairOfSums:
    """Of `terms` products each. w_bits: of a weight as it is stored; spacing: s; together: how many products are added
    before they are taken apart, a power of two, or all."""

    terms: int
    x_bits: int
    w_bits: int
    spacing: int
    together: int

    @property
    def levels(self) -> int:
        """Of additions."""
        return (self.terms - 1).bit_length()

    @property
    def joined_levels(self) -> int:
        """Of additions before sums are taken apart."""
        return (self.together - 1).bit_length()

    @property
    def latency(self) -> int:
        return 2 + self.levels

    @property
    def sum_bits(self) -> int:
        return self.x_bits + self.w_bits + self.levels

    @property
    def name(self) -> str:
        return f"pair_{self.terms}_s{self.x_bits}_s{self.w_bits}_{self.spacing}"

    def bits(self, level: int) -> int:
        """Of both sums in one number."""
        return self.spacing + self.x_bits + self.w_bits + level

    def estimate(self) -> Resources:
        """Of both sums. The first addition behind a multiplication is the block's own; what puts a sum's borrow back
        is carries alone."""
        joined, width = self.joined_levels, self.x_bits + self.w_bits
        found = [additions(self.terms, level, self.bits(level)) for level in range(2, joined + 1)]
        found += [additions(self.terms, level, width + level).times(2) for level in range(joined + 1, self.levels + 1)]
        apart = 2 * (width + joined) * -(-self.terms >> joined)
        return total([logic(dsp=self.terms, ff=apart), *found])

    def module(self) -> Module:
        """Ports: x, and two rows of weights as they are stored, low and high; their sums behind `latency` clocks with
        `en`."""
        declared, moves = self.products()
        row = [f"product{place}" for place in range(self.terms)]
        for level in range(1, self.joined_levels + 1):
            row = added(row, f"level{level}", self.bits(level), declared, moves)
        lows, highs = self.apart(row, declared, moves)
        for level in range(self.joined_levels + 1, self.levels + 1):
            width = self.x_bits + self.w_bits + level
            lows = added(lows, f"low{level}", width, declared, moves)
            highs = added(highs, f"high{level}", width, declared, moves)
        declarations, body = "\n".join(declared), "\n".join(moves)
        out = self.sum_bits
        text = f"""// Two sums of {self.terms} products by the same x, {self.spacing} bits apart in one factor.
module {self.name} (
    input  wire clk,
    input  wire en,
    input  wire [{self.terms * self.x_bits - 1}:0] x,
    input  wire [{self.terms * self.w_bits - 1}:0] low,
    input  wire [{self.terms * self.w_bits - 1}:0] high,
    output wire signed [{out - 1}:0] low_sum,
    output wire signed [{out - 1}:0] high_sum
);
{declarations}
  assign low_sum  = {out}'({lows[0]});
  assign high_sum = {out}'({highs[0]});
  always @(posedge clk)
    if (en) begin
{body}
    end
endmodule
"""
        return Module(self.name, text, {})

    def products(self) -> tuple[list[str], list[str]]:
        """Both products of each term in one number."""
        declared, moves = [], []
        w, factor, width = self.w_bits, self.spacing + self.w_bits, self.bits(0)
        for place in range(self.terms):
            low, high = f"low[{place * w} +: {w}]", f"high[{place * w} +: {w}]"
            sign = f"{{{self.spacing - w}{{low[{place * w + w - 1}]}}}}"
            declared.append(f"  wire signed [{factor - 1}:0] factor{place} = {{{high}, {sign}, {low}}};")
            declared.append(f"  reg signed [{width - 1}:0] product{place};")
            x = f"$signed(x[{place * self.x_bits} +: {self.x_bits}])"
            moves.append(f"      product{place} <= {width}'(factor{place}) * {width}'({x});")
        return declared, moves

    def apart(self, row: list[str], declared: list[str], moves: list[str]) -> tuple[list[str], list[str]]:
        """The low parts, signed, and what is above them, with what they borrowed."""
        s, before = self.spacing, self.bits(self.joined_levels)
        width = self.x_bits + self.w_bits + self.joined_levels
        lows, highs = [], []
        for place, one in enumerate(row):
            lows.append(f"low{self.joined_levels}_{place}")
            highs.append(f"high{self.joined_levels}_{place}")
            declared.append(f"  reg signed [{width - 1}:0] {lows[-1]}, {highs[-1]};")
            low = f"{width}'($signed({one}[{s - 1}:0]))" if s < width else f"{one}[{width - 1}:0]"
            moves.append(f"      {lows[-1]} <= {low};")
            borrowed = f"$signed({{1'b0, {one}[{s - 1}]}})"
            moves.append(f"      {highs[-1]} <= {width}'($signed({one}[{before - 1}:{s}])) + {width}'({borrowed});")
        return lows, highs


def pair_of_sums(terms: int, x_bits: int, x: Bounds, weights: Bounds, block: MultiplierBlock) -> PairOfSums | None:
    """How two sums of products by weights within such bounds share blocks; None where a block is too narrow."""
    least, most = weights
    w_bits = signed_bits(least - 1, most)  # one may be lower by what the other borrows
    largest = max(abs(least), abs(most)) * max(abs(bound) for bound in x)
    all_of_them = max(signed_bits(-terms * largest, terms * largest), w_bits + 1)
    spacing = min(block.wide - w_bits, all_of_them)
    room = (1 << (spacing - 1)) - 1
    if spacing <= w_bits or room < largest or x_bits > block.narrow:
        return None
    fits = terms if largest == 0 else min(terms, room // largest)
    together = terms if fits == terms else 1 << (fits.bit_length() - 1)
    return PairOfSums(terms, x_bits, w_bits, spacing, together)


def stored(weights: Array) -> Array:
    """Words of weights [words, PE, SIMD], PE even, as the memory holds them: each second one less 1 where the one
    before it is negative."""
    found: Array = weights.astype(np.int64)
    found[:, 1::2] -= weights[:, 0::2] < 0
    return found
