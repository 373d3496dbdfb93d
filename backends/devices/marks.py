"""Instructions of programs in QEMU's user-mode emulation, by a plugin that counts between marks (mark_plugin.c)."""

from __future__ import annotations

from pathlib import Path
from statistics import median_low

import numpy as np

from bevel.backends.binary import elf
from bevel.backends.devices import qemu_plugin
from bevel.backends.devices.base import CallCost, instructions
from bevel.backends.program.resources import NOTHING, Resources

SOURCE = "mark_plugin.c"
MARK = "bevel_mark"  # the function in harness.c
HEAD = 2  # intervals before the first run: up to the first mark, and one with nothing in it


def arguments(command: str, harness: Path, counts: Path) -> tuple[str, ...]:
    """What makes the emulator `command` write the instructions between the marks of `harness` to `counts`; nothing
    where it takes no plugin, or the program's addresses are not known before it runs."""
    found = elf.read(harness)
    mark = found.find(MARK)
    if mark is None or not mark.size or not found.fixed or not qemu_plugin.usable(command):
        return ()
    return qemu_plugin.loading(SOURCE, {"out": counts, "mark": mark.address, "size": mark.size})


def read(counts: Path, vectors: int) -> tuple[Resources, tuple[CallCost, ...]]:
    """Instructions of one run, the median over `vectors`, and of each call; nothing where none were counted."""
    if not counts.exists():
        return NOTHING, ()
    intervals = np.fromfile(counts, np.uint64).astype(np.int64)
    runs = intervals[HEAD + 1 : HEAD + 2 * vectors : 2] - intervals[HEAD - 1]
    calls = intervals[HEAD + 2 * vectors + 1 :]
    per_call = tuple(CallCost(call, instructions(count)) for call, count in enumerate(calls))
    return instructions(median_low(runs)), per_call
