"""An input that is made a constant is one: what asked for it is folded, and what it cannot hold is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest

from bevel.calib.errors import UserError
from bevel.passes.exchange.load import load

# a rate that chooses between two branches, as voice activity detectors have it
CHOOSES = """<ir_version: 9, opset_import: ["" : 17]>
g (float[2, 3] x, int64 rate, float[2] gains) => (float[2, 3] y) <int64 known = {16000}> {
  same = Equal (rate, known)
  chosen = If (same) <
    then_branch = t () => (float[2, 3] a) { a = Relu (x) },
    else_branch = e () => (float[2, 3] b) { b = Neg (x) }
  >
  columns = Constant <value = int64[1] {1}> ()
  tall = Unsqueeze (gains, columns)
  y = Mul (chosen, tall)
}"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    onnx.save(onnx.parser.parse_model(CHOOSES), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.mark.parametrize("rate, wanted", [(16000, [[4.0, 0.0, 6.0]] * 2), (8000, [[-4.0, 5.0, -6.0]] * 2)])
def test_what_is_left_computes_what_it_did_for_that_value(file: Path, rate: int, wanted: Any) -> None:
    loaded = load(file, constants={"rate": rate, "gains": 2})
    x = np.array([[2, -2.5, 3]] * 2, np.float32)
    (found,) = ort.InferenceSession(loaded.model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(found, np.float32(wanted))
    assert [value.name for value in loaded.model.graph.input] == ["x"]
    assert [note.node for note in loaded.notes] == ["rate", "gains"]


def test_a_list_is_taken_as_it_is(file: Path) -> None:
    loaded = load(file, constants={"rate": 16000, "gains": [1, 0.1]})
    (gains,) = (one for one in loaded.model.graph.initializer if one.name == "gains")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(gains), np.float32([1, 0.1]))


@pytest.mark.parametrize(
    ("kind", "wanted"), [("float16", 0.0999755859375), ("bfloat16", 0.10009765625), ("double", 0.1)]
)
def test_a_float_of_any_width_is_the_nearest_that_it_holds(tmp_path: Path, kind: str, wanted: float) -> None:
    body = f"g (float[2] x, {kind} s) => (float[2] y) {{ n = Cast <to = 1> (s) y = Mul (x, n) }}"
    onnx.save(onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> {body}'), tmp_path / "m.onnx")
    (found,) = load(tmp_path / "m.onnx", constants={"s": 0.1}).model.graph.initializer
    assert onnx.numpy_helper.to_array(found) == np.float32(wanted)


@pytest.mark.parametrize(
    "given, reason",
    [
        ({"rat": 1}, "--constant rat: no input is called so; near it are: rate"),
        ({"rate": 1.5}, "--constant rate=1.5: the input is int64, which cannot hold that"),
        ({"rate": 1e30}, "the input is int64, which cannot hold that"),
        ({"gains": 1e39}, "the input is float32, which cannot hold that"),
        ({"gains": [1, 2, 3]}, "its shape is [3], the input's [2]; one number is for all"),
        ({"gains": [[1], 2]}, "no array of numbers"),
        ({"gains": ["a", "b"]}, "no finite numbers"),
        ({"gains": float("nan")}, "no finite numbers"),
        ({"rate": 1, "gains": 1, "x": 1}, "the model has no inputs: what it computes is a constant"),
    ],
)
def test_what_the_input_cannot_be_is_refused(file: Path, given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError) as raised:
        load(file, constants=given)
    assert str(raised.value).startswith(f"{file}: ") and reason in str(raised.value)


def test_an_input_of_unknown_size_is_refused(file: Path) -> None:
    model = onnx.load(file)
    model.graph.input[2].type.tensor_type.shape.dim[0].dim_param = "n"
    onnx.save(model, file)
    with pytest.raises(UserError, match="the shape of that input is not known"):
        load(file, constants={"gains": 1})
