"""The part of an ELF file that sizes, simulators and symbol tables need. Little-endian, 32 and 64 bit.

Layouts are those of the System V ABI, chapter 4 (object files) and chapter 5 (program header).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PT_LOAD = 1
SHT_NULL = 0
SHT_SYMTAB = 2
SHT_NOBITS = 8
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
STT_FUNC = 2
ET_EXEC = 2


@dataclass(frozen=True)
class Section:
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    entry_size: int

    @property
    def allocated(self) -> bool:
        return bool(self.flags & SHF_ALLOC)

    @property
    def writable(self) -> bool:
        return bool(self.flags & SHF_WRITE)

    @property
    def has_bytes(self) -> bool:
        """Whether its contents are stored (.data), not only its size (.bss)."""
        return self.type != SHT_NOBITS


@dataclass(frozen=True)
class Segment:
    """Bytes to load at `address`; memory beyond the data, up to `memory_size`, is zero. `physical` is where the
    initial bytes are stored: flash, for variables that the start-up code copies to RAM."""

    address: int
    physical: int
    data: bytes
    memory_size: int


@dataclass(frozen=True)
class Symbol:
    """`address` of an Arm Thumb function has its lowest bit set, as in the file."""

    name: str
    address: int
    size: int
    type: int
    section: int

    @property
    def function(self) -> bool:
        return self.type == STT_FUNC


@dataclass(frozen=True)
class Elf:
    data: bytes

    def __post_init__(self) -> None:
        if self.data[:4] != b"\x7fELF" or self.data[5] != 1:
            raise ValueError("not a little-endian ELF file")

    @property
    def wide(self) -> bool:
        return self.data[4] == 2

    @cached_property
    def header(self) -> tuple[int, ...]:
        return struct.unpack_from("<HHIQQQIHHHHHH" if self.wide else "<HHIIIIIHHHHHH", self.data, 16)

    @property
    def fixed(self) -> bool:
        """Whether it is a program that runs at the addresses that it says."""
        return self.header[0] == ET_EXEC

    @property
    def entry(self) -> int:
        return self.header[3]

    @property
    def section_headers(self) -> range:
        """Where the headers of sections begin."""
        start, size, count = self.header[5], self.header[10], self.header[11]
        return range(start, start + size * count, size) if count else range(0)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        layout = "<IIQQQQIIQQ" if self.wide else "<IIIIIIIIII"
        raw = [struct.unpack_from(layout, self.data, at) for at in self.section_headers]
        strings = raw[self.header[12]][4] if raw else 0
        return tuple(
            Section(
                self.text(strings + r[0]), r[1], r[2], address=r[3], offset=r[4], size=r[5], link=r[6], entry_size=r[9]
            )
            for r in raw
        )

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """What a loader puts into memory, in file order."""
        offset, size, count = self.header[4], self.header[8], self.header[9]
        return tuple(
            found for index in range(count) if (found := self.segment(offset + size * index)) and found.memory_size
        )

    def segment(self, at: int) -> Segment | None:
        if self.wide:
            kind, _, start, address, physical, stored, memory = struct.unpack_from("<IIQQQQQ", self.data, at)
        else:
            kind, start, address, physical, stored, memory = struct.unpack_from("<IIIIII", self.data, at)
        return Segment(address, physical, self.data[start : start + stored], memory) if kind == PT_LOAD else None

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """The named entries of the symbol table, in file order."""
        table = next((section for section in self.sections if section.type == SHT_SYMTAB), None)
        if table is None:
            return ()
        strings = self.sections[table.link].offset
        places = range(table.offset, table.offset + table.size, table.entry_size)
        return tuple(symbol for at in places if (symbol := self.symbol(at, strings)).name)

    def symbol(self, at: int, strings: int) -> Symbol:
        if self.wide:
            name, info, _, section, address, size = struct.unpack_from("<IBBHQQ", self.data, at)
        else:
            name, address, size, info, _, section = struct.unpack_from("<IIIBBH", self.data, at)
        return Symbol(self.text(strings + name), address, size, info & 15, section)

    def find(self, name: str) -> Symbol | None:
        """The defined symbol called `name`."""
        return next((symbol for symbol in self.symbols if symbol.name == name and symbol.section), None)

    def bytes_of(self, section: Section) -> bytes:
        return self.data[section.offset : section.offset + section.size] if section.has_bytes else bytes(section.size)

    def text(self, at: int) -> str:
        return self.data[at : self.data.index(b"\0", at)].decode()


def read(path: Path) -> Elf:
    """Raises ValueError for anything but a little-endian ELF file."""
    return Elf(path.read_bytes())


def without_sections(data: bytes, name: str) -> bytes:
    """An object file in which the headers of sections of this name are inactive, as the ABI has it for SHT_NULL."""
    elf, changed = Elf(data), bytearray(data)
    for at, section in zip(elf.section_headers, elf.sections, strict=True):
        if section.name == name:
            struct.pack_into("<II", changed, at, 0, SHT_NULL)
    return bytes(changed)
