"""An island is judged by the size of what it computes differently, and a wrong operator is refused by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from bevel.backends.program.ops.mat_mul_n_bits import MatMulNBits
from bevel.backends.tir import importer
from bevel.calib.errors import UserError
from bevel.passes.partition import check_islands as module
from bevel.passes.partition import spell_floats
from bevel.passes.partition.check_islands import check_islands

CUBIC = """agraph (float[1,1,8,8] x) => (float[1,1,4,4] y) <float[4] s = {1.0, 1.0, 0.6, 0.6}>
    { small = Resize <mode = "cubic"> (x, "", s) y = Sin (small) }"""
RIGHT = {
    "exponentials and logarithms": """agraph (float[2,6] x) => (float[2,6] y)
        { e = Exp (x) t = Tanh (e) s = Softplus (t) y = Erf (s) }""",
    "a norm far from zero, whose numbers cancel": """agraph (float[2,6] x) => (float[2,6] y)
        <float k = {3000.0}, float[6] g = {1, 1, 1, 1, 1, 1}> { z = Add (x, k) y = LayerNormalization (z, g) }""",
    "a comparison that tips": """agraph (float[2,6] x) => (float[2,6] y) <float third = {0.333}, float e = {0.001}>
        { a = Exp (x) b = Log (a) c = Mul (b, third) d = Div (c, e) y = Floor (d) }""",
    "classes": "agraph (float[2,6] x) => (int64[2] y) { s = Softmax (x) y = ArgMax <axis = 1, keepdims = 0> (s) }",
    "a sine of a large angle": """agraph (float[2,6] x) => (float[2,6] y) <float k = {30000.0}>
        { z = Mul (x, k) y = Sin (z) }""",
}


def model_of(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\n{text}')
    for node in model.graph.node:
        node.name = f"node_{node.output[0]}"
    return onnx.shape_inference.infer_shapes(model)


def samples(model: onnx.ModelProto) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    return [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(3)]


@pytest.fixture
def misspelled(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Leaves an operator to TVM's importer as it is."""
    return lambda operator: monkeypatch.delitem(spell_floats.RULES, operator)


@pytest.mark.parametrize("name", RIGHT)
def test_what_float_arithmetic_explains_is_right(name: str) -> None:
    model = model_of(RIGHT[name])
    check_islands(model, samples(model), importer)


def test_a_wrong_operator_is_refused_by_node_and_operator(misspelled: Callable[[str], None]) -> None:
    model = model_of(CUBIC)
    check_islands(model, samples(model), importer)
    misspelled("Resize")
    with pytest.raises(UserError, match=r"^node_small \(Resize\) .* off by .* of the output's range"):
        check_islands(model, samples(model), importer)


def test_wrong_integers_are_refused_however_few(misspelled: Callable[[str], None]) -> None:
    model = model_of("""agraph (float[2,6] x) => (bool[2,6] y)
        { r = Relu (x) z = Log (r) y = IsInf <detect_negative = 0> (z) }""")
    check_islands(model, samples(model), importer)
    misspelled("IsInf")
    with pytest.raises(UserError, match=r"node_y \(IsInf\)"):
        check_islands(model, samples(model), importer)


def test_random_numbers_are_refused() -> None:
    model = model_of("""agraph (float[2,60] x) => (float[2,60] y) <float ratio = {0.5}, bool train = {1}>
        { y = Dropout (x, ratio, train) }""")
    with pytest.raises(UserError, match=r"node_y \(Dropout\)"):
        check_islands(model, samples(model), importer)


def test_an_integer_graph_is_not_run() -> None:
    model = model_of("agraph (int8[2,6] x) => (int8[6,2] y) { y = Transpose (x) }")
    check_islands(model, iter([{"no such input": np.zeros(1)}]), importer)


@pytest.mark.parametrize(
    ("expected", "found", "distance"),
    [([1.0, -4.0], [1.0, -3.0], 0.25), ([np.inf, 1.0], [np.inf, 1.5], 0.5), ([1.0, 2.0], [np.nan, 2.0], np.inf)],
)
def test_distances_are_in_units_of_the_range(expected: list[float], found: list[float], distance: float) -> None:
    assert module.distance(np.array(expected), np.array(found)) == distance


def test_what_cannot_be_imported_is_named_in_one_line() -> None:
    model = model_of("""agraph (float[2,6] x) => (float[2,2] y) <int64[1] two = {2}>
        { e = Exp (x) s, i = TopK (e, two) y = Sin (s) }""")
    with pytest.raises(UserError, match=r"^node_s \(TopK\) .* needs TVM's runtime.*--outputs-at NAME$"):
        check_islands(model, samples(model), importer)


def test_a_product_by_stored_weights_that_is_another_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """agraph (float[2,6] x, int8[6,3] q, float s) => (float[2,3] y)
        { w = DequantizeLinear (q, s) y = MatMul (x, w) }"""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\n{text}')
    arrays = {"q": np.arange(-9, 9, dtype=np.int8).reshape(6, 3), "s": np.array(0.3, np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    del model.graph.input[1:]
    for node in model.graph.node:
        node.name = f"node_{node.output[0]}"
    model = onnx.shape_inference.infer_shapes(model)
    check_islands(model, samples(model), importer)
    plain = MatMulNBits.reference
    monkeypatch.setattr(MatMulNBits, "reference", lambda self, *arrays: plain(self, *arrays) * np.float32(1.0001))
    with pytest.raises(UserError, match=r"node_y \(MatMul\): its product by stored weights is off by"):
        check_islands(model, samples(model), importer)
