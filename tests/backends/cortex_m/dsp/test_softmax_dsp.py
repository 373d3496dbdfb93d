"""Softmax for the DSP extension: when it is taken, and why not."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.backends import target as targets
from bevel.backends.cortex_m.dsp.softmax_dsp import WHOLE, OfShares, SoftmaxDsp, specialize
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Role
from bevel.backends.program.ops.power_softmax import PowerSoftmax
from bevel.backends.program.ops.softmax import Mask, Softmax, WideSoftmax
from bevel.backends.program.program import Call
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import FINE

PREFIX = Mask((2,), (1,), 40, prefix=True, constant=False)
TRUTHS = Mask((2,), (2,), 40)


def answer(plain: OfShares, target: str = "cortex-m7") -> Special | str:
    given = plain.example(np.random.default_rng(0))
    inputs = tuple(f"x{place}" for place in range(len(plain.roles(Role.INPUT))))
    return specialize(Call("node", plain, inputs, given[len(inputs) :], "y"), targets.load(target))


@pytest.mark.parametrize(
    "plain",
    [
        Softmax(2, 40, Output(-128)),
        WideSoftmax(2, 40, FINE, 16, WHOLE),
        WideSoftmax(2, 40, 1, 8, Output(-128), "int8"),
        WideSoftmax(2, 40, FINE, 16, WHOLE, mask=PREFIX),
        WideSoftmax(2, 1, FINE, 16, WHOLE),
        PowerSoftmax(2, 40, FINE),
        PowerSoftmax(2, 40, 1, "int8", PREFIX),
    ],
)
def test_rows_that_do_not_stay_in_registers_are_taken(plain: OfShares) -> None:
    found = answer(plain)
    assert isinstance(found, Special) and isinstance(found.kernel, SoftmaxDsp)
    assert answer(plain, "cortex-m0plus") == "cortex-m0plus has no DSP extension"


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (Softmax(2, 16, Output(-128)), "rows of 16 stay in registers"),
        (WideSoftmax(1, 2**15 + 1, FINE, 16, WHOLE), "may pass a word"),
        (WideSoftmax(2, 40, FINE, 16, WHOLE, mask=TRUTHS), "other elements than the first"),
        (PowerSoftmax(1, 2**15, FINE), "three times the exponentials"),
        (PowerSoftmax(2, 40, FINE, "int32"), "wider than int16"),
        (WideSoftmax(2, 40, FINE, 16, Output(-(2**15), -(2**15), 0, "int16")), "held to less"),
    ],
)
def test_others_are_told_why_not(plain: OfShares, reason: str) -> None:
    found = answer(plain)
    assert isinstance(found, str) and reason in found
