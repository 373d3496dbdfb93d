"""The arguments of launches: places in the device's memories, and numbers."""

from __future__ import annotations

from dataclasses import dataclass

from bevel.backends.gpu.launched import LaunchNumbers

ARENA, WEIGHTS, MEMORIES = 0, 1, 2  # the device's memories, by number; MEMORIES stands for none


@dataclass(frozen=True)
class Argument:
    """A place in a memory, or a number. `buffer`: that of the program which is read there, if it is one."""

    memory: int
    value: int
    buffer: str = ""


@dataclass(frozen=True)
class Row:
    """One launch with its arguments."""

    started: LaunchNumbers
    arguments: tuple[Argument, ...]
