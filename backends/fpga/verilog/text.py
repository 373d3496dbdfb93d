"""Pieces of Verilog text: names, widths, numbers, nested counters, images of memories."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

RESERVED = """
accept_on always and assert assign before begin bind bit buf byte case cell class clocking config const cover
default design disable do edge else end enum event expect export extends extern final first_match for force
forever fork function generate genvar global if iff import initial inout input inside instance int integer
interface join let library local logic longint loop macromodule matches module nand negedge new nor not null or
output package packed parameter posedge primitive priority program property protected pull0 pull1 pulldown
pullup pure rand real realtime ref reg release repeat restrict return scalared sequence shortint shortreal
signed small specify static strong struct super supply0 supply1 table tagged task this throughout time
timeprecision timeunit tran tri trior type typedef union unique unsigned until untyped use var vectored virtual
void wait wand weak while wildcard wire with within wor xnor xor
"""
KEYWORDS = frozenset(RESERVED.split())
SIGNALS = frozenset(("clk", "rst", "top", "bench"))


class Module(NamedTuple):
    """A module of Verilog, and the memory images that it reads by their file names."""

    name: str
    text: str
    memories: dict[str, str]


class HardwareCounter(NamedTuple):
    """A counter through so many values, from 0 on."""

    name: str
    values: int

    @property
    def bits(self) -> int:
        return count_bits(self.values)


def identifier(name: str) -> str:
    """`name` as an identifier of Verilog."""
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "node"
    return f"n_{plain}" if plain[0].isdigit() or plain in KEYWORDS or plain in SIGNALS else plain


def unique(names: Iterable[str], longest: int = 40) -> list[str]:
    """Identifiers for names, no two the same; of long ones the end, which tells most."""
    found: dict[str, None] = {}
    for name in names:
        base = identifier(identifier(name)[-longest:])
        place, number = base, 1
        while place in found:
            number += 1
            place = f"{base}_{number}"
        found[place] = None
    return list(found)


def signed_bits(low: int, high: int) -> int:
    """The bits of a signed number that may be anything in [low, high]."""
    return max(int(high if high >= 0 else 0).bit_length(), int(~low if low < 0 else 0).bit_length()) + 1


def count_bits(count: int) -> int:
    """The bits of a number from 0 to count - 1; 1 at least, as Verilog has no vector of none."""
    return max(1, (count - 1).bit_length())


def number(value: int, bits: int) -> str:
    """An unsigned constant of a width."""
    return f"{bits}'d{value}"


def signed_number(value: int, bits: int) -> str:
    """A signed constant of a width."""
    if value == -(1 << (bits - 1)):
        return f"{bits}'sh{1 << (bits - 1):x}"  # its magnitude alone would not fit
    return f"-{bits}'sd{-value}" if value < 0 else f"{bits}'sd{value}"


def counters(order: Sequence[HardwareCounter], enable: str) -> str:
    """Nested counters, the innermost first, that go on where `enable`; <name>_last: whether one is at its end."""
    declared = [declaration(one) for one in order]
    moving = [one for one in order if one.values > 1]
    if not moving:
        return "\n".join(declared)
    resets = "\n".join(f"      {one.name} <= {number(0, one.bits)};" for one in moving)
    body, depth = [], 3
    for place, one in enumerate(moving):
        pad = "  " * depth
        step = f"{one.name} <= {one.name}_last ? {number(0, one.bits)} : {one.name} + {number(1, one.bits)};"
        body.append(f"{pad}{step}")
        if place + 1 < len(moving):
            body.append(f"{pad}if ({one.name}_last) begin")
            depth += 1
    body += ["  " * level + "end" for level in range(depth - 1, 2, -1)]
    stepping = "\n".join(body)
    return "\n".join(
        [
            *declared,
            "  always @(posedge clk)",
            "    if (rst) begin",
            resets,
            f"    end else if ({enable}) begin",
            stepping,
            "    end",
        ]
    )


def declaration(one: HardwareCounter) -> str:
    width = f"[{one.bits - 1}:0]"
    if one.values == 1:
        return f"  wire {width} {one.name} = {number(0, one.bits)};\n  wire {one.name}_last = 1'b1;"
    end = f"  wire {one.name}_last = {one.name} == {number(one.values - 1, one.bits)};"
    return f"  reg {width} {one.name};\n{end}"


def image(words: Iterable[Sequence[int]], bits: int) -> str:
    """A memory's contents for $readmemh: a line a word, of elements of `bits` bits, the first of them lowest."""
    lines, mask = [], (1 << bits) - 1
    for elements in words:
        word = 0
        for place, element in enumerate(elements):
            word |= (int(element) & mask) << (place * bits)
        lines.append(f"{word:0{-(-len(elements) * bits // 4)}x}")
    return "\n".join(lines) + "\n"


def port_letters(count: int) -> str:
    """The names of so many inputs: s where there is one, else a, b, ..."""
    return "s" if count == 1 else "abcdefghijkl"[:count]


def widened(data: str, lanes: int, bits: int, to: int) -> str:
    """Signed elements beside each other, with more bits each."""
    if bits == to:
        return data
    of_lane = (f"{to}'($signed({data}[{lane * bits}+:{bits}]))" for lane in reversed(range(lanes)))
    return f"{{{', '.join(of_lane)}}}"


def ports(inputs: int | Mapping[str, int], out_width: int) -> str:
    """The ports of a module between streams of these widths; inputs that have no other names are s."""
    named = {"s": inputs} if isinstance(inputs, int) else inputs
    given = "".join(
        f"    input  wire [{width - 1}:0] {name}_data,\n    input  wire {name}_valid,\n    output wire {name}_ready,\n"
        for name, width in named.items()
    )
    return (
        "    input  wire clk,\n    input  wire rst,\n"
        + given
        + f"    output wire [{out_width - 1}:0] m_data,\n    output wire m_valid,\n    input  wire m_ready\n"
    )
