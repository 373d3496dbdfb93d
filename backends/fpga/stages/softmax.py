"""Softmax of rows, one element at a time: the row's largest, exponentials and their sum, then a division each.

    e = table[largest - x];  y = store((256 * e + sum // 2) // sum)

as in `bevel.backends.program.ops.softmax`. A quotient has 9 bits, found one a cycle by subtracting what still fits.
A row must have left before the next one comes in: rows are short, and what is before them takes longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bevel.backends.fpga.logic import logic, memory
from bevel.backends.fpga.stage import Phase, PhasedStage
from bevel.backends.fpga.verilog.text import Module, count_bits, image, number, ports, signed_bits, signed_number
from bevel.backends.program.resources import Resources
from bevel.calib.arithmetic.requantize import Output

QUOTIENT = 9  # bits: 256 at most


@dataclass(frozen=True)
class SoftmaxStage(PhasedStage):
    """inputs: rows of n elements, one a beat; output: the same. table: [256], as the operator has it."""

    n: int = field(kw_only=True)
    table: tuple[int, ...] = field(kw_only=True)
    epilogue: Output = field(kw_only=True)

    @property
    def of_row(self) -> int:
        """Steps of a row: in, exponentials, the sum's last register, quotients and results."""
        return self.n + self.n + 2 + self.n * (QUOTIENT + 2)

    def phases(self) -> Sequence[Phase]:
        rows, n = self.inputs[0].elements // self.n, self.n
        row, step = np.divmod(np.arange(rows * self.of_row), self.of_row)
        needs = row * n + np.minimum(step + 1, n)
        ends = (QUOTIENT + 2) * np.arange(1, n + 1) + 2 * n + 1
        gives = (np.arange(rows)[:, np.newaxis] * self.of_row + ends).reshape(-1)
        return (Phase((needs,), gives, 1),)

    @property
    def cycles(self) -> int:
        return self.inputs[0].elements // self.n * self.of_row

    def estimate(self) -> Resources:
        wide = max(self.table).bit_length() + 18
        held = memory(self.n, self.inputs[0].bits, True) + memory(self.n, wide - 18, True)
        return held + memory(256, wide - 18, False) + logic(lut=7 * wide + 80, ff=3 * wide + 60)

    def modules(self) -> Sequence[Module]:
        x, y, n = self.inputs[0], self.output, self.n
        place, entry = count_bits(n), max(self.table).bit_length()
        total = (n * max(self.table)).bit_length()
        dividend = max(entry + 8, total - 1) + 1
        wide = max(dividend, total + QUOTIENT - 1)
        out, result = self.epilogue, signed_bits(self.epilogue.low, self.epilogue.high)
        span = max(QUOTIENT, signed_bits(min(out.low, out.zero_point), max(out.high, out.zero_point))) + 2
        last, low, high = number(n - 1, place), signed_number(out.low, span), signed_number(out.high, span)
        text = f"""// Softmax of {n} elements: the largest, exponentials and their sum, and a division each.
module {self.name} (
{ports(x.width, y.width)});
  localparam [2:0] TAKE = 3'd0, WEIGH = 3'd1, SETTLE = 3'd2, BEGIN = 3'd3, DIVIDE = 3'd4, GIVE = 3'd5;
  reg [2:0] state;
  reg [{place - 1}:0] at;
  reg signed [{x.bits - 1}:0] largest;
  reg [{x.bits - 1}:0] elements[0:{n - 1}];
  reg [{entry - 1}:0] exponentials[0:{n - 1}];
  reg [{entry - 1}:0] entries[0:255];
  initial $readmemh("{self.name}.mem", entries);
  reg [{entry - 1}:0] weight;
  reg weighed;
  reg [{place - 1}:0] weighed_at;
  reg [{total - 1}:0] total;
  reg [{wide - 1}:0] rest;
  reg [{QUOTIENT - 1}:0] quotient;
  reg [3:0] place;

  wire signed [{x.bits - 1}:0] element = $signed(s_data);
  wire [7:0] below = 8'(largest) - 8'($signed(elements[at]));
  wire [{wide - 1}:0] fits = {wide}'(total) << place;
  wire signed [{span - 1}:0] placed = $signed({span}'(quotient)) + {signed_number(out.zero_point, span)};
  wire at_last = at == {last};
  wire [{place - 1}:0] next_at = at_last ? {number(0, place)} : at + {number(1, place)};
  assign s_ready = state == TAKE;
  assign m_valid = state == GIVE;
  assign m_data = {result}'(placed < {low} ? {low} : placed > {high} ? {high} : placed);

  always @(posedge clk) begin
    if (s_valid && s_ready) begin
      elements[at] <= s_data;
      if (at == {number(0, place)} || element > largest) largest <= element;
    end
    weight     <= entries[below];
    weighed    <= state == WEIGH;
    weighed_at <= at;
    if (weighed) exponentials[weighed_at] <= weight;
    if (state == TAKE) total <= {number(0, total)};
    else if (weighed) total <= total + {total}'(weight);
    if (state == BEGIN) rest <= ({wide}'(exponentials[at]) << 8) + {wide}'(total[{total - 1}:1]);
    if (state == DIVIDE) begin
      quotient <= {{quotient[{QUOTIENT - 2}:0], rest >= fits}};
      if (rest >= fits) rest <= rest - fits;
    end
    place <= state == DIVIDE ? place - 4'd1 : 4'd{QUOTIENT - 1};
  end

{control(place)}endmodule
"""
        return (Module(self.name, text, {f"{self.name}.mem": image(([entry] for entry in self.table), entry)}),)


def control(place: int) -> str:
    """The states of a row, one after the other."""
    return f"""  always @(posedge clk)
    if (rst) begin
      state <= TAKE;
      at    <= {number(0, place)};
    end else begin
      case (state)
        TAKE: if (s_valid) begin
          at <= next_at;
          if (at_last) state <= WEIGH;
        end
        WEIGH: begin
          at <= next_at;
          if (at_last) state <= SETTLE;
        end
        SETTLE: if (!weighed) state <= BEGIN;
        BEGIN: state <= DIVIDE;
        DIVIDE: if (place == 4'd0) state <= GIVE;
        GIVE: if (m_ready) begin
          at    <= next_at;
          state <= at_last ? TAKE : BEGIN;
        end
        default: state <= TAKE;
      endcase
    end
"""
