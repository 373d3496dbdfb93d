"""Rows that are worked on in three parts, each on a row of its own at any time:

    taken, an element a beat  ->  worked on, for so many cycles  ->  given, an element a beat

What the first part finds of a row (its largest element, sums) is handed to the second, and what that finds to the
third. Elements are kept in a memory of four rows, of which three are in use.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bevel.backends.fpga.stage import Stage, Steps, begins
from bevel.backends.fpga.verilog.text import count_bits, number

ROWS = 4  # that the memory of elements holds


@dataclass(frozen=True, eq=False)
class RowStage(Stage):
    """inputs: rows of n elements, one a beat; output: the same."""

    n: int = field(kw_only=True)

    @property
    @abstractmethod
    def work(self) -> int:
        """Cycles that a row is worked on."""

    @property
    @abstractmethod
    def latency(self) -> int:
        """Clocks from an element's turn to its result."""

    @property
    def cycles(self) -> int:
        return self.inputs[0].elements // self.n * (max(self.n, self.work) + 1)

    @property
    def place_bits(self) -> int:
        return count_bits(self.n)

    def through(self, ready: Sequence[Steps], frames: int) -> tuple[list[Steps], Steps]:
        rows = ready[0].reshape(-1, self.n)
        taken, given = np.zeros_like(rows), np.zeros(len(rows), np.int64)
        free = work_free = give_free = 0
        for row, times in enumerate(rows):
            taken[row] = begins(np.maximum(times, free))
            begun = max(int(taken[row, -1]) + 1, work_free, given[row - 1] if row else 0)
            given[row] = max(begun + self.work + 1, give_free)
            free, work_free, give_free = begun + 1, begun + self.work + 1, int(given[row]) + self.n
        out = given[:, np.newaxis] + 1 + np.arange(self.n) + self.latency
        return [taken.reshape(-1)], out.reshape(-1)

    def control(self) -> str:
        """take, work_at and give: that an element is taken, which cycle of its work a row is in, that an element's turn
        has come; begin_work and begin_give: that a row goes from part to part."""
        place, step = self.place_bits, count_bits(self.work)
        end, none = number(self.n - 1, place), number(0, place)
        return f"""
  reg [{place - 1}:0] take_at, give_at;
  reg [{step - 1}:0] work_at;
  reg [1:0] take_row, work_row, give_row;
  reg full, working, done, giving;  // a row is taken; worked on; that is done; given
  wire en = !m_valid || m_ready;
  assign s_ready = !full;
  wire take = s_valid && s_ready;
  wire take_last = take_at == {end};
  wire give = giving && en;
  wire give_last = give && give_at == {end};
  wire begin_give = done && (!giving || give_last);
  wire begin_work = full && !working && (!done || begin_give);
  wire work_last = work_at == {number(self.work - 1, step)};
  reg [{self.latency}:1] coming;
  assign m_valid = coming[{self.latency}];
  always @(posedge clk)
    if (rst) coming <= {self.latency}'d0;
    else if (en) coming <= {{coming[{self.latency - 1}:1], giving}};
  always @(posedge clk)
    if (rst) begin
      take_at  <= {none};
      give_at  <= {none};
      work_at  <= {number(0, step)};
      take_row <= 2'd0;
      work_row <= 2'd0;
      give_row <= 2'd0;
      full     <= 1'b0;
      working  <= 1'b0;
      done     <= 1'b0;
      giving   <= 1'b0;
    end else begin
      if (take) take_at <= take_last ? {none} : take_at + {number(1, place)};
      full <= (take && take_last) || (full && !begin_work);
      if (begin_work) begin
        work_row <= take_row;
        take_row <= take_row + 2'd1;
        work_at  <= {number(0, step)};
      end else if (working && !work_last) begin
        work_at <= work_at + {number(1, step)};
      end
      working <= begin_work || (working && !work_last);
      done <= (working && work_last) || (done && !begin_give);
      if (begin_give) give_row <= work_row;
      giving <= begin_give || (giving && !give_last);
      if (give) give_at <= give_last ? {none} : give_at + {number(1, place)};
    end"""
