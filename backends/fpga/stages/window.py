"""The sliding window unit: an image's pixels in, in the order of memory; the elements of each window out.

    pixels -> padding -> lines of the rows before -> columns of kernel rows -> a ring of columns, read once a window

The padded image is walked pixel by pixel; padding is put in where it stands, and takes no input. Memories of one row
each hold what came before, so that with each pixel there is a column of the kernel's height. Columns of the rows that
end a window go into a ring, which holds two windows' width at least: the next row's first window fills it while the
last of this row is read, and more where rows pass that end no window, as between frames. Each window is read by
`order`:

    product     kx, fold, kyg: all channels of a window, for one sum
    by channel  fold, kx, kyg: a few channels of a window after the other (depthwise products and pools)

in beats of `rows` rows of the kernel x `lanes` channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bevel.backends.fpga.logic import logic, memory, register_slice, total
from bevel.backends.fpga.stage import Phase, PhasedStage, Steps, in_order
from bevel.backends.fpga.verilog.text import HardwareCounter, Module, count_bits, counters, number, ports
from bevel.backends.program.resources import Resources

READ_LATENCY = 2  # from a step to its beat
FILL_LATENCY = 2  # from a pixel to its column in the ring
SLACK = 0.005  # of a frame's cycles that may pass without a window before the ring gets longer


@dataclass(frozen=True)
class Geometry:
    """As an operator has it: pads are (top, left, bottom, right)."""

    height: int
    width: int
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    positions: tuple[int, int]

    @property
    def trivial(self) -> bool:
        """Whether windows are the pixels as they come."""
        return self.kernel == (1, 1) and self.strides == (1, 1) and not any(self.pads)

    @property
    def padded(self) -> tuple[int, int]:
        top, left, bottom, right = self.pads
        return self.height + top + bottom, self.width + left + right

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns from a window's first to its last."""
        (kh, kw), (dy, dx) = self.kernel, self.dilations
        return (kh - 1) * dy + 1, (kw - 1) * dx + 1

    @property
    def columns(self) -> int:
        """Of the padded image that any window reads."""
        return (self.positions[1] - 1) * self.strides[1] + self.reach[1]


@dataclass(frozen=True)
class WindowStage(PhasedStage):
    """inputs: one stream of an image, lanes channels a beat; output: rows x lanes elements a beat. fill: what padding
    holds; pace: the cycles in which what follows takes a window."""

    geometry: Geometry = field(kw_only=True)
    pace: int = field(kw_only=True)
    rows: int = field(kw_only=True)
    by_channel: bool = field(kw_only=True)
    fill: int = field(kw_only=True)

    @property
    def width(self) -> int:
        """Channels of a beat that comes in."""
        return self.inputs[0].lanes

    @property
    def folds(self) -> int:
        return self.geometry.channels // self.width

    @cached_property
    def ring(self) -> int:
        """Columns that it holds, a power of two: the windows' that wait there while rows pass that end none."""
        g = self.geometry
        ring = 1 << (max(2 * g.reach[1], g.reach[1] + g.strides[1]) - 1).bit_length()
        while ring < g.columns and self.waiting(ring) > SLACK * self.busy:
            ring *= 2
        return ring

    @property
    def period(self) -> int:
        """Cycles of a window."""
        return max(self.pace, self.window_steps)

    @property
    def busy(self) -> int:
        """Cycles of a frame but for those in which no window is there."""
        g = self.geometry
        return max(g.padded[0] * g.padded[1] * self.folds, g.positions[0] * g.positions[1] * self.period)

    def waiting(self, ring: int) -> int:
        """Cycles of a frame in which no window is there, as rows pass that end none: those between its windows, and
        the first ones and the last."""
        g = self.geometry
        (tall, wide), rows = g.padded, g.positions[0]
        hidden = (ring - g.reach[1]) // g.strides[1] * self.period
        passing = (g.strides[0] - 1, g.reach[0] - 1 + tall - 1 - self.last_row)
        between, around = (max(0, count * wide * self.folds - hidden) for count in passing)
        idle = self.busy - g.positions[0] * g.positions[1] * self.period
        return max(0, (rows - 1) * between + around - idle)

    def reading(self) -> list[HardwareCounter]:
        """The counters of a window, the innermost first."""
        rows = HardwareCounter("part", self.geometry.kernel[0] // self.rows)
        kx, fold = HardwareCounter("kx", self.geometry.kernel[1]), HardwareCounter("fold", self.folds)
        return [rows, kx, fold] if self.by_channel else [rows, fold, kx]

    @property
    def window_steps(self) -> int:
        return (self.geometry.kernel[0] // self.rows) * self.geometry.kernel[1] * self.folds

    def phases(self) -> Sequence[Phase]:
        """Pixels of the padded image; then the windows. The ring between them has an end: see `timing.windowed`."""
        g, folds = self.geometry, self.folds
        (tall, wide), (top, left, _, _) = g.padded, g.pads
        row, column = np.divmod(np.repeat(np.arange(tall * wide), folds), wide)
        on_image = (row >= top) & (row < top + g.height) & (column >= left) & (column < left + g.width)
        ends = (row - g.reach[0] + 1) % g.strides[0] == 0
        used = ends & (row >= g.reach[0] - 1) & (row <= self.last_row) & (column < g.columns)
        fill = Phase((np.cumsum(on_image),), np.flatnonzero(used).astype(np.int64), FILL_LATENCY)
        steps: Steps = np.repeat(self.columns_needed * folds, self.window_steps)
        return fill, Phase((steps,), in_order(len(steps)) - 1, READ_LATENCY)

    @property
    def columns_needed(self) -> Steps:
        """How many columns of a frame each window waits for, [windows]."""
        g = self.geometry
        oy, ox = np.divmod(np.arange(g.positions[0] * g.positions[1], dtype=np.int64), g.positions[1])
        ahead = np.where(ox < g.positions[1] - 1, max(g.reach[1], g.strides[1]), g.reach[1])
        found: Steps = oy * g.columns + ox * g.strides[1] + ahead
        return found

    @property
    def columns_freed(self) -> Steps:
        """How many columns of a frame are free behind each window, [windows]."""
        g = self.geometry
        oy, ox = np.divmod(np.arange(g.positions[0] * g.positions[1], dtype=np.int64), g.positions[1])
        found: Steps = oy * g.columns + np.where(ox < g.positions[1] - 1, (ox + 1) * g.strides[1], g.columns)
        return found

    @property
    def cycles(self) -> int:
        return self.busy + self.waiting(self.ring)

    def estimate(self) -> Resources:
        g, width = self.geometry, self.inputs[0].width
        lines = (g.kernel[0] - 1) * g.dilations[0]
        found = [memory(g.padded[1] * self.folds, width, True)] * lines
        slots = self.ring * (1 << (self.folds - 1).bit_length())
        found.append(memory(slots, g.kernel[0] * width, True))
        found.append(register_slice(self.output.width))
        chosen = self.output.width if g.kernel[0] > self.rows else 0
        return total(found) + logic(lut=width * bool(any(g.pads)) + chosen + 110, ff=40)

    @property
    def last_row(self) -> int:
        """The padded image's last row that ends a window."""
        return (self.geometry.positions[0] - 1) * self.geometry.strides[0] + self.geometry.reach[0] - 1

    def modules(self) -> Sequence[Module]:
        return (Module(self.name, "\n".join((self.header(), self.filling(), self.draining(), "endmodule\n")), {}),)

    def header(self) -> str:
        g = self.geometry
        given = ports(self.inputs[0].width, self.output.width)
        return f"""// Windows of {g.kernel[0]} x {g.kernel[1]} pixels of {g.height} x {g.width} x {g.channels}, \
{self.width} channels a beat, padded by {self.fill}.
module {self.name} (
{given});"""

    def filling(self) -> str:
        """From pixels to columns in the ring."""
        g, width = self.geometry, self.inputs[0].width
        (tall, wide), folds = g.padded, self.folds
        walk = [HardwareCounter("in_fold", folds), HardwareCounter("column", wide), HardwareCounter("row", tall)]
        bits = {one.name: one.bits for one in walk}
        top, left, _, _ = g.pads
        tests = []
        for name, first, length, whole in (("row", top, g.height, tall), ("column", left, g.width, wide)):
            tests += [f"{name} >= {number(first, bits[name])}"] if first else []
            tests += [f"{name} < {number(first + length, bits[name])}"] if first + length < whole else []
        lanes = self.inputs[0].lanes
        fill = f"{{{lanes}{{{number(self.fill & ((1 << self.inputs[0].bits) - 1), self.inputs[0].bits)}}}}}"
        return f"""
  // The padded image, pixel by pixel.
  wire step;
{counters(walk, "step")}
  wire on_image = {" && ".join(tests) or "1'b1"};
  wire [{width - 1}:0] pixel = {"on_image ? s_data : " + fill if tests else "s_data"};
{self.lines()}
{self.choosing()}
"""

    def lines(self) -> str:
        """What came before, a row each."""
        g, width, row = self.geometry, self.inputs[0].width, self.geometry.padded[1] * self.folds
        (kh, _), (dy, _) = g.kernel, g.dilations
        count = (kh - 1) * dy
        taps = ["pixel"] + [f"line{(k + 1) * dy - 1}" for k in range(kh - 1)]
        column = f"  wire [{kh * width - 1}:0] tall = {{{', '.join(taps)}}};"
        if not count:
            return column
        names = [f"line{place}" for place in range(count)]
        before = ["pixel", *names[:-1]]
        declared = "\n".join(f"  reg [{width - 1}:0] {name};" for name in names)
        if row == 1:
            moves = "\n".join(f"      {name} <= {source};" for name, source in zip(names, before, strict=True))
            return f"{declared}\n  always @(posedge clk)\n    if (step) begin\n{moves}\n    end\n{column}"
        memories = "\n".join(f"  reg [{width - 1}:0] {name}_row[0:{row - 1}];" for name in names)
        at = HardwareCounter("at", row)
        moves = "\n".join(
            f"      {name}_row[at] <= {source};\n      {name} <= {name}_row[next_at];"
            for name, source in zip(names, before, strict=True)
        )
        return f"""
  // The rows before: each is read one pixel ahead of where it is written.
{counters([at], "step")}
  wire [{at.bits - 1}:0] next_at = at_last ? {number(0, at.bits)} : at + {number(1, at.bits)};
{declared}
{memories}
  always @(posedge clk)
    if (step) begin
{moves}
    end
{column}"""

    def choosing(self) -> str:
        """Which columns go into the ring, and where."""
        g, ring = self.geometry, self.ring
        reach, stride, tall = g.reach[0], g.strides[0], g.padded[0]
        row_bits, column_bits = count_bits(tall), count_bits(g.padded[1])
        used = [f"column < {number(g.columns, column_bits)}"] if g.columns < g.padded[1] else []
        phase = ""
        if stride > 1:
            bits = count_bits(max(stride, reach))
            first = number(reach - 1, bits)
            phase = f"""
  reg [{bits - 1}:0] until_end;  // rows before one that ends a window
  always @(posedge clk)
    if (rst) until_end <= {first};
    else if (step && in_fold_last && column_last)
      until_end <= row_last ? {first} : until_end == {number(0, bits)} ? {number(stride - 1, bits)} : until_end - \
{number(1, bits)};"""
            used.append(f"until_end == {number(0, bits)}")
        elif reach > 1:
            used.append(f"row >= {number(reach - 1, row_bits)}")
        if self.last_row < tall - 1:
            used.append(f"row <= {number(self.last_row, row_bits)}")
        slot = HardwareCounter("slot", ring)
        held = count_bits(ring + 1)
        return f"""{phase}
  // Columns that windows read go into the ring.
  wire used = {" && ".join(used) or "1'b1"};
  reg [{held - 1}:0] held;
  assign step = (s_valid || !on_image) && (!used || held != {number(ring, held)});
  assign s_ready = on_image && (!used || held != {number(ring, held)});
  wire put = step && used;
  wire put_column = put && in_fold_last;
{counters([slot], "put_column")}"""

    def draining(self) -> str:
        """From the ring to windows."""
        g, width, ring, kh = self.geometry, self.inputs[0].width, self.ring, self.geometry.kernel[0]
        walk = [*self.reading(), HardwareCounter("ox", g.positions[1])]
        place, fold = count_bits(ring), count_bits(self.folds) if self.folds > 1 else 0
        held, column, beat = count_bits(ring + 1), kh * width, self.rows * width
        reach, stride = g.reach[1], g.strides[1]
        along = f"{place}'(kx)" if g.reach[1] == g.kernel[1] else f"{place}'(kx) * {number(g.dilations[1], place)}"
        parts = kh // self.rows
        into, out_of = ("{slot, in_fold}", "{from, fold}") if self.folds > 1 else ("slot", "from")
        select = f"word[part_read * {beat} +: {beat}]" if parts > 1 else "word"
        part = HardwareCounter("part", parts).bits
        ends = " && ".join(f"{one.name}_last" for one in self.reading())
        enough = f"held >= {number(reach, held)}"
        if stride > reach:  # what a window frees must have come
            enough = f"held >= (ox_last ? {number(reach, held)} : {number(stride, held)})"
        return f"""
  // The ring, read once for each window.
  reg [{column - 1}:0] ring[0:{(1 << (place + fold)) - 1}];
  reg [{column - 1}:0] word;
  reg [{part - 1}:0] part_read;
  reg read;
  wire room;
  wire get;
{counters(walk, "get")}
  assign get = {enough} && (!read || room);
  wire done = get && {ends};
  wire [{held - 1}:0] freed = !done ? {number(0, held)} : ox_last ? {number(reach, held)} : {number(stride, held)};
  reg [{place - 1}:0] base;  // the slot of the window's first column
  wire [{place - 1}:0] from = base + {along};
  always @(posedge clk) begin
    if (put) ring[{into}] <= tall;
    if (get) begin
      word <= ring[{out_of}];
      part_read <= part;
    end
  end
  always @(posedge clk)
    if (rst) begin
      held <= {number(0, held)};
      base <= {number(0, place)};
      read <= 1'b0;
    end else begin
      held <= held + {held}'(put_column) - freed;
      base <= base + {place}'(freed);
      if (get) read <= 1'b1;
      else if (room) read <= 1'b0;
    end
{self.leaving(beat, select)}"""

    def leaving(self, beat: int, select: str) -> str:
        """A register slice between the ring and what reads it."""
        return f"""  bevel_skid #(
      .WIDTH({beat})
  ) out (
      .clk(clk),
      .rst(rst),
      .s_data({select}),
      .s_valid(read),
      .s_ready(room),
      .m_data(m_data),
      .m_valid(m_valid),
      .m_ready(m_ready)
  );"""
