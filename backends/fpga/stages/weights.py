"""How a weight memory spells weights, and what multiplies by them where lookup tables do.

    Signed          two's complement: a row of -2, -1, 0, 1 or 2 times x for every two bits (Booth 1951; MacSorley 1961)
    PowersOfTwo     sign and exponent: x shifted, and negated

Which one is a matter of tables, not of the format that weights were rounded to. Multiplications are written out, since
what synthesis makes of `*` there takes several times as many tables.

A row is added to those below it in the tables that choose it: of a table's six inputs two are neighbours in x, three
the digit, and one the sum so far. For that the sum must be what a subtraction takes from (synthesis may exchange what
is added), and the 1 that makes ~row into -row comes from a place below:

    sum + digit * x  ==  (2 * sum - (2 * ~row + !negative)) >> 1        row = |digit| * x, or its complement
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bevel.backends.fpga.verilog.text import signed_bits
from bevel.backends.program.op import Array

# Lookup tables of a multiplication by powers of two for each bit of x, as Yosys 0.23 maps 8 bits for the 7 series, by
# the bits of an exponent (`tests/backends/fpga/test_logic.py`).
OF_POWERS = {2: 1.2, 3: 3.9}


@dataclass(frozen=True)
class Signed:
    """`bits` of two's complement."""

    bits: int

    @property
    def name(self) -> str:
        return f"s{self.bits}"

    @property
    def value_bits(self) -> int:
        """Of a weight as a signed number."""
        return self.bits

    @property
    def digits(self) -> int:
        return -(-self.bits // 2)

    def encoded(self, weights: Array) -> Array:
        return weights

    def tables(self, x_bits: int) -> float:
        """Of a multiplication: a table for each place of a row."""
        return self.digits * (x_bits + 1)

    def function(self, x_bits: int) -> str:
        bits, wide, digits = x_bits + self.bits, x_bits + 3, range(self.digits)
        rows = "\n".join(self.row(place, x_bits) for place in digits)
        parts = [f"sum{self.digits - 1}[{wide - 1}:1]", *(f"sum{place}[2:1]" for place in reversed(digits[:-1]))]
        declared = ", ".join(f"digit{place}" for place in digits)
        return f"""  function automatic signed [{bits - 1}:0] times(
      input signed [{x_bits - 1}:0] element, input [{self.bits - 1}:0] factor);
    reg signed [{x_bits}:0] one, two, {", ".join(f"row{place}" for place in digits)};
    reg signed [{wide - 1}:0] {", ".join(f"sum{place}" for place in digits)};
    reg [2:0] {declared};
    reg [{x_bits + 2 * self.digits - 1}:0] whole;
    begin
      one = {{element[{x_bits - 1}], element}};
      two = {{element, 1'b0}};
{rows}
      whole = {{{", ".join(parts)}}};
      times = whole[{bits - 1}:0];
    end
  endfunction
"""

    def row(self, place: int, x_bits: int) -> str:
        """A digit of -2 to 2, by two bits and the one below them, its row's complement, and the sum up to it, times
        2."""
        below = f"factor[{2 * place - 1}]" if place else "1'b0"
        digit = f"{{factor[{min(2 * place + 1, self.bits - 1)}], factor[{2 * place}], {below}}}"
        last = x_bits + 2
        before = f"sum{place - 1}"
        above = f"{{{{2{{{before}[{last}]}}}}, {before}[{last}:3], 1'b0}}" if place else f"{last + 1}'d0"
        d, row = f"digit{place}", f"row{place}"
        return f"""      {d} = {digit};
      {row} = {d}[1] ^ {d}[0] ? one : {d}[2] ^ {d}[1] ? two : {x_bits + 1}'sd0;
      {row} = {d}[2] ? {row} : ~{row};
      sum{place} = {above} - {{{row}[{x_bits}], {row}, !{d}[2]}};"""


@dataclass(frozen=True)
class PowersOfTwo:
    """0, and 2**(exponent - 1) of either sign."""

    exponent_bits: int

    @property
    def bits(self) -> int:
        return 1 + self.exponent_bits

    @property
    def name(self) -> str:
        return f"e{self.exponent_bits}"

    @cached_property
    def magnitudes(self) -> Array:
        """By the exponent: int64 [2**exponent_bits]."""
        exponents = np.arange(1 << self.exponent_bits, dtype=np.int64)
        found: Array = (np.int64(1) << exponents) >> 1
        return found

    @property
    def value_bits(self) -> int:
        return signed_bits(-int(self.magnitudes[-1]), int(self.magnitudes[-1]))

    def holds(self, weights: Array) -> bool:
        return bool(np.isin(np.abs(weights.astype(np.int64)), self.magnitudes).all())

    def encoded(self, weights: Array) -> Array:
        wide = weights.astype(np.int64)
        found: Array = np.searchsorted(self.magnitudes, np.abs(wide)) + (wide < 0) * (1 << self.exponent_bits)
        return found

    def tables(self, x_bits: int) -> float:
        return x_bits * OF_POWERS[self.exponent_bits]

    def function(self, x_bits: int) -> str:
        bits, e = x_bits + self.value_bits, self.exponent_bits
        return f"""  function automatic signed [{bits - 1}:0] times(
      input signed [{x_bits - 1}:0] element, input [{self.bits - 1}:0] factor);
    reg [{e - 1}:0] exponent;
    reg signed [{bits - 1}:0] whole, shifted;
    begin
      exponent = factor[{e - 1}:0];
      whole = |exponent ? {bits}'(element) : {bits}'sd0;
{self.shifting()}
      times = (shifted ^ {{{bits}{{factor[{e}]}}}}) + $signed({{{bits - 1}'d0, factor[{e}]}});
    end
  endfunction
"""

    def shifting(self) -> str:
        """`whole` times 2**(exponent - 1), from exponent 1 on."""
        if self.exponent_bits > 2:
            return f"      shifted = whole <<< (exponent - {self.exponent_bits}'(|exponent));"
        return """      case (exponent)
        2'd2: shifted = whole <<< 1;
        2'd3: shifted = whole <<< 2;
        default: shifted = whole;
      endcase"""


Coding = Signed | PowersOfTwo
POWERS = tuple(PowersOfTwo(bits) for bits in OF_POWERS)


def coding(weights: Array, by_tables: bool) -> Coding:
    """What multiplies by such weights with the fewest tables; blocks take signed numbers."""
    least = Signed(signed_bits(int(weights.min()), int(weights.max())))
    if not by_tables:
        return least
    able: list[Coding] = [least, *(one for one in POWERS if one.holds(weights))]
    return min(able, key=lambda one: one.tables(8))
