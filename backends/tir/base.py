"""What backends have in common whose kernels are TVM's: plain loops for every operator, and what these cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from bevel.backends.backend import Begin, Kernels, Source
from bevel.backends.binary.c.bundle import Bundle, bundle
from bevel.backends.program import memory
from bevel.backends.program.memory import Plan
from bevel.backends.program.op import Op
from bevel.backends.program.program import Program
from bevel.backends.program.resources import Resources
from bevel.backends.select.rules import Rule, rules_in
from bevel.backends.target import Target
from bevel.backends.tir import emit
from bevel.backends.tir import rules as everywhere
from bevel.backends.tir.rates import Table, estimate

QUICK_ROUNDS = 100  # of the search for offsets, in place of the thousand that a build takes


@dataclass(frozen=True)
class TirBackend(ABC):
    """`rooms`: where its own rules are, beside those for every machine."""

    rooms: tuple[ModuleType, ...] = ()

    def rules(self) -> Mapping[str, Rule]:
        return rules_in((*self.rooms, everywhere))

    @abstractmethod
    def rates(self, target: Target) -> Table:
        """Of plain loops, and of kernels that every machine has."""

    def estimate(self, op: Op, target: Target) -> Resources:
        return estimate(op, self.rates(target))

    def arranged(self, program: Program) -> Program:
        return program  # equal operands are stored once anyway

    def bundle(self, program: Program, plan: Plan, target: Target, flags: Mapping[Op, tuple[str, ...]]) -> Bundle:
        return bundle(program, plan)

    def emit(self, code: Kernels, target: Target, begin: Begin) -> Sequence[Source]:
        return emit.emit(code, target, begin)

    def plan(self, program: Program, in_place: bool = True, quick: bool = False) -> Plan:
        return memory.plan(program, in_place, QUICK_ROUNDS) if quick else memory.plan(program, in_place)
