"""What kernels have in common that decode weights of fewer than eight bits for a kernel that takes int8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.encodings.subbyte import SubbyteCodes
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array, Op, Operand, constant
from bevel.backends.program.resources import Resources
from bevel.calib.arithmetic.requantize import Int8


@dataclass(frozen=True)
class Decoding(Kernel):
    """`inner` with its weights as `codes`: stored, in place of them; then, where there is one, table: int8 [2**bits];
    the other operands are those of `inner`. `rates` are those of decoding."""

    inner: Kernel
    codes: SubbyteCodes

    @property
    def op(self) -> Op:
        return self.inner.op

    def estimate(self) -> Resources:
        return self.own_rates.beyond(self.inner.estimate(), self)

    @property
    def table(self) -> tuple[Operand, ...]:
        """The operand, where there is one."""
        return (constant("table", (self.codes.table_bytes,), "int8"),) if self.codes.tabled else ()

    def from_table_on(self, arrays: Sequence[Array]) -> tuple[Int8, Sequence[Array]]:
        """The table, empty where there is none, and what follows it."""
        return (arrays[0], arrays[1:]) if self.codes.tabled else (np.zeros(0, np.int8), arrays)
