"""Softmax of rows of up to 16 bits: `bevel.calib.arithmetic.softmax` as registers, exact for every row.

    taken   the largest element
    worked  e = (coarse[d >> 8] * fine[d & 255] + 2**15) >> 16 of each element d below it; their sum; 2**47 // sum
    given   (e * reciprocal + half) >> (47 - bits)

The sum is 2**16 - 2 at least, what the largest element gives: of the reciprocal's 48 places only the last 32 need be
found, one a cycle, by subtracting what still fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bevel.backends.fpga.logic import logic, memory, style, total
from bevel.backends.fpga.stages import factors
from bevel.backends.fpga.stages.rows import ROWS, RowStage
from bevel.backends.fpga.verilog.text import Module, count_bits, image, number, ports, signed_bits, signed_number
from bevel.backends.program.resources import Resources
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import ENTRY_BITS, FACTOR_BITS, FINE, LARGEST, RECIPROCAL_BITS

LOOKED_UP = 4  # clocks from an element's turn to its exponential
PLACES = RECIPROCAL_BITS - ENTRY_BITS + 1  # of the reciprocal that can be other than 0
BEFORE = 1  # registers before the product of a share
BEHIND = 3


@dataclass(frozen=True, eq=False)
class WideSoftmaxStage(RowStage):
    """coarse, fine: the tables of exponentials; bits: behind the point of a share."""

    coarse: tuple[int, ...] = field(kw_only=True)
    fine: tuple[int, ...] = field(kw_only=True)
    bits: int = field(kw_only=True)
    epilogue: Output = field(kw_only=True)

    @property
    def work(self) -> int:
        return self.n + LOOKED_UP + 1 + PLACES

    @property
    def latency(self) -> int:
        return BEFORE + factors.LATENCY + BEHIND

    @property
    def sum_bits(self) -> int:
        return int(self.n * LARGEST).bit_length()

    def estimate(self) -> Resources:
        x, sums = self.inputs[0].bits, self.sum_bits
        held = [memory(ROWS * self.n, x, True), memory(2 * self.n, ENTRY_BITS, True)]
        tables = [memory(len(one), ENTRY_BITS, False) for one in (self.coarse, self.fine)]
        multipliers = 2 + factors.blocks(ENTRY_BITS + 1, FACTOR_BITS + 1)
        return total([*held, *tables, logic(lut=3 * x + 6 * sums + 250, ff=3 * x + 4 * sums + 300, dsp=multipliers)])

    def modules(self) -> Sequence[Module]:
        x, y = self.inputs[0], self.output
        memories = {
            f"{self.name}_{name}.mem": image(([entry] for entry in table), ENTRY_BITS)
            for name, table in (("coarse", self.coarse), ("fine", self.fine))
        }
        text = f"""// Softmax of rows of {self.n} elements, in units of 2**-{self.bits}.
module {self.name} (
{ports(x.width, y.width)});
{self.control()}
{self.weighing()}
{self.dividing()}
{self.sharing()}
endmodule
"""
        return Module(self.name, text, memories), factors.product(ENTRY_BITS + 1, FACTOR_BITS + 1)

    def weighing(self) -> str:
        """The largest element, and exponentials of how far the others are below it."""
        x, place, deep = self.inputs[0].bits, self.place_bits, len(self.coarse)
        step, sums = count_bits(self.work), self.sum_bits
        upper, coarse = number(self.coarse[0], ENTRY_BITS), ""
        if deep > 1:
            upper = f"coarse[{count_bits(deep)}'(below >> 8)]"
            coarse = f"""  {style(deep, ENTRY_BITS)}reg [{ENTRY_BITS - 1}:0] coarse[0:{deep - 1}];
  initial $readmemh("{self.name}_coarse.mem", coarse);
"""
        address = place + 2
        return f"""
  // The largest element, and exponentials of how far the others are below it.
  reg [{x - 1}:0] elements[0:{(ROWS << place) - 1}];
  reg signed [{x - 1}:0] highest, largest;
  wire signed [{x - 1}:0] element = $signed(s_data);
  wire [{address - 1}:0] read_at = {{work_row, {place}'(work_at)}};
{coarse}  {style(FINE, ENTRY_BITS)}reg [{ENTRY_BITS - 1}:0] fine[0:{FINE - 1}];
  initial $readmemh("{self.name}_fine.mem", fine);
  reg [{x - 1}:0] found;
  reg [15:0] below;
  reg [{ENTRY_BITS - 1}:0] upper, lower;
  reg [{2 * ENTRY_BITS - 1}:0] both;
  reg [{LOOKED_UP}:1] weighed;
  reg [{LOOKED_UP * place - 1}:0] weighed_at;
  wire [{place - 1}:0] write_at = weighed_at[{LOOKED_UP * place - 1}:{(LOOKED_UP - 1) * place}];
  reg [{sums - 1}:0] total;
  reg [{ENTRY_BITS - 1}:0] exponentials[0:{(2 << place) - 1}];
  wire [{2 * ENTRY_BITS - 1}:0] rounded = both + {2 * ENTRY_BITS}'d{1 << (ENTRY_BITS - 1)};
  wire [{ENTRY_BITS - 1}:0] exponential = rounded[{2 * ENTRY_BITS - 1}:{ENTRY_BITS}];
  always @(posedge clk) begin
    if (take) begin
      elements[{{take_row, take_at}}] <= s_data;
      if (take_at == {number(0, place)} || element > highest) highest <= element;
    end
    if (begin_work) largest <= highest;
    found <= elements[read_at];
    below <= 16'($signed(17'(largest) - 17'($signed(found))));
    upper <= {upper};
    lower <= fine[below[7:0]];
    both  <= {2 * ENTRY_BITS}'(upper) * {2 * ENTRY_BITS}'(lower);
    weighed    <= {{weighed[{LOOKED_UP - 1}:1], working && work_at < {number(self.n, step)}}};
    weighed_at <= {{weighed_at[{(LOOKED_UP - 1) * place - 1}:0], {place}'(work_at)}};
    if (begin_work) total <= {number(0, sums)};
    else if (weighed[{LOOKED_UP}]) total <= total + {sums}'(exponential);
    if (weighed[{LOOKED_UP}]) exponentials[{{work_row[0], write_at}}] <= exponential;
  end"""

    def dividing(self) -> str:
        """The reciprocal of the sum."""
        sums, step, first = self.sum_bits, count_bits(self.work), self.n + LOOKED_UP
        largest = f"{FACTOR_BITS}'d{(1 << FACTOR_BITS) - 1}"
        return f"""
  // The reciprocal of their sum, a place a cycle.
  reg [{sums}:0] rest;
  reg [{PLACES - 1}:0] quotient;
  wire [{sums}:0] twice = {{rest[{sums - 1}:0], 1'b0}};
  wire fits = twice >= {{1'b0, total}};
  reg [{FACTOR_BITS - 1}:0] reciprocal;
  always @(posedge clk) begin
    if (work_at <= {number(first, step)}) rest <= {sums + 1}'d{1 << (ENTRY_BITS - 1)};
    else if (working) rest <= fits ? twice - {{1'b0, total}} : twice;
    if (working) quotient <= {{quotient[{PLACES - 2}:0], fits}};
    if (begin_give) reciprocal <= quotient[{PLACES - 1}] ? {largest} : quotient[{FACTOR_BITS - 1}:0];
  end"""

    def sharing(self) -> str:
        """Each element's share."""
        y, out, place = self.output, self.epilogue, self.place_bits
        bits, shift = ENTRY_BITS + FACTOR_BITS + 2, RECIPROCAL_BITS - self.bits
        kept = bits - shift + 1
        wide = max(kept, signed_bits(out.low, out.high), signed_bits(out.zero_point, out.zero_point)) + 2
        low, high = signed_number(out.low, wide), signed_number(out.high, wide)
        given = factors.instance(
            ENTRY_BITS + 1, FACTOR_BITS + 1, "share", "{1'b0, weight}", "{1'b0, factor}", "product"
        )
        return f"""
  // Shares.
  reg [{ENTRY_BITS - 1}:0] weight;
  reg [{FACTOR_BITS - 1}:0] factor;  // of this row, when the next one's is there
  wire signed [{bits - 1}:0] product;
{given}
  reg signed [{wide - 1}:0] near, placed;
  reg signed [{y.bits - 1}:0] y;
  wire signed [{kept - 1}:0] nearest = half_more >>> 1;
  wire signed [{kept - 1}:0] half_more = $signed(product[{bits - 1}:{shift - 1}]) + {kept}'sd1;
  always @(posedge clk)
    if (en) begin
      weight <= exponentials[{{give_row[0], {place}'(give_at)}}];
      factor <= reciprocal;
      near   <= {wide}'(nearest);
      placed <= near + {signed_number(out.zero_point, wide)};
      y      <= {y.bits}'(placed < {low} ? {low} : placed > {high} ? {high} : placed);
    end
  assign m_data = y;"""
