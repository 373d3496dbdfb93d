"""One constant for each index behind a Concat of unlike parts goes before it; where all are alike it stays."""

import numpy as np
import pytest

from bevel.passes.canonicalize.scale_before_concat import ScaleBeforeConcat

PARTS = "float[2,3] x, float[2,2] z"
UNLIKE = np.array([640, 480, 640, 1, 1])


@pytest.mark.parametrize("body", ["Mul (c, w)", "Div (c, w)", "Sub (w, c)", "Add (w, c)"])
def test_each_part_has_its_own_constant(model, apply, body) -> None:
    subject = model(f"c = Concat <axis = 1> (x, z)\n y = {body}", PARTS, weights="float[5] w", values={"w": UNLIKE})
    result = apply(subject, ScaleBeforeConcat())
    ops = [node.op for node in result.graph.nodes]
    assert sorted(ops) == sorted([body.split()[0]] * 2 + ["Concat"]) and ops[-1] == "Concat"
    assert not ScaleBeforeConcat()(result.work).modified


def test_a_transpose_between_stays_behind(model, apply) -> None:
    body = "c = Concat <axis = 1> (x, z)\n t = Transpose <perm = [0, 2, 1]> (c)\n y = Mul (t, w)"
    subject = model(body, "float[1,3,7] x, float[1,2,7] z", weights="float[5] w", values={"w": UNLIKE})
    result = apply(subject, ScaleBeforeConcat())
    assert [node.op for node in result.graph.nodes] == ["Mul", "Mul", "Concat", "Transpose"]


@pytest.mark.parametrize(
    ("body", "outputs", "weights", "values"),
    [
        ("y = Mul (c, w)", "float[] y", "float[5] w", np.array([3, 2, 3, 1, 1])),  # alike
        ("y = Mul (c, w)", "float[] y", "float[1] w", np.array([640])),  # one for all
        ("y = Mul (c, w)", "float[] y", "float[2,1] w", np.array([[640], [1]])),  # along another axis
        ("y = Mul (c, w)", "float[] y, float[] c", "float[5] w", UNLIKE),  # the whole is a result
        ("y = Mul (c, w)\n t = Tanh (c)", "float[] y, float[] t", "float[5] w", UNLIKE),
        ("y = Mul (c, w)", "float[] y", "float[3,2,5] w", np.ones((3, 2, 5)) * UNLIKE),  # which makes it larger
        ("y = Max (c, w)", "float[] y", "float[5] w", UNLIKE),
    ],
)
def test_other_constants_stay(model, apply, body, outputs, weights, values) -> None:
    subject = model(f"c = Concat <axis = 1> (x, z)\n {body}", PARTS, outputs, weights, {"w": values})
    assert not apply(subject, ScaleBeforeConcat()).modified
