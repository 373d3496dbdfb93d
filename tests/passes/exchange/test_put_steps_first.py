"""Recurrent nodes whose batch comes first are read with their steps first; the others as they are."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from bevel.passes.exchange.put_steps_first import put_steps_first

HEADER = '<ir_version: 10, opset_import: ["" : 21]> '


def read(body: str, weights: dict[str, np.ndarray], inputs: str, outputs: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f"{HEADER} g ({inputs}) => ({outputs}) {{ {body} }}")
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return model


def run(model: onnx.ModelProto, **given: np.ndarray) -> list[np.ndarray]:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, given)


@pytest.mark.parametrize(("direction", "ways"), [("forward", 1), ("bidirectional", 2)])
def test_transposes_make_the_same_of_it(direction: str, ways: int) -> None:
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((ways, 16, 3)), "r": rng.standard_normal((ways, 16, 4))}
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    x, h, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 5, 3), *[(2, ways, 4)] * 2))
    attributes = f'hidden_size = 4, direction = "{direction}"'
    body = "y, yh, yc = LSTM <{}> (x, w, r, , , h, c)"
    ports = "float[?,?,?] x, float[?,?,?] h, float[?,?,?] c", "float[?,?,?,?] y, float[?,?,?] yh, float[?,?,?] yc"
    batch_first = read(body.format(f"layout = 1, {attributes}"), weights, *ports)
    notes = put_steps_first(batch_first)
    assert len(notes) == 1 and "layout" not in str(batch_first.graph)
    y, yh, yc = run(batch_first, x=x, h=h, c=c)
    steps_first = read(body.format(attributes), weights, *ports)
    turned = run(steps_first, x=x.swapaxes(0, 1), h=h.swapaxes(0, 1), c=c.swapaxes(0, 1))
    np.testing.assert_array_equal(y, turned[0].transpose(2, 0, 1, 3))  # [batch, steps, directions, hidden]
    np.testing.assert_array_equal(yh, turned[1].swapaxes(0, 1))
    np.testing.assert_array_equal(yc, turned[2].swapaxes(0, 1))


@pytest.mark.parametrize("attributes", ["hidden_size = 4", "hidden_size = 4, layout = 0"])
def test_steps_that_come_first_stay(attributes: str) -> None:
    model = read(f"y = RNN <{attributes}> (x, w, r)", {}, "float[5,2,3] x, float[1,4,3] w, float[1,4,4] r", "float[] y")
    before = model.SerializeToString()
    assert not put_steps_first(model) and model.SerializeToString() == before


def test_an_operator_of_another_domain_stays() -> None:
    model = read("y = other.RNN <layout = 1> (x)", {}, "float[5,2,3] x", "float[] y")
    assert not put_steps_first(model) and "layout" in str(model.graph)


def test_nodes_of_branches_are_turned_too() -> None:
    branch = "{} () => (float[] {}) {{ {} = RNN <hidden_size = 4, layout = 1> (x, w, r) }}"
    then, other = (branch.format(name, name, name) for name in ("a", "b"))
    body = f"y = If (n) <then_branch = {then}, else_branch = {other}>"
    model = read(body, {}, "float[2,5,3] x, float[1,4,3] w, float[1,4,4] r, bool n", "float[] y")
    assert len(put_steps_first(model)) == 2 and "layout" not in str(model.graph)
