"""Tensors one behind the other along an axis: so many beats of each in turn, from a stream or from a memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bevel.backends.fpga.logic import logic, memory, total
from bevel.backends.fpga.stage import Phase, PhasedStage, Steps
from bevel.backends.fpga.stages.kept import in_turn
from bevel.backends.fpga.verilog.text import (
    HardwareCounter,
    Module,
    counters,
    image,
    number,
    port_letters,
    ports,
    widened,
)
from bevel.backends.program.op import Array
from bevel.backends.program.resources import Resources

LATENCY = 1


@dataclass(frozen=True, eq=False)
class JoinStage(PhasedStage):
    """parts: the beats of each part in a turn; held: the codes of those that no stream brings, by their place."""

    parts: tuple[int, ...] = field(kw_only=True)
    held: dict[int, Array] = field(kw_only=True)

    @property
    def streams(self) -> list[int]:
        """The parts that come in, in the order of the inputs."""
        return [place for place in range(len(self.parts)) if place not in self.held]

    @property
    def which(self) -> Steps:
        """The part of each beat of a frame."""
        turn = np.repeat(np.arange(len(self.parts)), self.parts)
        return np.tile(turn, self.output.beats // len(turn))

    @property
    def following(self) -> Steps:
        """The next stream behind each constant part: no frame begins before anything of it is there; -1 of others."""
        found = np.full(len(self.parts), -1)
        for place in self.held:
            found[place] = min((stream for stream in self.streams if stream > place), default=-1)
        return found

    def phases(self) -> Sequence[Phase]:
        which = self.which
        needs = tuple(np.cumsum(which == place) + (self.following[which] == place) for place in self.streams)
        return (Phase(needs, np.arange(self.output.beats, dtype=np.int64), LATENCY),)

    @property
    def cycles(self) -> int:
        return self.output.beats

    def words(self, place: int) -> int:
        return self.held[place].size // self.output.lanes

    def estimate(self) -> Resources:
        width = self.output.width
        memories = [memory(self.words(place), width, False) for place in self.held]
        return total([*memories, logic(lut=width * len(self.parts) / 2 + 20, ff=width + 20)])

    def modules(self) -> Sequence[Module]:
        lanes, bits, width = self.output.lanes, self.output.bits, self.output.width
        names = port_letters(len(self.streams))
        at, taken = HardwareCounter("at", sum(self.parts)), iter(zip(names, self.inputs, strict=True))
        pieces, data, valid, first = [], [], [], 0
        for place, count in enumerate(self.parts):
            pieces.append(self.turn(place, first, at.bits))
            if place in self.held:
                pieces.append(self.held_part(place))
                data.append(f"held{place}")
                behind = int(self.following[place])
                valid.append(f"{names[self.streams.index(behind)]}_valid" if behind >= 0 else "1'b1")
            else:
                name, stream = next(taken)
                pieces.append(f"  assign {name}_ready = go && turn{place};")
                data.append(widened(f"{name}_data", lanes, stream.bits, bits))
                valid.append(f"{name}_valid")
            first += count
        body = "\n".join(pieces)
        given = {name: stream.width for name, stream in zip(names, self.inputs, strict=True)}
        memories = {
            f"{self.name}_{place}.mem": image(codes.reshape(-1, lanes).tolist(), bits)
            for place, codes in self.held.items()
        }
        text = f"""// Tensors one behind the other, {" and ".join(map(str, self.parts))} beats of each in turn.
module {self.name} (
{ports(given, width)});
  wire en = !m_valid || m_ready;
  wire there = {chosen(valid)};
  wire go = en && there;
{counters([at], "go")}
{body}
  reg coming;
  reg [{width - 1}:0] found;
  assign m_valid = coming;
  assign m_data = found;
  always @(posedge clk) if (en) found <= {chosen(data)};
  always @(posedge clk)
    if (rst) coming <= 1'b0;
    else if (en) coming <= there;
endmodule
"""
        return (Module(self.name, text, memories),)

    def turn(self, place: int, first: int, bits: int) -> str:
        """Whether it is a part's turn, whose first beat is `first`."""
        tests = [f"at >= {number(first, bits)}"] if first else []
        tests += [f"at < {number(first + self.parts[place], bits)}"] if place < len(self.parts) - 1 else []
        mine = " && ".join(tests) or "1'b1"
        return f"  wire turn{place} = {mine};"

    def held_part(self, place: int) -> str:
        """A constant part."""
        word, file = HardwareCounter(f"word{place}", self.words(place)), f"{self.name}_{place}.mem"
        return in_turn(word, f"go && turn{place}", f"part{place}", self.output.width, file, f"held{place}")


def chosen(of_parts: Sequence[str]) -> str:
    """That of the part whose turn it is."""
    *others, last = of_parts
    return "".join(f"turn{place} ? {one} : " for place, one in enumerate(others)) + last
