"""Cortex-M: kernels in C for the DSP extension and for Helium, weights that calls share stored once, and firmware."""

from __future__ import annotations

from dataclasses import dataclass

from bevel.backends.cortex_m import dsp, mve
from bevel.backends.cortex_m.shared_weights import share_weights
from bevel.backends.firmware.bare import Bare
from bevel.backends.program.program import Program


@dataclass(frozen=True)
class CortexM(Bare):
    def arranged(self, program: Program) -> Program:
        return share_weights(program)


BACKEND = CortexM((dsp, mve))
