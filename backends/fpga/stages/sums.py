"""What is on its way through a pipeline: beats, and which terms of sums."""

from __future__ import annotations


def on_the_way(depth: int, taken: str, first: str, last: str) -> str:
    """Verilog of live, first and last [depth:1], which go along with a term that is `taken` and may be the first or the
    last of its sum; whole: its sum is there, in the cycle behind the last term's product."""
    return f"""
  // Products and sums.
  reg [{depth}:1] live, first, last;
  reg whole;
  always @(posedge clk)
    if (rst) begin
      live  <= {depth}'d0;
      whole <= 1'b0;
    end else if (en) begin
      live  <= {{live[{depth - 1}:1], {taken}}};
      whole <= live[{depth}] && last[{depth}];
    end
  always @(posedge clk)
    if (en) begin
      first <= {{first[{depth - 1}:1], {first}}};
      last  <= {{last[{depth - 1}:1], {last}}};
    end"""


def coming(latency: int, taken: str) -> str:
    """Verilog of the beats that come `latency` clocks with `en` behind those that are `taken`, and of m_valid."""
    return f"""  reg [{latency}:1] coming;
  always @(posedge clk)
    if (rst) coming <= {latency}'d0;
    else if (en) coming <= {{coming[{latency - 1}:1], {taken}}};
  assign m_valid = coming[{latency}];"""
