"""How weights are coded is known from the integer model on: nothing counts them to find out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bevel.backends.program import program as program_module
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call, Program
from bevel.backends.select.specialize import specialize
from bevel.backends.target import load
from bevel.calib.formats.format import INT8
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import weight_format

BODY = """
 c = Conv <pads = [1,1,1,1]> (x, w, b)
 d = Conv <group = 16, pads = [1,1,1,1]> (c, u)
 f = Flatten (d)
 y = MatMul (f, v)
"""
WEIGHTS = "float[16,8,3,3] w, float[16] b, float[16,1,3,3] u, float[576,40] v"


@pytest.fixture(scope="module")
def lowered(text: Any, stages: Any) -> Any:
    def program(weights: str) -> Program:
        options = QuantizeOptions(weights=weight_format(weights), activations=INT8)
        made: Program = stages(text(BODY, "float[1,8,6,6] x", weights=WEIGHTS), options=options).program
        return made

    return program


def products(program: Program) -> list[Call]:
    return [call for call in program.calls if isinstance(call.kernel, Conv | Gemm)]


@pytest.mark.parametrize(("name", "bits"), [("int4", 4), ("int3", 3), ("int6", 6), ("ternary", 2), ("e2m1", 4)])
def test_a_call_knows_the_codes_of_its_weights(lowered: Any, name: str, bits: int) -> None:
    convolution, _, matrix = products(lowered(name))
    for call in (convolution, matrix):
        assert call.weights is not None and call.weights.coded.bits == bits
        np.testing.assert_array_equal(call.weights.coded.values(), call.constants[0])
        np.testing.assert_array_equal(call.occurring(call.constants[0]), np.unique(call.constants[0]))


@pytest.mark.parametrize("core", ["host", "cortex-m0plus", "cortex-m7", "cortex-m55"])
@pytest.mark.parametrize("name", ["int4", "ternary", "e2m1"])
def test_no_rule_counts_what_the_model_says(
    lowered: Any, name: str, core: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = lowered(name)
    known = [call for call in products(program) if call.weights is not None]
    assert len(known) >= 2
    expected = [call.kernel for call in specialize(program_of(program, known, keep=False), load(core)).calls]

    def refuse(values: np.ndarray) -> np.ndarray:
        raise AssertionError("counted")

    monkeypatch.setattr(program_module, "counted", refuse)
    found = specialize(program_of(program, known, keep=True), load(core))
    assert [call.kernel for call in found.calls] == expected


def program_of(program: Program, calls: list[Call], keep: bool) -> Program:
    """Only these calls, that know the codings of their weights or do not."""
    return replace(program, calls=tuple(call if keep else replace(call, weights=None) for call in calls))


def test_int8_weights_say_nothing_and_are_counted(lowered: Any) -> None:
    for call in products(lowered("int8")):
        assert call.weights is None
        np.testing.assert_array_equal(call.occurring(call.constants[0]), np.unique(call.constants[0]))


def test_other_weights_in_the_place_of_known_ones_are_counted(lowered: Any) -> None:
    call = products(lowered("int4"))[0]
    other = np.full_like(call.constants[0], 99)
    assert call.occurring(other).tolist() == [99]
