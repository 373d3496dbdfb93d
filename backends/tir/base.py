"""What backends have in common whose kernels are TVM's: plain loops for every operator, and what these cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from bevel.backends.backend import Begin, Kernels, Source
from bevel.backends.program import memory
from bevel.backends.program.memory import Plan
from bevel.backends.program.op import Op
from bevel.backends.program.program import Program
from bevel.backends.program.resources import Resources
from bevel.backends.select.rules import Rule, rules_in
from bevel.backends.target import Target
from bevel.backends.tir import emit, rates
from bevel.backends.tir import rules as everywhere

QUICK_ROUNDS = 100  # of the search for offsets, in place of the thousand that a build takes


@dataclass(frozen=True)
class TirBackend:
    """`rooms`: where its own rules are, beside those for every machine."""

    rooms: tuple[ModuleType, ...] = ()

    def rules(self) -> Mapping[str, Rule]:
        return rules_in((*self.rooms, everywhere))

    def estimate(self, op: Op, target: Target) -> Resources:
        return rates.estimate(op, target)

    def arranged(self, program: Program) -> Program:
        return program  # equal operands are stored once anyway

    def emit(self, code: Kernels, target: Target, begin: Begin) -> Sequence[Source]:
        return emit.emit(code, target, begin)

    def plan(self, program: Program, in_place: bool = True, quick: bool = False) -> Plan:
        return memory.plan(program, in_place, QUICK_ROUNDS) if quick else memory.plan(program, in_place)
