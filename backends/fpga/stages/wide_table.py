"""A function of one element of 16 bits in straight lines: `bevel.calib.arithmetic.piecewise` as registers.

block -> its first segment, and how long segments are -> a segment's ends -> between them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bevel.backends.fpga.logic import logic, memory, style, total
from bevel.backends.fpga.stage import BeatByBeat
from bevel.backends.fpga.stages.sums import coming
from bevel.backends.fpga.verilog.text import Module, count_bits, image, ports, signed_bits, signed_number
from bevel.backends.program.op import Array
from bevel.backends.program.resources import Resources
from bevel.calib.arithmetic.piecewise import BITS_OF_LENGTH, DOMAIN_BITS
from bevel.calib.arithmetic.requantize import Output

LATENCY = 8
LENGTH_BITS = (BITS_OF_LENGTH - 1).bit_length()


@dataclass(frozen=True, eq=False)
class WideTableStage(BeatByBeat):
    """blocks: [2**16 / 2**block], ends: [segments, 2], as the operator has them."""

    blocks: Array = field(kw_only=True)
    ends: Array = field(kw_only=True)
    block: int = field(kw_only=True)
    fraction: int = field(kw_only=True)
    epilogue: Output = field(kw_only=True)

    @property
    def latency(self) -> int:
        return LATENCY

    @property
    def entry_bits(self) -> int:
        return max(int(self.blocks.max()).bit_length(), LENGTH_BITS + 1)

    def estimate(self) -> Resources:
        held = [memory(len(self.blocks), self.entry_bits, False), memory(len(self.ends), 32, False)]
        return total([*held, logic(lut=260, ff=260, dsp=1)])

    def modules(self) -> Sequence[Module]:
        blocks, ends = self.blocks.astype(int), self.ends.astype(int)
        memories = {
            f"{self.name}_blocks.mem": image(blocks.reshape(-1, 1).tolist(), self.entry_bits),
            f"{self.name}_ends.mem": image(ends.tolist(), DOMAIN_BITS),
        }
        text = f"""// A function of each element, in {len(ends)} straight lines.
module {self.name} (
{ports(self.inputs[0].width, self.output.width)});
{self.looking_up()}
{self.between()}
endmodule
"""
        return (Module(self.name, text, memories),)

    def looking_up(self) -> str:
        """The ends of an element's segment, and where it lies between them."""
        x, entry, block = self.inputs[0].bits, self.entry_bits, self.block
        count, segments = len(self.blocks), len(self.ends)
        at, segment = count_bits(count), count_bits(segments)
        wide, which = DOMAIN_BITS, max(entry - LENGTH_BITS, segment)
        return f"""  wire en = !m_valid || m_ready;
  assign s_ready = en;
{coming(LATENCY, "s_valid")}

  // The ends of the segment, and where between them the element lies.
  wire [{wide - 1}:0] u = {wide}'($signed({x}'(s_data))) ^ {wide}'h8000;
  {style(count, entry)}reg [{entry - 1}:0] blocks[0:{count - 1}];
  {style(segments, 32)}reg [31:0] ends[0:{segments - 1}];
  initial $readmemh("{self.name}_blocks.mem", blocks);
  initial $readmemh("{self.name}_ends.mem", ends);
  reg [{entry - 1}:0] entry;
  reg [{block - 1}:0] lower, lower2;
  reg [{which - 1}:0] segment;
  reg [{LENGTH_BITS - 1}:0] length2, length3, length4, length5, length6;
  reg [31:0] line;
  reg [{block - 1}:0] offset, offset4;
  wire [{block - 1}:0] steps = lower >> entry[{LENGTH_BITS - 1}:0];
  wire [{block - 1}:0] beyond = {{{block}{{1'b1}}}} << length2;
  always @(posedge clk)
    if (en) begin
      entry    <= blocks[{at}'(u >> {block})];
      lower   <= u[{block - 1}:0];
      segment  <= {which}'(entry >> {LENGTH_BITS}) + {which}'(steps);
      lower2  <= lower;
      length2  <= entry[{LENGTH_BITS - 1}:0];
      line     <= ends[{segment}'(segment)];
      offset   <= lower2 & ~beyond;
      length3  <= length2;
      offset4  <= offset;
      length4  <= length3;
      length5  <= length4;
      length6  <= length5;
    end"""

    def between(self) -> str:
        """The line at the element, rounded."""
        out, fraction, block, y = self.epilogue, self.fraction, self.block, self.output.bits
        wide = DOMAIN_BITS + 1 + block + 2
        last = max(wide - fraction, signed_bits(out.low, out.high)) + 1
        low, high = signed_number(out.low, last), signed_number(out.high, last)
        half = f"({wide}'sd{1 << fraction} <<< length5) >>> 1"
        return f"""
  // The line there.
  reg signed [{DOMAIN_BITS}:0] rise;
  reg signed [{DOMAIN_BITS - 1}:0] left;
  reg signed [{wide - 1}:0] start, more, sum;
  wire signed [{wide - 1}:0] nearest = (sum >>> {fraction}) >>> length6;
  reg signed [{last - 1}:0] near;
  reg signed [{y - 1}:0] y;
  always @(posedge clk)
    if (en) begin
      rise  <= 17'($signed(line[31:16])) - 17'($signed(line[15:0]));
      left  <= $signed(line[15:0]);
      more  <= {wide}'(rise) * {wide}'($signed({{1'b0, offset4}}));
      start <= {wide}'(left) <<< length4;
      sum   <= start + more + ({half});
      near  <= {last}'(nearest);
      y     <= {y}'(near < {low} ? {low} : near > {high} ? {high} : near);
    end
  assign m_data = y;"""
