"""Sums of products of signed numbers, a register behind every multiplication and every level of additions.

Multiplications are written out, by radix-4 digits of the weight, where they are to become lookup tables: what synthesis
makes of `*` there takes 1.6 to 3 times as many. For multiplier blocks they are `*`.
"""

from __future__ import annotations

from typing import Literal

from bevel.backends.fpga.logic import adder, logic, total
from bevel.backends.fpga.verilog.text import Module
from bevel.backends.program.resources import Resources

Multiplier = Literal["dsp", "lut"]
# Lookup tables of a multiplication for each bit of x, by the radix-4 digits of w, as Yosys 0.23 maps 8 bits by 2, 4, 6
# and 8 for the 7 series (`tests/backends/fpga/test_logic.py`).
TABLES = (0.0, 1.15, 3.3, 7.6, 11.1)


def latency(terms: int) -> int:
    """Clocks from operands to the sum."""
    return 1 + (terms - 1).bit_length()


def sum_bits(terms: int, x_bits: int, w_bits: int) -> int:
    return x_bits + w_bits + (terms - 1).bit_length()


def dot(terms: int, x_bits: int, w_bits: int, multiplier: Multiplier) -> Module:
    """Ports: x and w, `terms` numbers each; y behind `latency` clocks with `en`."""
    name = f"dot_{terms}_s{x_bits}_s{w_bits}_{multiplier}"
    bits = sum_bits(terms, x_bits, w_bits)
    declared, moves, level, width = [], [], 0, x_bits + w_bits
    row = [f"product{place}" for place in range(terms)]
    helper = ""
    if multiplier == "lut":
        helper = product_function(x_bits, w_bits)
    for place, term in enumerate(row):
        x, w = f"x[{place * x_bits} +: {x_bits}]", f"w[{place * w_bits} +: {w_bits}]"
        declared.append(f"  reg signed [{width - 1}:0] {term};")
        value = f"{width}'($signed({x})) * {width}'($signed({w}))" if multiplier == "dsp" else f"times({x}, {w})"
        moves.append(f"      {term} <= {value};")
    while len(row) > 1:
        level, width = level + 1, width + 1
        sums = []
        for place in range(0, len(row), 2):
            term = f"level{level}_{place // 2}"
            pair = row[place : place + 2]
            declared.append(f"  reg signed [{width - 1}:0] {term};")
            total = " + ".join(f"{width}'({one})" for one in pair)
            moves.append(f"      {term} <= {total};")
            sums.append(term)
        row = sums
    declarations, body = "\n".join(declared), "\n".join(moves)
    text = f"""// The sum of {terms} products.
module {name} (
    input  wire clk,
    input  wire en,
    input  wire [{terms * x_bits - 1}:0] x,
    input  wire [{terms * w_bits - 1}:0] w,
    output wire signed [{bits - 1}:0] y
);
{helper}{declarations}
  assign y = {row[0]};
  always @(posedge clk)
    if (en) begin
{body}
    end
endmodule
"""
    return Module(name, text, {})


def estimate(terms: int, x_bits: int, w_bits: int, multiplier: Multiplier) -> Resources:
    width = x_bits + w_bits
    adding = total([adder(width + level).times(-(-terms >> level)) for level in range(1, (terms - 1).bit_length() + 1)])
    if multiplier == "dsp":
        return adding + logic(dsp=terms, ff=0)
    return adding + logic(lut=terms * x_bits * TABLES[-(-w_bits // 2)], ff=terms * width)


def product_function(x_bits: int, w_bits: int) -> str:
    """x * w as a sum of 0, 1, 2 or 3 times x for every two bits of w, the top ones with their sign."""
    bits = x_bits + w_bits
    rows, place = [], 0
    while place < w_bits:
        left = w_bits - place
        if left == 1:
            rows.append((place, f"factor[{place}] ? -one : {bits}'sd0"))
        elif left == 2:
            high, low = f"factor[{place + 1}]", f"factor[{place}]"
            rows.append((place, f"{high} ? ({low} ? -one : -two) : ({low} ? one : {bits}'sd0)"))
        else:
            high, low = f"factor[{place + 1}]", f"factor[{place}]"
            rows.append((place, f"{high} ? ({low} ? three : two) : ({low} ? one : {bits}'sd0)"))
        place += 2
    values = "\n".join(f"      row{number} = {value};" for number, (_, value) in enumerate(rows))
    total = " + ".join(
        f"(row{number} <<< {place})" if place else f"row{number}" for number, (place, _) in enumerate(rows)
    )
    names = ", ".join(["one", "two", "three", *(f"row{number}" for number in range(len(rows)))])
    return f"""  function automatic signed [{bits - 1}:0] times(
      input signed [{x_bits - 1}:0] element, input [{w_bits - 1}:0] factor);
    reg signed [{bits - 1}:0] {names};
    begin
      one = {bits}'(element);
      two = one <<< 1;
      three = one + two;
{values}
      times = {total};
    end
  endfunction
"""
