"""Softmax on Helium: when it is taken, and why not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bevel.backends import target as targets
from bevel.backends.cortex_m.mve.softmax_mve import SoftmaxMve, specialize
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Role
from bevel.backends.program.ops.softmax import Mask, Softmax, WideSoftmax
from bevel.backends.program.program import Call
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import FINE

ROWS = WideSoftmax(2, 10, FINE, 16, Output(-(2**15), -(2**15), 2**15 - 1, "int16"))


def answer(plain: Softmax | WideSoftmax, target: str = "cortex-m55") -> Special | str:
    given = plain.example(np.random.default_rng(0))
    inputs = tuple(f"x{place}" for place in range(len(plain.roles(Role.INPUT))))
    return specialize(Call("node", plain, inputs, given[len(inputs) :], "y"), targets.load(target))


@pytest.mark.parametrize(
    "plain",
    [
        ROWS,
        WideSoftmax(2, 1, 1, 8, Output(-128), "int8"),
        replace(ROWS, mask=Mask((2,), (1,), 10, prefix=True)),
        replace(ROWS, mask=Mask((2,), (1,), 10, prefix=True, constant=False)),
    ],
)
def test_rows_of_any_length_are_taken_whole_or_to_their_first_elements(plain: WideSoftmax) -> None:
    found = answer(plain)
    assert isinstance(found, Special) and found.kernel == SoftmaxMve(plain)
    assert answer(plain, "cortex-m7") == "cortex-m7 has no Helium"


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (Softmax(2, 40, Output(-128)), "no Softmax by a reciprocal"),
        (replace(ROWS, rows=1, n=2**15 + 1), "may pass a word"),
        (replace(ROWS, mask=Mask((2,), (2,), 10)), "other elements than the first"),
        (replace(ROWS, output=Output(0, 0, 2**16, "int32")), "wider than int16"),
    ],
)
def test_others_are_told_why_not(plain: Softmax | WideSoftmax, reason: str) -> None:
    assert reason in str(answer(plain))
