"""From how often each block of code was executed to a number of cycles: an estimate, never a measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bevel.backends.cortex_m.timing.cores import Timing
from bevel.backends.cortex_m.timing.thumb import BRANCHES, LOADS, STORES, Instruction, Kind, decode

MEMORY = LOADS | STORES
SINGLE = frozenset({Kind.LOAD, Kind.STORE})
VECTOR_MEMORY = frozenset({Kind.VECTOR_LOAD, Kind.VECTOR_STORE})
VECTORS = VECTOR_MEMORY | {Kind.VECTOR}
# What starts alone on a core that starts pairs.
ALONE = frozenset({Kind.LOAD_MANY, Kind.STORE_MANY, Kind.DIVIDE, Kind.SYSTEM, Kind.FLOAT_ACCUMULATE, Kind.FLOAT_DIVIDE})


@dataclass(frozen=True)
class Block:
    """Straight-line code of `size` bytes: how often it ran, and how often what follows it in memory ran next."""

    address: int
    size: int
    executed: int
    fell_through: int


def total_cycles(blocks: Iterable[Block], read: Callable[[int, int], bytes], timing: Timing) -> int:
    """Cycles of all executions; `read(address, size)` gives code. A block that went elsewhere took its branch."""
    total = 0
    for block in blocks:
        code = list(decode(read(block.address, block.size)))
        if code:
            taken = timing.taken.get(code[-1].kind, 0) * (block.executed - block.fell_through)
            total += block_cycles(code, timing) * block.executed + taken
    return total


def block_cycles(code: Iterable[Instruction], timing: Timing) -> int:
    """Cycles of one pass through straight-line code from an empty pipeline, its branch not taken.

    Each instruction starts when the one before it no longer keeps the core busy and its operands are ready, or, on a
    core that starts pairs, together with the one before it.
    """
    free, start = 0, 0  # the first cycle that nothing keeps busy; when the instruction before started
    ready: dict[int, int] = {}  # register: the first cycle that can read it
    before: Instruction | None = None
    for one in code:
        wanted = max(
            (ready.get(register, 0) - early(one, register, timing) for register in members(one.reads)), default=0
        )
        together = before is not None and timing.pairs and pair(before, one) and wanted <= start
        if not together:
            start = max(free, wanted)
            free = start + busy(one, before, timing)
        for register in members(one.writes):
            ready[register] = start + busy(one, before, timing) + timing.wait.get(one.kind, 0)
        before = None if together else one  # a pair is complete
    return free


def busy(one: Instruction, before: Instruction | None, timing: Timing) -> int:
    """How long an instruction keeps the core from starting the next."""
    cycles = timing.cycles.get(one.kind, 1)
    if one.words > 1 or one.kind in timing.per_word:
        cycles += timing.per_word.get(one.kind, 1) * one.words
    if before is None:
        return cycles
    if timing.streams and one.kind in SINGLE and before.kind in SINGLE:
        return 1
    if one.kind in VECTORS and before.kind in VECTORS and (one.kind in VECTOR_MEMORY) != (before.kind in VECTOR_MEMORY):
        return cycles - timing.overlap
    return cycles


def early(one: Instruction, register: int, timing: Timing) -> int:
    """A sum that a multiplication only adds to is forwarded to it."""
    return timing.wait.get(Kind.MULTIPLY, 0) if one.addend >> register & 1 else 0


def pair(first: Instruction, second: Instruction) -> bool:
    """Whether the two may start in one cycle, as far as their units and results allow."""
    if first.kind in ALONE | BRANCHES or second.kind in ALONE | {Kind.DSP}:
        return False
    if first.writes & (second.reads | second.writes):
        return False
    both = (first.kind, second.kind)
    return not any(all(kind in unit for kind in both) for unit in (MEMORY, {Kind.MULTIPLY, Kind.DSP}, {Kind.FLOAT}))


def members(mask: int) -> list[int]:
    return [register for register in range(16) if mask >> register & 1]
