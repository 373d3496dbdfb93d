"""One table of integers for many layers: those of a wide format take a kilobyte, and layers differ in a few entries.

Layers whose values together still fit the codes of one of them are coded alike. That is also taken for one with shorter
codes, where its own table costs more than its longer codes do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from bevel.backends.encodings.coded import CodedWeights, filled
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array
from bevel.backends.program.program import Call, Program


@runtime_checkable
class Tabled(Protocol):
    """An operator whose weights may be codes of a table."""

    def table_of(self, constants: tuple[Array, ...]) -> CodedWeights | None:
        """The weights of a call with these constants, if a table, and nothing else, says what their codes mean."""
        ...

    def recoded(self, stored: CodedWeights, constants: tuple[Array, ...]) -> Special:
        """For a call with these constants: the operator and constants for the same weights in other codes."""
        ...


@dataclass(frozen=True)
class TableGroup:
    """Calls that are to share a table: their places in the program, and every value that they have."""

    bits: int
    dtype: str
    calls: tuple[int, ...]
    values: Array

    def joined(self, other: TableGroup) -> TableGroup | None:
        """With a group of codes that are no longer, or None where the values would be too many."""
        values = np.union1d(self.values, other.values)
        if other.bits > self.bits or other.dtype != self.dtype or len(values) > 2**self.bits:
            return None
        return replace(self, calls=(*self.calls, *other.calls), values=values)


def share_tables(program: Program) -> Program:
    """`program` with as few tables as its coded weights need."""
    found = {}
    for index, call in enumerate(program.calls):
        stored = call.kernel.table_of(call.constants) if isinstance(call.kernel, Tabled) else None
        if stored is not None:
            found[index] = stored
    changed = dict(enumerate(program.calls))
    for group in grouped(found):
        if len(group.calls) > 1:
            changed |= {index: recoded(program.calls[index], found[index], group) for index in group.calls}
    return replace(program, calls=tuple(changed.values()))


def grouped(found: dict[int, CodedWeights]) -> list[TableGroup]:
    """Each call in the first group that takes it at a gain, the longest codes first."""
    groups: list[TableGroup] = []
    for index, stored in sorted(found.items(), key=lambda one: -one[1].coding.bits):
        alone = TableGroup(stored.coding.bits, stored.coding.dtype, (index,), np.unique(stored.values()))
        for place, group in enumerate(groups):
            joined = group.joined(alone)
            if joined is not None and gain(stored, joined.bits) > 0:
                groups[place] = joined
                break
        else:
            groups.append(alone)
    return groups


def gain(stored: CodedWeights, bits: int) -> int:
    """Bytes that codes of `bits` bits without a table of their own save."""
    table = 0 if stored.table is None else stored.table.nbytes
    return table - stored.codes.size * (bits - stored.coding.bits) // 8


def recoded(call: Call, stored: CodedWeights, group: TableGroup) -> Call:
    """`call` with the group's table."""
    assert isinstance(call.kernel, Tabled)
    coding = replace(stored.coding, bits=group.bits)
    codes = np.searchsorted(group.values, stored.values()).astype(np.uint16)
    stored = CodedWeights(coding, codes, filled(group.values, 2**group.bits, coding.dtype))
    special = call.kernel.recoded(stored, call.constants)
    return replace(call, kernel=special.kernel, constants=special.constants)
