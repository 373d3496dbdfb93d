"""What is published about how long each core takes for an instruction, as parameters of one simple pipeline.

All assume memory without wait states: no flash waits, no cache misses, no contention on a bus. They are estimates.

Cortex-M4     Arm 100166_0001 (Cortex-M4 TRM), 3.3.1, table 3-1, and 3.3.2 "Load/store timings"; floating point 7.2.3,
              table 7-1. The pipeline refill P is given as 1 to 3; 2 here. A divide takes 2 to 12; 6 here.
Cortex-M0+    Arm DDI 0484 (Cortex-M0+ TRM), 3.3, table 3-1, with the single-cycle multiplier.
Cortex-M33    no table is published. Armv8-M's three-stage successor of the M4: the M4's table, but a load takes one
              cycle plus one where the next instruction needs it. Pairs of 16-bit instructions, which it may issue
              together in some cases, are not counted on: an upper bound there.
Cortex-M7     no table is published. Two instructions a cycle in order (Arm DDI 0489, 1.2), paired by rules measured by
              M. Owen, "Cortex-M7 instruction cycle counts, timings, and dual-issue combinations" (quinapalus.com): one
              memory access, one multiplication and one branch a cycle, parallel arithmetic only as the first of a
              pair, no pair where the second needs the first. What a load or a multiplication gives can be used two
              cycles later, a sum that is only added to one cycle later. Branches are predicted.
Cortex-M55    Arm 101051 (Cortex-M55 TRM), 2.1: Helium executes two of four beats a cycle, so a vector instruction
              takes two cycles, and one that uses the other unit (memory or arithmetic) than its predecessor overlaps
              it by one. Scalar code as on the M33; the end of a low-overhead loop is free after the first turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bevel.backends.cortex_m.timing.thumb import Kind

# Kinds that keep a core for longer than a cycle, wherever they do.
DIVISION, REFILL = 6, 2


@dataclass(frozen=True)
class Timing:
    """`cycles`: how long a kind keeps the core busy, 1 if not given; `per_word`: and for each word moved.

    `wait`: cycles until the next instruction could use the result, beyond the first. `taken`: cycles that a taken
    branch adds. `pairs`: whether two instructions may start together. `streams`: whether a load or store directly after
    another takes a single cycle. `overlap`: what a vector instruction saves behind one of the other unit.
    """

    source: str
    cycles: Mapping[Kind, int]
    per_word: Mapping[Kind, int] = field(default_factory=dict)
    wait: Mapping[Kind, int] = field(default_factory=dict)
    taken: Mapping[Kind, int] = field(default_factory=dict)
    pairs: bool = False
    streams: bool = False
    overlap: int = 0


REFILLS = {Kind.BRANCH: REFILL, Kind.INDIRECT: REFILL}
FLOATS = {Kind.FLOAT_ACCUMULATE: 3, Kind.FLOAT_DIVIDE: 14}
WORDS = {Kind.LOAD_MANY: 1, Kind.STORE_MANY: 1}

CORES: Mapping[str, Timing] = {
    "cortex-m0plus": Timing(
        source="Cortex-M0+ TRM, table 3-1",
        cycles={Kind.LOAD: 2, Kind.STORE: 2, Kind.BRANCH: 1, Kind.INDIRECT: 1, Kind.SYSTEM: 3},
        per_word=WORDS,
        taken={Kind.BRANCH: 1, Kind.INDIRECT: 1},
    ),
    "cortex-m4": Timing(
        source="Cortex-M4 TRM, table 3-1",
        cycles={Kind.LOAD: 2, Kind.DIVIDE: DIVISION, Kind.SYSTEM: 2, **FLOATS},
        per_word=WORDS,
        taken=REFILLS,
        streams=True,
    ),
    "cortex-m33": Timing(
        source="as Cortex-M4 TRM, table 3-1, with loads of one cycle",
        cycles={Kind.DIVIDE: DIVISION, Kind.SYSTEM: 2, **FLOATS},
        per_word=WORDS,
        wait={Kind.LOAD: 1},
        taken=REFILLS,
    ),
    "cortex-m7": Timing(
        source="a simple dual-issue model",
        cycles={Kind.DIVIDE: DIVISION, Kind.SYSTEM: 2, **FLOATS},
        per_word=WORDS,
        wait={Kind.LOAD: 1, Kind.MULTIPLY: 1},
        pairs=True,
    ),
    "cortex-m55": Timing(
        source="Cortex-M55 TRM, 2.1: two cycles a vector instruction",
        cycles={
            Kind.DIVIDE: DIVISION,
            Kind.SYSTEM: 2,
            Kind.VECTOR: 2,
            Kind.VECTOR_LOAD: 2,
            Kind.VECTOR_STORE: 2,
            Kind.LOOP: 0,
            Kind.FLOAT_DIVIDE: 14,
        },
        per_word=WORDS,
        wait={Kind.LOAD: 1},
        taken=REFILLS,
        overlap=1,
    ),
}
