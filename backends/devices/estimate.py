"""Blocks that a simulator saw executed, as cycles at the target's clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bevel.backends.cortex_m.timing.cores import CORES
from bevel.backends.cortex_m.timing.estimate import Block, total_cycles
from bevel.backends.devices.base import Estimate
from bevel.backends.target import Target


def estimate(target: Target, blocks: Iterable[Block], read: Callable[[int, int], bytes], runs: int) -> Estimate | None:
    """Cycles of the average of `runs` inferences; None for a core that is not described, or that has no clock."""
    timing = CORES.get(target.cpu)
    if timing is None or target.clock_hz is None or not runs:
        return None
    return Estimate(round(total_cycles(blocks, read, timing) / runs), target.clock_hz, timing.source)
