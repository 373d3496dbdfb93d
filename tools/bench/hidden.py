"""A process that does not see some instruction sets of its processor: every runtime in it computes as on an older one.

CPUID faults, and a library that is preloaded answers it (`hide_cpuid.c`). Linux on Intel's processors can do so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bevel.backends.cpu.levels import LEVELS, known_flags
from bevel.backends.devices import shared_library
from bevel.backends.target import Target
from bevel.calib.errors import UserError

SOURCE = "hide_cpuid.c"
VARIABLE, PRELOAD = "BEVEL_HIDDEN", "LD_PRELOAD"
FAULTS = "cpuid_fault"  # Linux's flag of a processor that can
ANY = 0xFFFFFFFF
ALL = (ANY,) * 4


@dataclass(frozen=True)
class HiddenSet:
    """prefix: what Linux's flags of it begin with; bits: {(leaf, subleaf): those of eax, ebx, ecx, edx}."""

    prefix: str
    bits: Mapping[tuple[int, int], tuple[int, int, int, int]]


def mask(*places: int) -> int:
    return sum(1 << place for place in places)


# Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A, CPUID; 0x24 and bit 19 are of AVX10.
SETS = {
    "amx": HiddenSet(
        "amx",
        {(7, 0): (0, 0, 0, mask(22, 24, 25)), (7, 1): (mask(21), 0, 0, mask(8)), (0x1D, ANY): ALL, (0x1E, ANY): ALL},
    ),
    "avx512": HiddenSet(
        "avx512",
        {
            (7, 0): (0, mask(16, 17, 21, 26, 27, 28, 30, 31), mask(1, 6, 11, 12, 14), mask(2, 3, 8, 23)),
            (7, 1): (mask(5), 0, 0, mask(19)),
            (0x24, ANY): ALL,
        },
    ),
    "avxvnni": HiddenSet("avx_vnni", {(7, 1): (mask(4, 23), 0, 0, mask(4, 10))}),
}


def begin_again(wanted: str) -> Sequence[HiddenSet]:
    """This command anew, in a process without the sets that `wanted` names, with commas between them; in that process,
    those sets. Raises UserError for a set that is none, and where the processor cannot."""
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in SETS:
            raise UserError(f"--hide {name}: there are {', '.join(SETS)}")
    found = [SETS[name] for name in names]
    told = told_to_library(found)
    if os.environ.get(VARIABLE) != told:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **environment(told)})
    return found


def environment(told: str) -> dict[str, str]:
    """Of a process that is without what `told` says. Raises UserError where there is none."""
    if FAULTS not in known_flags():
        raise UserError(f"--hide: CPUID cannot be answered for this processor; Linux shows no {FAULTS} of it")
    compiler = shared_library.host_compiler()
    if compiler is None:
        raise UserError("--hide: no C compiler for this machine; `pip install ziglang` gives one")
    library = shared_library.compiled(compiler, __package__, SOURCE)
    before = os.environ.get(PRELOAD)
    return {VARIABLE: told, PRELOAD: f"{library}:{before}" if before else f"{library}"}


def told_to_library(hidden: Sequence[HiddenSet]) -> str:
    rows = ((place, bits) for one in hidden for place, bits in one.bits.items())
    return "".join(f"{' '.join(f'{number:x}' for number in (*place, *bits))};" for place, bits in rows)


def left_over(target: Target, hidden: Sequence[HiddenSet]) -> Iterator[str]:
    """The levels of a target that need none of them."""
    prefixes = tuple(one.prefix for one in hidden)
    for name in target.levels:
        if name not in LEVELS or not any(flag.startswith(prefixes) for flag in LEVELS[name].flags):
            yield name
