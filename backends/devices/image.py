"""A firmware image as simulators see it: its bytes with given test vectors in place, and its symbols by address."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

from bevel.backends.binary import elf
from bevel.backends.binary.artifact import Artifact
from bevel.backends.binary.elf import Elf
from bevel.backends.devices.base import Vectors
from bevel.backends.firmware import VECTORS_SECTION
from bevel.backends.firmware.vectors import pack

THUMB = 1  # the lowest bit of a function's address in the symbol table


@dataclass(frozen=True)
class Image:
    elf: Elf

    def address(self, symbol: str) -> int:
        """Where a function's first instruction is. Raises ValueError where the firmware has no such symbol."""
        found = self.elf.find(symbol)
        if found is None:
            raise ValueError(f"the firmware has no symbol {symbol}")
        return found.address & ~THUMB

    @cached_property
    def functions(self) -> tuple[tuple[int, str], ...]:
        found = [(symbol.address & ~THUMB, symbol.name) for symbol in self.elf.symbols if symbol.function]
        return tuple(sorted(found))

    def code(self, address: int, size: int) -> bytes:
        """What a loader puts at an address. Raises ValueError where that is nothing."""
        for segment in self.elf.segments:
            at = address - segment.address
            if at >= 0 and at + size <= len(segment.data):
                return segment.data[at : at + size]
        raise ValueError(f"the firmware has no {size} bytes at {address:#010x}")

    def symbol_at(self, address: int) -> str:
        """The function an address lies in, as `name+offset`."""
        place = bisect_right(self.functions, (address & ~THUMB, chr(0x10FFFF))) - 1
        if place < 0:
            return "no function"
        start, name = self.functions[place]
        return f"{name}+{(address & ~THUMB) - start:#x}"


def load(artifact: Artifact, vectors: Vectors) -> Image:
    """The artifact's firmware with `vectors` for its test vectors.

    Raises ValueError where the artifact has no firmware, or where it has no room for so many vectors.
    """
    if artifact.firmware is None:
        raise ValueError(f"{artifact.model} was built for {artifact.target} without firmware")
    original = elf.read(artifact.folder / artifact.firmware)
    section = next(section for section in original.sections if section.name == VECTORS_SECTION)
    inputs, outputs = ([slot.port for slot in slots] for slots in (artifact.inputs, artifact.outputs))
    data = pack(vectors, inputs, outputs, artifact.reset is not None)
    if len(data) > section.size:
        raise ValueError(f"{len(vectors)} vectors need {len(data)} bytes; the firmware holds {section.size}")
    return Image(Elf(original.data[: section.offset] + data + original.data[section.offset + len(data) :]))
