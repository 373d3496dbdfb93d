"""What kernels for x86 share that look words up in tables: 16 at a time, by AVX-512's gathers or by two of AVX2's.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, VPGATHERDD.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cpu.levels import AVX512_VNNI
from bevel.backends.encodings.quads import BLOCK
from bevel.backends.program.kernel import LeveledKernel, Unpacked
from bevel.backends.program.op import Array, Operand, Role
from bevel.backends.tir.functions import prim_func

WORDS = {AVX512_VNNI.name: BLOCK}  # of a vector
OWN_WORDS = 8


@dataclass(frozen=True)
class Gathering(Unpacked, LeveledKernel):
    """The operands of `plain`, with an entry more in each of `tables`: their 16 bits are read by words. Loops depend on
    how many words a vector has."""

    tables: ClassVar[tuple[str, ...]]

    @property
    def levels(self) -> tuple[str, ...]:
        return tuple(WORDS)

    @abstractmethod
    def loops(self, words: int, buffers: tuple[Any, ...]) -> None:
        """TIR of all outputs; one buffer of one axis for each operand."""

    def build(self, name: str) -> Any:
        return prim_func(name, self.operands(), partial(self.loops, OWN_WORDS))

    def build_at(self, name: str, level: str) -> Any:
        return prim_func(name, self.operands(), partial(self.loops, WORDS[level]))

    def operands(self) -> tuple[Operand, ...]:
        return tuple(
            replace(one, shape=(one.size + 1,)) if one.name in self.tables else one for one in self.plain.operands()
        )

    def reference(self, *arrays: Array) -> Array:
        return self.plain.reference(*self.changed(lambda table: table[:-1], arrays, Role.INPUT, Role.CONSTANT))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return self.changed(longer, self.plain.example(rng), Role.INPUT, Role.CONSTANT)

    def packed(self, constants: Sequence[Array]) -> tuple[Array, ...]:
        """The constants of `plain`."""
        return self.changed(longer, constants, Role.CONSTANT)

    def changed(self, change: Callable[[Array], Array], arrays: Sequence[Array], *roles: Role) -> tuple[Array, ...]:
        """The arrays of all operands of some roles, `tables` among them as `change` makes them."""
        named = zip(self.plain.roles(*roles), arrays, strict=True)
        return tuple(change(array) if one.name in self.tables else array for one, array in named)


def longer(table: Array) -> Array:
    return np.append(table, table.dtype.type(0))
