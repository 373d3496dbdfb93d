"""Outputs that are inputs, constants, each other, or masks: the same values on every target, of any type."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

EVERY_TYPE = "float[1,4] x, int64[3] t, bool[2] f, uint8[5] u, int8[4] i, int32[3] j, int16[4] h"
OUT_AGAIN = "float[] y, int64[] t, bool[] g, uint8[] u, uint8[] v, int8[] k, int32[] j, int16[] m"
CASES = {
    "an input and the result": ("y = Sigmoid (x)", "float[1,4] x", "float[] y, float[] x"),
    "an input twice": (
        "y = Identity (x)\n a = Identity (x)\n z = Identity (a)",
        "float[1,4] x",
        "float[] y, float[] z",
    ),
    "an input alone": ("", "float[1,4] x", "float[] x"),
    "a result twice": ("y = Sigmoid (x)\n z = Identity (y)", "float[1,4] x", "float[] y, float[] z"),
    "a constant": ("y = Sigmoid (x)\n c = Identity (v)", "float[1,4] x", "float[] y, float[] c"),
    "a computed constant": ("y = Sigmoid (x)\n c = Exp (v)", "float[1,4] x", "float[] y, float[] c"),
    "a shape": ("y = Sigmoid (x)\n s = Shape (x)", "float[1,4] x", "float[] y, int64[] s"),
    "a mask": ("y, mask = Dropout (x)", "float[1,4] x", "float[] y, bool[] mask"),
    "every type": (
        "y = Sigmoid (x)\n g = Identity (f)\n v = Identity (u)\n k = Identity (i)\n m = Identity (h)",
        EVERY_TYPE,
        OUT_AGAIN,
    ),
}
SAMPLE = {
    "x": np.array([[-3.0, -0.5, 0.25, 2.0]], np.float32),
    "t": np.array([-(2**40), 0, 2**40]),
    "f": np.array([True, False]),
    "u": np.array([0, 1, 127, 128, 255], np.uint8),
    "i": np.array([-128, -1, 0, 127], np.int8),
    "h": np.array([-(2**15), -1, 0, 2**15 - 1], np.int16),
    "j": np.array([-(2**31), 0, 2**31 - 1], np.int32),
}


def subject(text, name: str) -> onnx.ModelProto:
    body, inputs, outputs = CASES[name]
    return text(body, inputs, outputs, weights="float[2] v" if "(v)" in body else "", values={"v": [0.5, -1.0]})


@pytest.mark.parametrize("name", CASES)
def test_what_is_handed_on_arrives_unchanged_without_float_code(text, stages, name: str) -> None:
    model = subject(text, name)
    sample = {value.name: SAMPLE[value.name] for value in model.graph.input}
    done = stages(model, [sample], inputs="float", outputs="float")
    found = done.run(sample)  # equals integer.onnx in onnxruntime
    handed = {"t": "t", "g": "f", "u": "u", "v": "u", "k": "i", "j": "j", "x": "x", "m": "h"}
    for output, source in handed.items():
        if output in found:
            np.testing.assert_array_equal(found[output], SAMPLE[source])
    if name == "a constant":
        np.testing.assert_array_equal(found["c"], np.array([0.5, -1.0], np.float32))
    if name == "a mask":
        assert found["mask"].all() and found["mask"].dtype == np.bool_
    assert "Float" not in done.calls


@pytest.mark.parametrize("name", ["an input and the result", "an input twice", "a result twice", "a constant"])
def test_integer_edges_leave_it_as_it_comes(text, stages, name: str) -> None:
    done = stages(subject(text, name))
    for sample in done.extremes():
        done.run(sample)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_integers_that_are_compared_arrive_once(text, stages, kind: str) -> None:
    model = text("y = Less (a, b)", f"{kind}[4] a, {kind}[4] b", "bool[] y")
    done = stages(model, inputs="float", outputs="float", islands=True)
    sample = {"a": np.array([0, 1, 100, 7], kind), "b": np.array([1, 1, 99, 8], kind)}
    assert done.run(sample)["y"].tolist() == [True, False, False, True]
