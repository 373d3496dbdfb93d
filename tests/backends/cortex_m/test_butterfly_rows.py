"""Walsh-Hadamard transforms on Cortex-M: when the functions in C are taken, and why not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bevel.backends import target as targets
from bevel.backends.cortex_m.dsp import walsh_hadamard_dsp
from bevel.backends.cortex_m.dsp.walsh_hadamard_dsp import WalshHadamardDsp
from bevel.backends.cortex_m.mve import walsh_hadamard_mve
from bevel.backends.cortex_m.mve.walsh_hadamard_mve import WalshHadamardMve
from bevel.backends.program.kernel import Special
from bevel.backends.program.ops.walsh_hadamard import ButterflyBlock, WalshHadamard
from bevel.backends.program.program import Call
from bevel.calib.arithmetic.requantize import Output

M0, M7, M55 = (targets.load(name) for name in ("cortex-m0plus", "cortex-m7", "cortex-m55"))
BLOCK = ButterflyBlock(64, 1, 2**30, 36)
PLAIN = WalshHadamard(2, (BLOCK,), 0, Output(3))


def call_of(plain: WalshHadamard) -> Call:
    _, *constants = plain.example(np.random.default_rng(0))
    return Call("node", plain, ("x",), tuple(constants), "y")


def test_each_core_has_the_functions_of_its_own() -> None:
    call = call_of(PLAIN)
    assert walsh_hadamard_dsp.specialize(call, M7) == Special(WalshHadamardDsp(PLAIN), call.constants)
    assert walsh_hadamard_mve.specialize(call, M55) == Special(WalshHadamardMve(PLAIN), call.constants)
    assert "has Helium" in str(walsh_hadamard_dsp.specialize(call, M55))
    assert walsh_hadamard_mve.specialize(call, M7) == "cortex-m7 has no Helium"
    assert walsh_hadamard_dsp.specialize(call, M0) == "cortex-m0plus has no DSP extension"


@pytest.mark.parametrize(("shift", "taken"), [(16, True), (15, False)])
def test_sums_of_a_large_ratio_are_taken_while_there_is_room(shift: int, taken: bool) -> None:
    """64 sums of 128 steps, 2**13, are moved left by 17 bits, and by the one too many."""
    found = walsh_hadamard_dsp.specialize(call_of(replace(PLAIN, blocks=(replace(BLOCK, shift=shift),))), M7)
    assert isinstance(found, Special) == taken and (taken or "have no room" in str(found))


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (replace(PLAIN, output=Output(3, even=True)), "rounded to even"),
        (replace(PLAIN, output=Output(0, -(2**20), 2**20, "int32")), "wider than int16"),
        (replace(PLAIN, blocks=(ButterflyBlock(2**14, 1, 2**30, 36),)), "14 stages are more"),
        (replace(PLAIN, blocks=(BLOCK, ButterflyBlock(12, 6, 2**30, 36))), "a base of 6 is no multiple of 4"),
    ],
)
def test_others_are_told_why_not(plain: WalshHadamard, reason: str) -> None:
    call = call_of(plain)
    assert reason in str(walsh_hadamard_dsp.specialize(call, M7))
    assert reason in str(walsh_hadamard_mve.specialize(call, M55))
