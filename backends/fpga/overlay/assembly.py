"""The program that the overlay reads: where each tensor lies, and the tiles that make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from bevel.backends.fpga.overlay.network import OverlayEnd, OverlayNetwork, alike
from bevel.backends.fpga.overlay.tile import REACH, ComputeTile, MoveTile, Tile
from bevel.backends.program.placement import ALIGNMENT, Lifetime, LivePart, Placed, place
from bevel.calib.errors import UserError

LEAST = 2  # words of a memory


@dataclass(frozen=True, eq=False)
class Assembled:
    """steps: the tiles of each step; words: of activations that are held at once."""

    network: OverlayNetwork
    lanes: int
    loads: tuple[MoveTile, ...]
    steps: tuple[tuple[ComputeTile, ...], ...]
    stores: tuple[MoveTile, ...]
    words: int

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        return (*self.loads, *(tile for tiles in self.steps for tile in tiles), *self.stores)

    @property
    def weight_words(self) -> int:
        """Of a bank, a power of two."""
        most = max((len(tile.weights) for tiles in self.steps for tile in tiles), default=LEAST)
        return max(LEAST, 1 << (most - 1).bit_length())

    @cached_property
    def beats(self) -> int:
        return sum(tile.beats(self.lanes) for tile in self.tiles)

    def image(self) -> str:
        """The program in memory, a beat a line, its first byte lowest."""
        data = b"".join(tile.image(self.lanes) for tile in self.tiles)
        rows = (data[at : at + self.lanes][::-1].hex() for at in range(0, len(data), self.lanes))
        return "\n".join(rows) + "\n"


def assembled(network: OverlayNetwork, lanes: int) -> Assembled:
    """Raises UserError where a tensor lies other than it is read."""
    for error in alike(network, lanes):
        raise error
    places, words = placed(network, lanes)
    steps = []
    for step in network.steps:
        inputs, out = [places[name] for name in step.inputs], places[step.output]
        first, *others = step.windows.tiles(lanes, inputs, out)
        steps.append((replace(first, waits=True), *others))
    loads, stores = moves("load", network.inputs, places, lanes), moves("store", network.outputs, places, lanes)
    return Assembled(network, lanes, loads, tuple(steps), stores, words)


def moves(
    kind: Literal["load", "store"], ends: Sequence[OverlayEnd], places: Mapping[str, int], lanes: int
) -> tuple[MoveTile, ...]:
    last = len(ends) - 1
    return tuple(
        MoveTile(
            kind,
            number,
            places[end.tensor],
            end.layout.words(lanes),
            first=kind == "load" and number == 0,
            last=kind == "store" and number == last,
        )
        for number, end in enumerate(ends)
    )


def placed(network: OverlayNetwork, lanes: int) -> tuple[Mapping[str, int], int]:
    """Where each tensor begins, and how many words there are."""
    names = list(network.tensors)
    parts = [part(network, name, lanes) for name in names]
    times = range(len(network.steps) + 2)
    bound = max(sum(one.size for one in parts if one.first <= time <= one.last) for time in times)
    found = place([(one,) for one in parts], bound)
    words = max(LEAST, found.end // ALIGNMENT)
    if words >= REACH:
        raise UserError(
            f"{network.name}: its activations take {words:,} words of {lanes} bytes; an address has 16 bits"
        )
    return {name: found.offsets[number] // ALIGNMENT for number, name in enumerate(names)}, words


def part(network: OverlayNetwork, name: str, lanes: int) -> Placed:
    """A tensor, from what makes it to its last reader; a word is as one unit of placement."""
    size = network.tensors[name].words(lanes) * ALIGNMENT
    made = [time for time, step in enumerate(network.steps, 1) if step.output == name]
    read = [time for time, step in enumerate(network.steps, 1) if name in step.inputs]
    read += [len(network.steps) + 1 for end in network.outputs if end.tensor == name]
    life = Lifetime(min(made, default=0), max([*made, *read], default=0))
    return Placed(name, size, (LivePart(0, size, life),))
