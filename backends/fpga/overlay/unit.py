"""What the overlay is made of: how wide its unit is, its modules, and what they take."""

from __future__ import annotations

from dataclasses import dataclass

from bevel.backends.fpga.logic import logic, memory, queue, total
from bevel.backends.fpga.overlay.assembly import Assembled
from bevel.backends.fpga.stages import dot
from bevel.backends.fpga.stages.dot import Multiplier
from bevel.backends.fpga.stages.weights import Signed
from bevel.backends.fpga.verilog.text import Module
from bevel.backends.program.resources import Resources

LIBRARY = (
    "bevel_overlay",
    "bevel_program_reader",
    "bevel_registers",
    "bevel_tile_loader",
    "bevel_tile_walk",
    "bevel_tile_sums",
    "bevel_tile_results",
    "bevel_rescale",
    "bevel_frame_in",
    "bevel_frame_out",
    "bevel_fifo",
)
CODING = Signed(8)
ROOM = 64  # beats of a program that are asked for or held
PRODUCTS = "bevel_tile_dot"
FIXED = 2  # clocks from a step to its elements
RESULTS = 15  # clocks from sums to the first of their words, but for turns


@dataclass(frozen=True)
class OverlayUnit:
    """lanes x lanes multipliers, blocks or lookup tables, and `per` rescalings beside each other."""

    lanes: int
    per: int
    multiplier: Multiplier

    @property
    def told(self) -> str:
        what = "multiplier blocks" if self.multiplier == "dsp" else "multipliers of tables"
        return f"{self.lanes} x {self.lanes} {what}"

    @property
    def turns(self) -> int:
        """Clocks that a result takes at least."""
        return self.lanes // self.per

    @property
    def latency(self) -> int:
        """Clocks from a result's last step to its word in memory."""
        return FIXED + dot.latency(self.lanes) + RESULTS + self.turns

    @property
    def sum_bits(self) -> int:
        return dot.sum_bits(self.lanes, 8, CODING)

    def products(self) -> Module:
        one = dot.dot(self.lanes, 8, CODING, self.multiplier)
        return Module(PRODUCTS, one.text.replace(f"module {one.name} ", f"module {PRODUCTS} "), {})

    def estimate(self, made: Assembled) -> Resources:
        """Of the design without what stands at its ends."""
        lanes, bus = self.lanes, 8 * self.lanes
        one = dot.estimate(lanes, 8, CODING, self.multiplier) + memory(2 * made.weight_words, bus, True)
        rows = one + logic(lut=32 * 3, ff=32 * 2 + bus)
        if made.network.pairs:
            rows += logic(lut=8)
        scaled = logic(lut=450, ff=480, dsp=4) + memory(2 * self.turns, 69, True)
        if made.network.tables:
            scaled += memory(512 // lanes, bus, True) + logic(lut=bus, ff=16)
        header = -(-72 // lanes) * bus
        control = logic(lut=680 + 3 * bus, ff=header + 680 + 4 * bus)
        if made.network.pairs:
            control += logic(lut=32, ff=22)
        return total(
            [
                rows.times(lanes),
                scaled.times(self.per),
                control,
                queue(ROOM, bus),
                memory(made.words, bus, True),
            ]
        )


MULTIPLIERS: tuple[Multiplier, ...] = ("dsp", "lut")
UNITS = tuple(
    OverlayUnit(lanes, per, multiplier)
    for lanes in (16, 8, 4, 2)
    for per in (4, 2, 1)
    if per <= lanes
    for multiplier in MULTIPLIERS
)
