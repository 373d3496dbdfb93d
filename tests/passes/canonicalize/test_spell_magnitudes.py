"""The root of two squares' sum is ReduceL2 of pairs; what says anything more stays."""

from __future__ import annotations

import pytest

from bevel.passes.canonicalize.spell_magnitudes import SpellMagnitudes

SQUARES = "p = Pow (a, two)\n q = Pow (b, two)\n s = Add (p, q)\n y = Sqrt (s)"
HALVES = "a = Slice (x, zero, three, axis)\n b = Slice (x, three, end, axis)\n"
BOUNDS = "float two, int64[1] zero, int64[1] one, int64[1] three, int64[1] axis, int64[1] last, int64[1] end"
VALUES = {"two": 2.0, "zero": [0], "one": [1], "three": [3], "axis": [1], "last": [2], "end": [2**63 - 1]}
SPECTRUM = "float[2,6,5] x"


def test_halves_of_one_tensor_are_that_tensor(model, apply, operators) -> None:
    result = apply(model(HALVES + SQUARES, SPECTRUM, weights=BOUNDS, values=VALUES), SpellMagnitudes())
    assert operators(result) == ["Reshape", "ReduceL2"]


def test_halves_that_are_cut_alike_are_cut_together(model, apply, operators) -> None:
    body = HALVES.replace("a =", "c =").replace("b =", "d =")
    body += "a = Slice (c, one, end, last)\n b = Slice (d, one, end, last)\n"
    result = apply(model(body + SQUARES, SPECTRUM, weights=BOUNDS, values=VALUES), SpellMagnitudes())
    assert operators(result) == ["Reshape", "Slice", "ReduceL2"]


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        (SQUARES, "float[2,3] a, float[2,3] b"),
        ("p = Mul (a, a)\n q = Mul (b, b)\n s = Add (p, q)\n y = Sqrt (s)", "float[2,3,4] a, float[2,3,4] b"),
        (SQUARES, "float[4] a, float[4] b"),
        (SQUARES.replace("(b, two)", "(a, two)"), "float[2,3] a"),
        (HALVES.replace("three, end", "zero, three") + SQUARES, SPECTRUM),
    ],
)
def test_two_tensors_stand_side_by_side(model, apply, operators, body: str, inputs: str) -> None:
    result = apply(model(body, inputs, weights=BOUNDS, values=VALUES), SpellMagnitudes())
    assert operators(result).count("ReduceL2") == operators(result).count("Concat") == 1
    assert not {"Sqrt", "Pow", "Mul", "Add"} & set(operators(result))


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (SQUARES.replace("two", "three_"), "float[] y"),
        (SQUARES.replace("q = Pow (b, two)", "q = Mul (a, b)"), "float[] y"),
        (SQUARES.replace("y = Sqrt (s)", "e = Add (s, two)\n y = Sqrt (e)"), "float[] y"),
        (SQUARES, "float[] y, float[] s"),
        (SQUARES, "float[] y, float[] p"),
        (SQUARES.replace("Sqrt", "Exp"), "float[] y"),
        (SQUARES.replace("q = Pow (b, two)", "q = Pow (two, two)"), "float[] y"),
    ],
)
def test_others_stay(model, apply, body: str, outputs: str) -> None:
    weights, values = f"{BOUNDS}, float three_", {**VALUES, "three_": 3.0}
    subject = model(body, "float[2,3] a, float[2,3] b", outputs, weights, values)
    assert not apply(subject, SpellMagnitudes()).modified


@pytest.mark.parametrize(
    ("inputs", "exponent"),
    [
        ("float[2,3] a, float[1,3] b", "float two"),
        ("float[2,3] a, float[2,3] b", "float[1,1,1] two"),
        ("float[2,0] a, float[2,0] b", "float two"),
    ],
)
def test_tensors_that_broadcast_or_have_no_elements_stay(model, apply, inputs: str, exponent: str) -> None:
    subject = model(SQUARES, inputs, weights=exponent, values={"two": 2.0 if exponent == "float two" else [[[2.0]]]})
    assert not apply(subject, SpellMagnitudes()).modified
