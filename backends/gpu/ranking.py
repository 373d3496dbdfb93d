"""How long a call may take, to rank kernels that compute the same where nothing can be timed: an estimate, no more.

    seconds = max(bytes moved / bytes a second,  sum of launches of  (products + accesses) / part of the chip in use)

Products take what the chip multiplies at most, as in roofline.py. An access, a read or write of one thread that is not
its own memory's, takes twice what a dp4a takes: a multiprocessor starts 32 of them a clock, and 64 dp4a (CUDA C++
Programming Guide, "Arithmetic Instructions", and its load and store units). A launch uses that part of the chip which
its work-groups fill while they run in turns, as many at a time as occupancy allows; half of the warps that a
multiprocessor can keep are taken to hide what accesses wait for. Caches, banks and what a launch takes to begin are not
in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bevel.backends.gpu.chip import Chip
from bevel.backends.gpu.kernels.words import WORD
from bevel.backends.gpu.launched import LaunchNumbers
from bevel.backends.gpu.occupancy import WARP

ACCESS = 2 * WORD  # products of int8 by dp4a in the time of an access
HIDING = 0.5  # of the warps that a multiprocessor keeps


def estimated_seconds(
    chip: Chip, launches: Sequence[LaunchNumbers], occupied: Mapping[str, float], moved: int, products: float
) -> float | None:
    """Of a call whose products alone take `products` seconds; `occupied`: the occupancy of each device function. None
    where the chip, or what its compiler made, is not known."""
    if not chip.multiprocessors or any(one.function not in occupied for one in launches):
        return None
    total = sum(one.accesses for one in launches)
    busy = 0.0
    for one in launches:
        share = one.accesses / total if total else 0.0
        alone = products * share + one.accesses * ACCESS / chip.dot_macs_per_s
        busy += alone / in_use(chip, one.groups, one.threads, occupied[one.function])
    return max(moved / chip.bytes_per_s, busy)


def in_use(chip: Chip, groups: int, threads: int, occupancy: float) -> float:
    """The part of the chip's speed that a launch has. `threads`: of each of `groups` work-groups."""
    warps = -(-threads // WARP)
    together = max(1, round(occupancy * chip.warps / warps)) * chip.multiprocessors
    turns = -(-groups // together)
    kept = groups * warps / (turns * chip.multiprocessors)
    return min(1.0, kept / (HIDING * chip.warps)) * min(1.0, threads / (warps * WARP))
