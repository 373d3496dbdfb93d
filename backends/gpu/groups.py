"""Threads of a work-group as a choice that tuning makes for a kernel, written down as a flag: `group=128`.

A kernel computes the same in groups of any size: threads know nothing of each other, and those of a warp that multiply
matrices together are neighbours in groups of whole warps.
"""

from __future__ import annotations

from collections.abc import Iterable

from bevel.backends.gpu.chip import Chip

SIZES = (32, 64, 128, 256)  # whole warps, and no more than any GPU of today takes
FLAG = "group="


def choices(chip: Chip) -> tuple[tuple[str, ...], ...]:
    """The flags to try: none, which is the chip's own size, then each other size."""
    return ((), *((f"{FLAG}{size}",) for size in SIZES if size != chip.group))


def group_of(flags: Iterable[str], chip: Chip) -> int:
    """Of a work-group. Raises ValueError for a flag that is no such size."""
    sizes = [int(one.removeprefix(FLAG)) for one in flags if one.startswith(FLAG)]
    if sizes != [size for size in sizes if size in SIZES] or len(sizes) != len(tuple(flags)) or len(sizes) > 1:
        raise ValueError(f"flags {tuple(flags)} of a GPU's kernel: one of {FLAG}{', '.join(map(str, SIZES))}")
    return sizes[0] if sizes else chip.group
