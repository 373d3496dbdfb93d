"""Products of two signed numbers of up to 34 bits, in parts that one multiplier block takes each.

    (a1 * 2**17 + a0) * (b1 * 2**17 + b0)  ==  (a1 * b1 << 34) + ((a1 * b0 + a0 * b1) << 17) + a0 * b0

The lower parts are unsigned, of 17 bits: with a sign what a block of 18 bits takes.
"""

from __future__ import annotations

from bevel.backends.fpga.verilog.text import Module

LOW_BITS = 17
LATENCY = 3  # registers from factors to the product


def blocks(a_bits: int, b_bits: int) -> int:
    """Multiplier blocks of a product."""
    return (1 + (a_bits > LOW_BITS + 1)) * (1 + (b_bits > LOW_BITS + 1))


def product(a_bits: int, b_bits: int) -> Module:
    """Ports: a, b; y behind LATENCY clocks with `en`."""
    name, bits = f"product_s{a_bits}_s{b_bits}", a_bits + b_bits
    upper = {port: max(width - LOW_BITS, 1) for port, width in (("a", a_bits), ("b", b_bits))}
    splits = []
    for port, width in (("a", a_bits), ("b", b_bits)):
        split = width > LOW_BITS + 1
        low = f"$signed({{1'b0, {port}[{LOW_BITS - 1}:0]}})" if split else port
        high = f"{port}[{width - 1}:{LOW_BITS}]" if split else "1'b0"
        lows = LOW_BITS + 1 if split else width
        splits.append(f"  wire signed [{lows - 1}:0] {port}_low = {low};")
        splits.append(f"  wire signed [{upper[port] - 1}:0] {port}_high = {high};")
    split_lines = "\n".join(splits)
    text = f"""// a * b, in parts of {LOW_BITS} bits.
module {name} (
    input  wire clk,
    input  wire en,
    input  wire signed [{a_bits - 1}:0] a,
    input  wire signed [{b_bits - 1}:0] b,
    output reg signed [{bits - 1}:0] y
);
{split_lines}
  reg signed [{bits - 1}:0] low, middle1, middle2, high, ends, middle;
  always @(posedge clk)
    if (en) begin
      low     <= {bits}'(a_low) * {bits}'(b_low);
      middle1 <= {bits}'(a_high) * {bits}'(b_low);
      middle2 <= {bits}'(a_low) * {bits}'(b_high);
      high    <= {bits}'(a_high) * {bits}'(b_high);
      ends    <= (high <<< {2 * LOW_BITS}) + low;
      middle  <= middle1 + middle2;
      y       <= ends + (middle <<< {LOW_BITS});
    end
endmodule
"""
    return Module(name, text, {})


def instance(a_bits: int, b_bits: int, name: str, a: str, b: str, y: str, en: str = "en") -> str:
    return f"""  product_s{a_bits}_s{b_bits} {name} (
      .clk(clk),
      .en({en}),
      .a({a}),
      .b({b}),
      .y({y})
  );"""
