"""Cortex-M: kernels in C for the DSP extension and for Helium, weights that calls share stored once, and firmware."""

from __future__ import annotations

from dataclasses import dataclass

from bevel.backends.cortex_m import dsp, mve
from bevel.backends.cortex_m.rates import of_core
from bevel.backends.cortex_m.shared_weights import share_weights
from bevel.backends.firmware.bare import Bare
from bevel.backends.program.program import Program
from bevel.backends.target import Target
from bevel.backends.tir.rates import Table


@dataclass(frozen=True)
class CortexM(Bare):
    def rates(self, target: Target) -> Table:
        return of_core(target)

    def arranged(self, program: Program) -> Program:
        return share_weights(program)


BACKEND = CortexM((dsp, mve))
