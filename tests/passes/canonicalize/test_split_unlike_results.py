"""Columns of unlike size that leave the model are computed apart; like ones, and what is read inside, stay."""

import numpy as np
import pytest

from bevel.passes.canonicalize.split_unlike_results import SplitUnlikeResults

RNG = np.random.default_rng(6)
WEIGHTS = RNG.uniform(0.5, 1, (6, 5)) * np.array([1, 1, 0.01, 0.01, 1])
BIAS = np.array([0, 0, 0, 0, 300])
VALUES = {"w": WEIGHTS, "b": BIAS, "c": np.array([192, 256, 1, 1, 1]), "v": np.linspace(1, 2, 5)}
CONSTANTS = "float[6,5] w, float[5] b, float[5] c, float[5] v"


@pytest.mark.parametrize(
    ("body", "inputs", "expected"),
    [
        ("y = Gemm (x, w, b)", "float[1,6] x", ["Gemm", "Gemm", "Gemm", "Concat"]),
        ("y = Mul (x, c)", "float[2,3,5] x", ["Slice", "Slice", "Mul", "Mul", "Concat"]),
        ("y = Div (x, c)", "float[2,5] x", ["Slice", "Slice", "Div", "Div", "Concat"]),
        (
            "t = Mul (c, x)\n y = Transpose <perm = [0, 2, 1]> (t)",
            "float[2,3,5] x",
            ["Slice", "Slice", "Mul", "Mul", "Concat", "Transpose"],
        ),
    ],
)
def test_unlike_results_are_computed_apart(model, apply, body, inputs, expected) -> None:
    result = apply(model(body, inputs, weights=CONSTANTS, values=VALUES), SplitUnlikeResults())
    ops = [node.op for node in result.graph.nodes]
    assert sorted(ops) == sorted(expected) and ops[-1] == expected[-1]
    assert not SplitUnlikeResults()(result.work).modified


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("y = Mul (x, v)", "float[2,3,5] x"),  # alike
        ("t = Mul (x, c)\n y = Sigmoid (t)", "float[2,3,5] x"),  # does not leave
        ("y = Add (x, c)", "float[2,3,5] x"),
        ("y = Div (c, x)", "float[2,3,5] x"),  # the constant over it
        ("y = Mul (x, c)", "float[2,1] x"),  # makes it larger
    ],
)
def test_other_results_stay(model, apply, body, inputs) -> None:
    assert not apply(model(body, inputs, weights=CONSTANTS, values=VALUES), SplitUnlikeResults()).modified


def test_many_runs_are_a_pattern_and_stay(model, apply) -> None:
    pattern = np.tile([640.0, 1.0], 8)
    subject = model("y = Mul (x, c)", "float[2,16] x", weights="float[16] c", values={"c": pattern})
    assert not apply(subject, SplitUnlikeResults()).modified
