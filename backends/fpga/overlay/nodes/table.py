"""A function of one tensor of codes of 8 bits."""

from __future__ import annotations

from bevel.backends.fpga.overlay.layout import PixelLayout
from bevel.backends.fpga.overlay.windows import AS_IT_IS, ElementSums, OverlaySums
from bevel.backends.program.ops.table import Table
from bevel.backends.program.program import Call


def windows(call: Call, given: tuple[PixelLayout, ...]) -> OverlaySums | str:
    op = call.kernel
    if not isinstance(op, Table) or op.dtype != "int8":
        return "a function of int16 has no hardware yet"
    return ElementSums(given[0], AS_IT_IS, table=call.constants[0])
