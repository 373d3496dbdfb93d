"""What of a multiprocessor a kernel's work-groups fill, by what its machine code takes: known without running it.

A multiprocessor keeps so many warps of 32 threads, so many work-groups, and so many registers, which warps are given in
portions (CUDA C++ Programming Guide, "Compute Capabilities"; the portions are those of NVIDIA's occupancy calculator).
"""

from __future__ import annotations

from bevel.backends.gpu.chip import Chip

WARP = 32  # threads
REGISTERS_TOGETHER, WARPS_TOGETHER = 256, 4  # a warp is given registers, and a multiprocessor warps, by so many


def occupancy(chip: Chip, threads: int, registers: int) -> float:
    """The most warps of a kernel that a multiprocessor keeps, as a part of those that it can keep. `threads`: of a
    work-group; `registers`: of a thread."""
    warps = -(-threads // WARP)
    given = -(-max(registers, 1) * WARP // REGISTERS_TOGETHER) * REGISTERS_TOGETHER
    room = chip.registers // given // WARPS_TOGETHER * WARPS_TOGETHER
    groups = min(chip.groups, chip.warps // warps, room // warps)
    return groups * warps / chip.warps
