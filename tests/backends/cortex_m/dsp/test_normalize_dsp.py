"""Normalization for the DSP extension: when it is taken, and why not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bevel.backends import target as targets
from bevel.backends.cortex_m.dsp.normalize_dsp import NormalizeDsp, specialize
from bevel.backends.program.kernel import Special
from bevel.backends.program.ops.normalize import Loop, Normalize
from bevel.backends.program.program import Call
from bevel.calib.arithmetic.requantize import Output

ROWS = Normalize((Loop(3, 7, 0),), (Loop(7, 1, 1),), 7, True, -5, 900, 51, Output(4))


def answer(plain: Normalize, target: str = "cortex-m7") -> Special | str:
    _, *constants = plain.example(np.random.default_rng(0))
    return specialize(Call("node", plain, ("x",), tuple(constants), "y"), targets.load(target))


def test_rows_side_by_side_are_taken() -> None:
    found = answer(ROWS)
    assert isinstance(found, Special) and found.kernel == NormalizeDsp(ROWS)
    assert answer(ROWS, "cortex-m0plus") == "cortex-m0plus has no DSP extension"


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (replace(ROWS, columns=(Loop(7, 1, 0),), gains=1), "do not lie side by side"),
        (Normalize((Loop(5, 1, 1),), (Loop(12, 5, 0),), 5, True, 127, 12, 50, Output()), "do not lie side by side"),
        (replace(ROWS, output=Output(0, -(2**20), 2**20, "int32")), "wider than int16"),
    ],
)
def test_others_are_told_why_not(plain: Normalize, reason: str) -> None:
    assert reason in str(answer(plain))
