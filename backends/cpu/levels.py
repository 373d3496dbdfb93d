"""Instruction sets beyond a target's own that a library may use where the machine at hand has them.

A kernel with loops for some of them is compiled for each and once for the target itself, over the same operands; a
function in C asks the processor once, and calls the best that it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bevel.backends.target import Target


@dataclass(frozen=True)
class Level:
    """`features`: what TVM's LLVM adds to the target; `test`: whether the processor has it, in C (`PROCESSOR`);
    `flags`: how Linux calls what it takes, in /proc/cpuinfo."""

    name: str
    cpu: str
    features: tuple[str, ...]
    test: str
    flags: tuple[str, ...]

    def llvm(self, target: Mapping[str, Any]) -> dict[str, Any]:
        """`target` of TVM with this level."""
        return {**target, "mcpu": self.cpu, "mattr": list(self.features)}

    def here(self) -> bool:
        """Whether this machine has it; False where nobody knows."""
        return set(self.flags) <= known_flags()


@cache
def known_flags() -> frozenset[str]:
    """All words that Linux has for this machine's processor."""
    information = Path("/proc/cpuinfo")
    return frozenset(information.read_text(encoding="utf-8").split() if information.exists() else [])


AMX_INT8 = Level(
    "amxint8",
    "x86-64-v4",
    ("+avx512vnni", "+amx-tile", "+amx-int8"),
    "bevel_has_amxint8()",
    ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni", "amx_tile", "amx_int8"),
)
AVX512_VNNI = Level(
    "avx512vnni",
    "x86-64-v4",
    ("+avx512vnni",),
    "bevel_has_avx512vnni()",
    ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"),
)
AVX_VNNI = Level("avxvnni", "x86-64-v3", ("+avxvnni",), "bevel_has_avxvnni()", ("avx2", "fma", "avx_vnni"))

LEVELS = {one.name: one for one in (AMX_INT8, AVX512_VNNI, AVX_VNNI)}  # the best first


def at_hand(target: Target) -> list[Level]:
    """What this machine has of the levels that `target` takes, the best first."""
    return [LEVELS[name] for name in target.levels if name in LEVELS and LEVELS[name].here()]


# Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, sections 14.3 and 15.2: a set of vectors may
# be used if cpuid has its bit, and if XCR0 says that the operating system saves its registers.
PROCESSOR = """\
#include <cpuid.h>
#include <stdint.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

__attribute__((unused)) static uint64_t bevel_saved_registers(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c >> 27 & 1) == 0) return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

__attribute__((unused)) static int bevel_has_avx512vnni(void) {
  unsigned a, b, c, d;
  if ((bevel_saved_registers() & 0xE6) != 0xE6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  const unsigned wanted = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* F, DQ, CD, BW, VL */
  return (b & wanted) == wanted && (c >> 11 & 1) != 0;
}

__attribute__((unused)) static int bevel_has_avxvnni(void) {
  unsigned a, b, c, d;
  if ((bevel_saved_registers() & 0x6) != 0x6 || !__get_cpuid_count(7, 1, &a, &b, &c, &d)) return 0;
  return (a >> 4 & 1) != 0;
}

/* Linux saves tiles for a process that has asked for them: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). */
__attribute__((unused)) static int bevel_has_amxint8(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
  unsigned a, b, c, d;
  if (!bevel_has_avx512vnni() || (bevel_saved_registers() & 0x60000) != 0x60000) return 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d >> 24 & 1) == 0 || (d >> 25 & 1) == 0) return 0;
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
  return 0;
#endif
}
"""
