"""Models of other float types are read as float32, wherever such a type stands."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from bevel.passes.exchange.widen_floats import widen_floats

HEADER = '<ir_version: 10, opset_import: ["" : 21]> '


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return np.asarray(
        ort.InferenceSession(model.SerializeToString(), None, ["CPUExecutionProvider"]).run(None, {"x": x})[0]
    )


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "double"])
def test_weights_inputs_outputs_and_casts_become_float32(kind) -> None:
    number = {"float16": 10, "bfloat16": 16, "double": 11}[kind]
    body = f"h = MatMul (x, w) c = Cast <to = {number}> (i) y = Add (h, c)"
    model = onnx.parser.parse_model(f"{HEADER} g ({kind}[1,2] x, int32[1,2] i) => ({kind}[1,2] y) {{ {body} }}")
    weights = np.array([[1.5, -2], [0.25, 4]], onnx.helper.tensor_dtype_to_np_dtype(number))
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    notes = widen_floats(model)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), None, ["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.array([[1, 2]], np.float32), "i": np.array([[1, 1]], np.int32)})
    assert found.dtype == np.float32 and found.tolist() == [[3.0, 7.0]]
    assert {note.node for note in notes} == {"model", "x", "y"}


def test_types_inside_branches_become_float32_too() -> None:
    text = """g (float16[2] x, bool c) => (float16[2] y) {
        y = If (c) <then_branch = t () => (float16[2] a) {
                        w = Constant <value = float[1] {1.0}> () o = Cast <to = 10> (w) a = Add (x, o) },
                    else_branch = e () => (float16[2] b) { b = Neg (x) }> }"""
    model = onnx.parser.parse_model(HEADER + text)
    widen_floats(model)
    session = ort.InferenceSession(model.SerializeToString(), None, ["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.array([1, 2], np.float32), "c": np.array(True)})
    assert found.tolist() == [2.0, 3.0]


def test_a_scale_of_float16_becomes_float32() -> None:
    body = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
    model = onnx.parser.parse_model(f"{HEADER} g (float16[2] x) => (float16[2] y) <int8 z = {{0}}> {{ {body} }}")
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float16), "s"))
    widen_floats(model)
    assert run(model, np.array([0.7, 1.0], np.float32)).tolist() == [0.5, 1.0]


def test_numbers_beyond_float32_become_infinite_and_float32_stays() -> None:
    model = onnx.parser.parse_model(
        f"{HEADER} g (float[1] x) => (float[1] y) <double[1] big = {{1e300}}> {{ y = Relu (x) }}"
    )
    widen_floats(model)
    assert np.isinf(numpy_helper.to_array(model.graph.initializer[0])).all()
    before = model.SerializeToString()
    assert widen_floats(model) == [] and model.SerializeToString() == before


def test_integer_casts_stay() -> None:
    model = onnx.parser.parse_model(f"{HEADER} g (float[1] x) => (int64[1] y) {{ y = Cast <to = 7> (x) }}")
    widen_floats(model)
    assert model.graph.node[0].attribute[0].i == TensorProto.INT64
