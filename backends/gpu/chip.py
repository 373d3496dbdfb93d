"""What a target's file says of a GPU, `[gpu]`: how it is spoken to, and what its kernels are made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from bevel.backends.target import Target


@dataclass(frozen=True)
class Chip:
    """`language`: TVM's name of the device's language. `group`: threads of a work-group, a multiple of what the device
    runs in step. `narrow`: whether products of 64 bits are several instructions. `matrices`: whether the
    threads of a warp multiply matrices of int8 together. `arch`: nvcc's name of it. The most that it moves
    to and from its memory, and multiplies of int8 by dp4a and by matrices; its multiprocessors, and the most warps,
    work-groups and registers that each keeps; 0 where that is not known."""

    language: str
    group: int = 64
    narrow: bool = False
    matrices: bool = False
    arch: str = ""
    bytes_per_s: float = 0
    dot_macs_per_s: float = 0
    matrix_macs_per_s: float = 0
    multiprocessors: int = 0
    warps: int = 0
    groups: int = 0
    registers: int = 0

    @property
    def tvm(self) -> Mapping[str, str]:
        """TVM's target."""
        return {"kind": self.language} | ({"arch": self.arch} if self.arch else {})


def chip_of(target: Target) -> Chip:
    """Raises ValueError for a key that no GPU has: the file is wrong."""
    known = {one.name for one in fields(Chip)}
    if unknown := set(target.gpu) - known:
        raise ValueError(f"target {target.name}: [gpu] has {sorted(unknown)}; it may have {sorted(known)}")
    return Chip(**target.gpu)
