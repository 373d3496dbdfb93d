"""Words that no stream brings: a memory that is read in order, again and again."""

from __future__ import annotations

from bevel.backends.fpga.logic import style
from bevel.backends.fpga.verilog.text import HardwareCounter, counters, number


def in_turn(counter: HardwareCounter, go: str, words: str, width: int, file: str, word: str) -> str:
    """Verilog of a memory `words` with the contents of `file`, and of `word`, its word for this cycle.

    A cycle's word is the next one behind a cycle in which `go`; it is read ahead, as a memory answers a cycle later.
    """
    at, values = counter.name, counter.values
    ahead = f"{at}_last ? {number(0, counter.bits)} : {at} + {number(1, counter.bits)}"
    return f"""{counters([counter], go)}
  {style(values, width)}reg [{width - 1}:0] {words}[0:{values - 1}];
  initial $readmemh("{file}", {words});
  reg [{width - 1}:0] {word};
  always @(posedge clk) {word} <= {words}[{go} ? ({ahead}) : {at}];"""
