"""What a kernel is: loops of one machine for an operator, with operands packed for them and perhaps scratch.

A kernel computes what its operator does, bit for bit, and stands in its place in a program: it is a frozen dataclass
too, in a file of its machine's room (`backends/cortex_m/dsp/conv_dsp.py`), whose fields are also what can be tuned.
Plain operators need none: `bevel.backends.tir.builder` finds their loops by their file. Two calls whose kernels, or
operators, compare equal share one compiled function.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from bevel.backends.program.op import Array, Op, Operand
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resources


@dataclass(frozen=True)
class Kernel(Op):
    """An operator with loops of its own. `rates`: what a call spends, measured (`bevel.tools.bench.rates`); of a kernel
    that every machine has, each machine says it (`bevel.backends.tir.rates`)."""

    rates: ClassVar[Rates]

    @abstractmethod
    def build(self, name: str) -> Any:
        """The scheduled TIR PrimFunc, with `name` as its global symbol and one buffer a operand."""

    def estimate(self) -> Resources:
        """What one call spends: instructions of a core, or seconds of a CPU."""
        return self.own_rates.of(self)

    @property
    def own_rates(self) -> Rates:
        """Of this one of its class."""
        return self.rates

    @property
    def op(self) -> Op:
        """The operator that it computes; itself where it is the only one that does."""
        return self

    @property
    def macs(self) -> int:
        return super().macs if self.op is self else self.op.macs

    @property
    def besides(self) -> int:
        return super().besides if self.op is self else self.op.besides

    @property
    def any_codes(self) -> bool:
        return super().any_codes if self.op is self else self.op.any_codes

    @property
    def stock(self) -> bool:
        return super().stock if self.op is self else self.op.stock

    @property
    def header(self) -> str | None:
        """The C header in `backends/cortex_m/c/` whose functions the PrimFunc calls; such a kernel has no LLVM
        route."""
        return None


@dataclass(frozen=True)
class LeveledKernel(Kernel):
    """A kernel with other loops for instruction sets beyond the target's own (`bevel.backends.cpu.levels`)."""

    @property
    @abstractmethod
    def levels(self) -> tuple[str, ...]:
        """Their names."""

    @abstractmethod
    def build_at(self, name: str, level: str) -> Any:
        """`build` for one of `levels`: the same operands, the same results."""


@dataclass(frozen=True)
class Unpacked(Kernel):
    """A kernel that takes the operands of `plain` as they are."""

    plain: Op

    @property
    def op(self) -> Op:
        return self.plain

    @property
    def in_place(self) -> bool:
        return self.plain.in_place

    def operands(self) -> tuple[Operand, ...]:
        return self.plain.operands()

    def reference(self, *arrays: Array) -> Array:
        return self.plain.reference(*arrays)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return self.plain.example(rng)


WIDER = "its integers are wider than int8"  # why a rule for int8 does not apply


class Special(NamedTuple):
    """An operator or kernel that computes the same as another one, and its constants in operand order."""

    kernel: Op
    constants: tuple[Array, ...]


def levels_of(op: Op) -> tuple[str, ...]:
    """Those that it has loops of its own for."""
    return op.levels if isinstance(op, LeveledKernel) else ()


def header_of(op: Op) -> str | None:
    """The C header that the code of `op` includes, if it needs one."""
    return op.header if isinstance(op, Kernel) else None
