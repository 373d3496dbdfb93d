"""How a weight memory spells weights, and what multiplies by them where lookup tables do.

    Signed        two's complement: 0, 1, 2 or 3 times x for every two bits, the top ones with their sign
    Minifloat     sign, exponent, fraction: the digits of 1.fraction alone, shifted by the exponent, and negated

Which one is a matter of tables, not of the format that weights were rounded to: weights whose values happen to be those
of a minifloat (in units of its least step) may be spelled so. Multiplications are written out, since what synthesis
makes of `*` there takes 1.6 to 3 times as many tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bevel.backends.fpga.verilog.text import signed_bits
from bevel.backends.program.op import Array

# Lookup tables of a multiplication for each bit of x, as Yosys 0.23 maps 8 bits by such weights for the 7 series
# (`tests/backends/fpga/test_logic.py`): by the bits of a signed one, and of a minifloat's exponent and fraction.
OF_SIGNED = {1: 1.15, 2: 1.15, 3: 3.9, 4: 3.3, 5: 6.8, 6: 7.6, 7: 10.7, 8: 11.1}
OF_MINIFLOAT = {(2, 0): 1.2, (2, 1): 4.5, (2, 2): 5.2, (2, 3): 6.4, (3, 0): 3.9, (3, 1): 7.7, (3, 2): 7.2}


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

    def encoded(self, weights: Array) -> Array:
        return weights

    def tables(self, x_bits: int) -> float:
        """Of a multiplication."""
        return x_bits * OF_SIGNED[self.bits]

    def function(self, x_bits: int) -> str:
        """x * w as a sum of 0, 1, 2 or 3 times x for every two bits of w, the top ones with their sign."""
        bits, rows = x_bits + self.bits, []
        for place in range(0, self.bits, 2):
            high, low = f"factor[{place + 1}]", f"factor[{place}]"
            match self.bits - place:
                case 1:
                    rows.append((place, f"{low} ? -one : {bits}'sd0"))
                case 2:
                    rows.append((place, f"{high} ? ({low} ? -one : -two) : ({low} ? one : {bits}'sd0)"))
                case _:
                    rows.append((place, f"{high} ? ({low} ? three : two) : ({low} ? one : {bits}'sd0)"))
        values, names, sum_of = summed(rows)
        return f"""  function automatic signed [{bits - 1}:0] times(
      input signed [{x_bits - 1}:0] element, input [{self.bits - 1}:0] factor);
    reg signed [{bits - 1}:0] one, two, three, {names};
    begin
      one = {bits}'(element);
      two = one <<< 1;
      three = one + two;
{values}
      times = {sum_of};
    end
  endfunction
"""


@dataclass(frozen=True)
class Minifloat:
    """E<exponent>M<fraction> in units of its least step: fraction, or (2**fraction_bits + fraction) * 2**(e - 1)."""

    exponent_bits: int
    fraction_bits: int

    @property
    def bits(self) -> int:
        return 1 + self.exponent_bits + self.fraction_bits

    @property
    def name(self) -> str:
        return f"e{self.exponent_bits}m{self.fraction_bits}"

    @cached_property
    def magnitudes(self) -> Array:
        """By the code below the sign, ascending: int64 [2**(bits - 1)]."""
        exponent, fraction = np.divmod(np.arange(1 << (self.bits - 1), dtype=np.int64), 1 << self.fraction_bits)
        normal = (fraction + (1 << self.fraction_bits)) << np.maximum(exponent - 1, 0)
        found: Array = np.where(exponent > 0, normal, fraction)
        return found

    @property
    def value_bits(self) -> int:
        return signed_bits(-int(self.magnitudes[-1]), int(self.magnitudes[-1]))

    def holds(self, weights: Array) -> bool:
        return bool(np.isin(np.abs(weights.astype(np.int64)), self.magnitudes).all())

    def encoded(self, weights: Array) -> Array:
        wide = weights.astype(np.int64)
        found: Array = np.searchsorted(self.magnitudes, np.abs(wide)) + (wide < 0) * (1 << (self.bits - 1))
        return found

    def tables(self, x_bits: int) -> float:
        return x_bits * OF_MINIFLOAT[self.exponent_bits, self.fraction_bits]

    def function(self, x_bits: int) -> str:
        bits, m, e = x_bits + self.value_bits, self.fraction_bits, self.exponent_bits
        wide = x_bits + m + 2
        rows = []
        for place in range(0, m + 1, 2):
            high, low = f"mantissa[{place + 1}]", f"mantissa[{place}]"
            if place == m:
                rows.append((place, f"{low} ? one : {wide}'sd0"))
            else:
                rows.append((place, f"{high} ? ({low} ? three : two) : ({low} ? one : {wide}'sd0)"))
        values, names, sum_of = summed(rows)
        fraction = f", factor[{m - 1}:0]" if m else ""
        return f"""  function automatic signed [{bits - 1}:0] times(
      input signed [{x_bits - 1}:0] element, input [{self.bits - 1}:0] factor);
    reg [{e - 1}:0] exponent;
    reg [{m}:0] mantissa;
    reg signed [{wide - 1}:0] one, two, three, whole, {names};
    reg signed [{bits - 1}:0] shifted;
    begin
      exponent = factor[{m + e - 1}:{m}];
      mantissa = {{|exponent{fraction}}};
      one = {wide}'(element);
      two = one <<< 1;
      three = one + two;
{values}
      whole = {sum_of};
{self.shifting(bits)}
      times = (shifted ^ {{{bits}{{factor[{m + e}]}}}}) + $signed({{{bits - 1}'d0, factor[{m + e}]}});
    end
  endfunction
"""

    def shifting(self, bits: int) -> str:
        """`whole` times 2**(exponent - 1), from exponent 1 on."""
        whole = f"{bits}'(whole)"
        if self.exponent_bits > 2:
            return f"      shifted = {whole} <<< (exponent - {self.exponent_bits}'(|exponent));"
        return f"""      case (exponent)
        2'd2: shifted = {whole} <<< 1;
        2'd3: shifted = {whole} <<< 2;
        default: shifted = {whole};
      endcase"""


Coding = Signed | Minifloat
MINIFLOATS = tuple(Minifloat(*bits) for bits in OF_MINIFLOAT)


def summed(rows: Sequence[tuple[int, str]]) -> tuple[str, str, str]:
    """Of digits (place, value): what gives each its row, the rows' names, and their sum."""
    names = [f"row{number}" for number in range(len(rows))]
    values = "\n".join(f"      {name} = {value};" for name, (_, value) in zip(names, rows, strict=True))
    shifted = [f"({name} <<< {place})" if place else name for name, (place, _) in zip(names, rows, strict=True)]
    return values, ", ".join(names), " + ".join(shifted)


def coding(weights: Array, by_tables: bool) -> Coding:
    """What multiplies by such weights with the fewest tables; blocks take signed numbers."""
    least = signed_bits(int(weights.min()), int(weights.max()))
    if not by_tables:
        return Signed(least)
    able: list[Coding] = [Signed(bits) for bits in range(least, max(OF_SIGNED) + 1)]
    able += [one for one in MINIFLOATS if one.holds(weights)]
    return min(able, key=lambda one: one.tables(1))
