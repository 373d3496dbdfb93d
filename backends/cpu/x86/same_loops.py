"""What kernels for x86 share whose loops are the same for every instruction set: LLVM makes longer vectors of them for
AVX-512."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bevel.backends.cpu.levels import AVX512_VNNI
from bevel.backends.program.kernel import LeveledKernel


@dataclass(frozen=True)
class SameLoops(LeveledKernel):
    @property
    def levels(self) -> tuple[str, ...]:
        return (AVX512_VNNI.name,)

    def build_at(self, name: str, level: str) -> Any:
        return self.build(name)
