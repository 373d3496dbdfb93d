"""Rows less their mean, over their deviation: `bevel.calib.arithmetic.normalize` as registers, exact for every row.

    taken   S and Q, the sums of steps and of their squares
    worked  V = n * Q - S**2, shifted to 59 or 60 bits; its root, a bit a cycle; 2**59 // root, a bit a cycle
    given   t = (shifted * reciprocal + 2**31) >> 32 of c = n * q - S; store(((t * factor >> 32) + offset) >> shift)

What is not centred has V = Q and c = q.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bevel.backends.fpga.logic import logic, memory, style, total
from bevel.backends.fpga.stages import factors
from bevel.backends.fpga.stages.rows import ROWS, RowStage
from bevel.backends.fpga.verilog.text import Module, count_bits, image, number, ports, signed_bits, signed_number
from bevel.backends.program.op import Array
from bevel.backends.program.resources import Resources
from bevel.calib.arithmetic.normalize import MOST_FRACTION, ROOT_BITS, WORD_BITS, fraction_bits
from bevel.calib.arithmetic.requantize import Output

HALVINGS = (16, 8, 4, 2, 1)  # pairs of places that V is shifted by, where it has room
SUMMED = 2 + factors.LATENCY  # cycles until V is there
SHIFTED = SUMMED + 1
ROOTED = SHIFTED + len(HALVINGS)
DIVIDED = ROOTED + ROOT_BITS
QUOTIENT = ROOT_BITS + 1  # bits of the reciprocal
BEFORE = 3  # registers before the first product of an element
VALUE_BITS = 2 * ROOT_BITS


@dataclass(frozen=True, eq=False)
class NormalizeStage(RowStage):
    """factor, offset: int32 [n]; shift: behind the upper word of the product."""

    center: bool = field(kw_only=True)
    zero_point: int = field(kw_only=True)
    epsilon: int = field(kw_only=True)
    factor: Array = field(kw_only=True)
    offset: Array = field(kw_only=True)
    shift: int = field(kw_only=True)
    epilogue: Output = field(kw_only=True)

    @property
    def work(self) -> int:
        return DIVIDED + QUOTIENT

    @property
    def latency(self) -> int:
        return BEFORE + 2 * factors.LATENCY + 1 + 3

    @property
    def step_bits(self) -> int:
        """Of q: a code less the zero point."""
        low, high = self.inputs[0].bounds
        return signed_bits(low - self.zero_point, high - self.zero_point)

    @property
    def sum_bits(self) -> int:
        return self.step_bits + self.n.bit_length()

    @property
    def square_bits(self) -> int:
        """Of Q, which is not negative."""
        return 2 * self.step_bits + self.n.bit_length()

    @property
    def centred_bits(self) -> int:
        return self.sum_bits + 1 if self.center else self.step_bits

    def estimate(self) -> Resources:
        n, q, sums = self.n, self.step_bits, self.sum_bits
        multipliers = factors.blocks(sums, sums) * self.center
        multipliers += factors.blocks(WORD_BITS, QUOTIENT + 1) + factors.blocks(WORD_BITS, WORD_BITS) + 1
        held = [memory(ROWS * n, q, True), memory(n, WORD_BITS, False).times(2)]
        return total([*held, logic(lut=1000, ff=1200, dsp=multipliers)])

    def modules(self) -> Sequence[Module]:
        x, y, sums = self.inputs[0], self.output, self.sum_bits
        memories = {
            f"{self.name}_{name}.mem": image(([int(one)] for one in values), WORD_BITS)
            for name, values in (("factors", self.factor), ("offsets", self.offset))
        }
        what = "less their mean, over their deviation" if self.center else "over their norm"
        text = f"""// Rows of {self.n} elements {what}.
module {self.name} (
{ports(x.width, y.width)});
{self.control()}
{self.summing()}
{self.value()}
{self.rooting()}
{self.giving()}
endmodule
"""
        made = [factors.product(WORD_BITS, QUOTIENT + 1), factors.product(WORD_BITS, WORD_BITS)]
        return (
            Module(self.name, text, memories),
            *made,
            *([factors.product(sums, sums)] if self.center else []),
        )

    def summing(self) -> str:
        """Elements less their zero point, their sum and that of their squares."""
        x, q, sums, squares, place = self.inputs[0], self.step_bits, self.sum_bits, self.square_bits, self.place_bits
        return f"""
  // Steps, their sum and that of their squares, two and three clocks behind an element.
  reg signed [{q - 1}:0] steps[0:{(ROWS << place) - 1}];
  wire signed [{q - 1}:0] q = {q}'($signed({x.bits}'(s_data))) - {signed_number(self.zero_point, q)};
  reg signed [{q - 1}:0] entered;
  reg [{squares - 1}:0] square, squares, of_squares;
  reg signed [{sums - 1}:0] sum, of_sum;
  reg [2:1] comes, first;
  always @(posedge clk) begin
    if (take) steps[{{take_row, take_at}}] <= q;
    entered <= q;
    comes   <= {{comes[1], take}};
    first   <= {{first[1], take_at == {number(0, place)}}};
    square  <= {squares}'($signed({squares}'(entered) * {squares}'(entered)));
    if (comes[1]) sum <= (first[1] ? {sums}'d0 : sum) + {sums}'(entered);
    if (comes[2]) squares <= (first[2] ? {squares}'d0 : squares) + square;
    if (working && work_at == {number(0, count_bits(self.work))}) of_sum <= sum;
    if (working && work_at == {number(1, count_bits(self.work))}) of_squares <= squares;
  end"""

    def value(self) -> str:
        """V, shifted to the left as far as there is room, by pairs of places."""
        sums, step = self.sum_bits, count_bits(self.work)
        wide = max(self.square_bits + self.n.bit_length(), 2 * sums, VALUE_BITS) + 2
        if self.center:
            head = f"""  wire signed [{2 * sums - 1}:0] of_sum_square;
{factors.instance(sums, sums, "squaring", "of_sum", "of_sum", "of_sum_square", "1'b1")}
  reg [{wide - 1}:0] scaled;
  always @(posedge clk) scaled <= {wide}'(of_squares) * {number(self.n, wide)};
  wire [{wide - 1}:0] v = scaled - {wide}'(of_sum_square) + {number(self.epsilon, wide)};"""
        else:
            head = f"  wire [{wide - 1}:0] v = {wide}'(of_squares) + {number(self.epsilon, wide)};"
        shifts = []
        for place, pairs in enumerate(HALVINGS):
            shifts.append(f"""    if (work_at == {number(SHIFTED + place, step)}) begin
      if (value[{VALUE_BITS - 1}:{VALUE_BITS - 2 * pairs}] == {number(0, 2 * pairs)}) value <= value << {2 * pairs};
      places[{len(HALVINGS) - 1 - place}] <= value[{VALUE_BITS - 1}:{VALUE_BITS - 2 * pairs}] == {number(0, 2 * pairs)};
    end""")
        moves = "\n".join(shifts)
        return f"""
  // V, and by how many pairs of places it is shifted.
{head}
  reg [{VALUE_BITS - 1}:0] value;
  reg [{len(HALVINGS) - 1}:0] places;
  wire [{VALUE_BITS - 1}:0] low_v = v[{VALUE_BITS - 1}:0];
  always @(posedge clk) begin
    if (work_at == {number(SUMMED, step)}) value <= low_v == {number(0, VALUE_BITS)} ? {number(1, VALUE_BITS)} : low_v;
{moves}
    if (work_at >= {number(ROOTED, step)}) value <= value << 2;
  end"""

    def rooting(self) -> str:
        """The root of V, and its reciprocal: a bit a cycle, by subtracting what still fits."""
        step, r = count_bits(self.work), ROOT_BITS
        return f"""
  // The root, and then its reciprocal.
  reg [{r + 1}:0] left;
  reg [{r - 1}:0] root;
  wire [{r + 1}:0] more = {{left[{r - 1}:0], value[{VALUE_BITS - 1}:{VALUE_BITS - 2}]}};
  wire [{r + 1}:0] tried = {{root, 2'b01}};
  reg [{r}:0] rest;
  reg [{QUOTIENT - 1}:0] quotient;
  wire [{r}:0] twice = {{rest[{r - 1}:0], 1'b0}};
  wire fits = twice >= {{1'b0, root}};
  always @(posedge clk)
    if (work_at < {number(ROOTED, step)}) begin
      left <= {number(0, r + 2)};
      root <= {number(0, r)};
    end else if (work_at < {number(DIVIDED, step)}) begin
      left <= more >= tried ? more - tried : more;
      root <= {{root[{r - 2}:0], more >= tried}};
      rest <= {r + 1}'d{1 << (r - 2)};
    end else if (working) begin
      rest     <= fits ? twice - {{1'b0, root}} : twice;
      quotient <= {{quotient[{QUOTIENT - 2}:0], fits}};
    end"""

    def giving(self) -> str:
        """Each element over its row's deviation: t."""
        n, q, c = self.n, self.step_bits, self.centred_bits
        right, shifts = MOST_FRACTION - fraction_bits(n), len(HALVINGS)  # c goes left as V did, then right
        wide, bits = WORD_BITS + right, WORD_BITS + QUOTIENT + 1
        centred = f"{c}'(step) * {signed_number(n, c)} - {c}'(mean)" if self.center else "step"
        first = factors.instance(WORD_BITS, QUOTIENT + 1, "to_deviation", "word", "{1'b0, reciprocal3}", "normalized")
        return f"""
  // Elements over the deviation of their row.
  reg [{QUOTIENT - 1}:0] reciprocal, reciprocal1, reciprocal2, reciprocal3;
  reg [{shifts - 1}:0] shifts, shifts1, shifts2;
  reg signed [{self.sum_bits - 1}:0] mean_sum, mean;
  always @(posedge clk)
    if (begin_give) begin
      reciprocal <= quotient;
      shifts     <= places;
      mean_sum   <= of_sum;
    end
  reg signed [{q - 1}:0] step;
  reg signed [{c - 1}:0] centred;
  reg signed [{WORD_BITS - 1}:0] word, t;
  wire signed [{wide - 1}:0] moved = ({wide}'(centred) <<< shifts2) >>> {right};
  wire signed [{bits - 1}:0] normalized;
  wire signed [{bits - 1}:0] nearest = normalized + {bits}'sd{1 << (WORD_BITS - 1)};
{first}
  always @(posedge clk)
    if (en) begin
      step        <= steps[{{give_row, give_at}}];
      mean        <= mean_sum;
      shifts1     <= shifts;
      reciprocal1 <= reciprocal;
      centred     <= {centred};
      shifts2     <= shifts1;
      reciprocal2 <= reciprocal1;
      word        <= moved[{WORD_BITS - 1}:0];
      reciprocal3 <= reciprocal2;
      t           <= nearest[{bits - 1}:{WORD_BITS}];
    end
{self.scaling()}"""

    def scaling(self) -> str:
        """By its channel's factor and offset, to its result."""
        n, place, out, y = self.n, self.place_bits, self.epilogue, self.output.bits
        carried = BEFORE + factors.LATENCY  # registers from an element's turn to where its factor is read
        second = factors.instance(WORD_BITS, WORD_BITS, "to_channel", "t", "factor", "scaled_t")
        kept, later = WORD_BITS + 1 - self.shift, factors.LATENCY * WORD_BITS
        last = max(kept, signed_bits(out.low, out.high), signed_bits(out.zero_point, out.zero_point)) + 2
        low, high = signed_number(out.low, last), signed_number(out.high, last)
        return f"""
  // And by what their channel is scaled and moved by.
  reg [{carried * place - 1}:0] channels;
  wire [{place - 1}:0] channel = channels[{carried * place - 1}:{(carried - 1) * place}];
  {style(n, WORD_BITS)}reg [{WORD_BITS - 1}:0] factors[0:{n - 1}];
  {style(n, WORD_BITS)}reg [{WORD_BITS - 1}:0] offsets[0:{n - 1}];
  initial $readmemh("{self.name}_factors.mem", factors);
  initial $readmemh("{self.name}_offsets.mem", offsets);
  reg signed [{WORD_BITS - 1}:0] factor;
  reg [{WORD_BITS - 1}:0] offset;
  reg [{later - 1}:0] offsets_later;
  wire signed [{2 * WORD_BITS - 1}:0] scaled_t;
  wire signed [{WORD_BITS - 1}:0] upper = scaled_t[{2 * WORD_BITS - 1}:{WORD_BITS}];
{second}
  wire signed [{WORD_BITS - 1}:0] offset_now = $signed(offsets_later[{later - 1}:{later - WORD_BITS}]);
  reg signed [{WORD_BITS}:0] raised;
  reg signed [{last - 1}:0] placed;
  reg signed [{y - 1}:0] y;
  always @(posedge clk)
    if (en) begin
      channels <= {{channels[{(carried - 1) * place - 1}:0], give_at}};
      factor   <= factors[channel];
      offset   <= offsets[channel];
      offsets_later <= {{offsets_later[{later - WORD_BITS - 1}:0], offset}};
      raised   <= {WORD_BITS + 1}'(upper) + {WORD_BITS + 1}'(offset_now);
      placed   <= {last}'($signed(raised[{WORD_BITS}:{self.shift}])) + {signed_number(out.zero_point, last)};
      y        <= {y}'(placed < {low} ? {low} : placed > {high} ? {high} : placed);
    end
  assign m_data = y;"""
