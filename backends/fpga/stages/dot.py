"""Sums of products of signed numbers, a register behind every multiplication and every level of additions.

Multiplications that are to become lookup tables are written out, as weights are spelled (`weights.py`). For multiplier
blocks they are `*`.
"""

from __future__ import annotations

from typing import Literal

from bevel.backends.fpga.logic import additions, logic, total
from bevel.backends.fpga.stages.weights import Coding
from bevel.backends.fpga.verilog.text import Module
from bevel.backends.program.resources import Resources

Multiplier = Literal["dsp", "lut"]


def latency(terms: int) -> int:
    """Clocks from operands to the sum."""
    return 1 + (terms - 1).bit_length()


def sum_bits(terms: int, x_bits: int, coding: Coding) -> int:
    return x_bits + coding.value_bits + (terms - 1).bit_length()


def dot(terms: int, x_bits: int, coding: Coding, multiplier: Multiplier) -> Module:
    """Ports: x and w, `terms` numbers each; y behind `latency` clocks with `en`."""
    name = f"dot_{terms}_s{x_bits}_{coding.name}_{multiplier}"
    bits, w_bits = sum_bits(terms, x_bits, coding), coding.bits
    declared: list[str] = []
    moves: list[str] = []
    width = x_bits + coding.value_bits
    row = [f"product{place}" for place in range(terms)]
    for place, term in enumerate(row):
        x, w = f"x[{place * x_bits} +: {x_bits}]", f"w[{place * w_bits} +: {w_bits}]"
        declared.append(f"  reg signed [{width - 1}:0] {term};")
        value = f"{width}'($signed({x})) * {width}'($signed({w}))" if multiplier == "dsp" else f"times({x}, {w})"
        moves.append(f"      {term} <= {value};")
    for level in range(1, latency(terms)):
        row = added(row, f"level{level}", width + level, declared, moves)
    helper = coding.function(x_bits) if multiplier == "lut" else ""
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


def added(row: list[str], name: str, width: int, declared: list[str], moves: list[str]) -> list[str]:
    """A level of additions by twos: its sums' names; their declarations and moves are appended."""
    sums = []
    for place in range(0, len(row), 2):
        sums.append(f"{name}_{place // 2}")
        declared.append(f"  reg signed [{width - 1}:0] {sums[-1]};")
        value = " + ".join(f"{width}'({one})" for one in row[place : place + 2])
        moves.append(f"      {sums[-1]} <= {value};")
    return sums


def estimate(terms: int, x_bits: int, coding: Coding, multiplier: Multiplier) -> Resources:
    width = x_bits + coding.value_bits
    adding = total([additions(terms, level, width + level) for level in range(1, (terms - 1).bit_length() + 1)])
    if multiplier == "dsp":
        return adding + logic(dsp=terms, ff=0)
    return adding + logic(lut=terms * coding.tables(x_bits), ff=terms * width)
