"""What quantization costs, on numbers small enough to check by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import onnx
import pytest

from bevel.backends.devices.base import Vectors
from bevel.backends.program.program import Port
from bevel.passes.operators.formats.unpack import unpack
from bevel.tools.accuracy.evaluate import (
    answered,
    decode,
    dequantize_weights,
    encode,
    node_errors,
    quantized_points,
    runner,
)
from bevel.tools.accuracy.stepper import Stepper
from bevel.tools.run.vectors import samples

QDQ = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,4] x) => (float[1,4] z)
<float step = {0.5}, int8 zero = {0}>
{
    a = Neg (x)
    y = Relu (a)
    q = QuantizeLinear (y, step, zero)
    d = DequantizeLinear (q, step, zero)
    z = Abs (d)
}
"""
FLOAT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,4] x) => (float[1,4] z)
{
    a = Neg (x)
    y = Relu (a)
    z = Abs (y)
}
"""


def named(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text)
    for node in model.graph.node:
        node.name = f"{node.output[0]}_node"
    return model


def test_encode_rounds_half_to_even_and_saturates_as_onnx_does() -> None:
    port = Port("x", "x", (1, 5), "int8", scale=0.5, zero_point=3)
    values = np.array([[-1000.0, -0.25, 0.25, 0.75, 1000.0]], np.float32)
    codes = encode({"x": values}, {"x": port})["x"]
    assert codes.dtype == np.int8 and codes.tolist() == [[-128, 3, 3, 5, 127]]
    assert decode(codes, port).tolist() == [[-65.5, 0.0, 0.0, 1.0, 62.0]]


def test_a_relu_before_the_quantizer_belongs_to_its_node() -> None:
    points = quantized_points(named(QDQ), {"a", "y", "z"})
    assert points == {"a_node": ("y", "d"), "y_node": ("y", "d")}


def test_node_errors_compare_what_a_node_passes_on() -> None:
    calls: list[tuple[int, int]] = []
    sample = {"x": np.array([[-0.6, -1.0, 2.0, -2.0]], np.float32)}
    errors = node_errors(named(FLOAT), named(QDQ), [sample], lambda done, total: calls.append((done, total)))
    signal, noise = 0.6**2 + 1 + 4, 0.1**2
    assert errors["a_node"] == pytest.approx(10 * np.log10(signal / noise), abs=1e-3)
    assert calls


def test_node_errors_tell_of_quantized_inputs_too() -> None:
    text = QDQ.replace(
        "a = Neg (x)", "p = QuantizeLinear (x, step, zero)\n e = DequantizeLinear (p, step, zero)\n a = Neg (e)"
    )
    sample = {"x": np.array([[0.1, 1.0, 2.0, 1.0]], np.float32)}
    errors = node_errors(named(FLOAT), named(text), [sample], lambda done, total: None)
    assert errors["x"] == pytest.approx(10 * np.log10(6.01 / 0.01), abs=1e-3)


def test_a_node_that_makes_infinities_has_an_error() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1,2] x) => (float[1,2] z)
    <float step = {0.5}, int8 zero = {0}>
    {
        a = Reciprocal (x)
        q = QuantizeLinear (a, step, zero)
        d = DequantizeLinear (q, step, zero)
        z = Reciprocal (d)
    }
    """
    reference = named(text)
    del reference.graph.node[1:3]
    reference.graph.node[1].input[0] = "a"
    errors = node_errors(
        reference, named(text), [{"x": np.array([[0.0, 100.0]], np.float32)}], lambda done, total: None
    )
    assert errors == {"a_node": 0.0}


def test_a_runner_takes_and_gives_real_values_where_the_model_holds_codes() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (int8[1,2] x) => (int8[1,2] y)
    { y = Identity (x) }
    """
    ports = (Port("x", "x", (1, 2), "int8", 0.5, 0), Port("y", "y", (1, 2), "int8", 0.25, 1))
    found = runner(onnx.parser.parse_model(text), ports).run({"x": np.array([[1.0, 2.0]], np.float32)})
    assert found["y"].tolist() == [[0.25, 0.75]]


def test_the_tiny_network_of_these_tests_runs(
    make_model: Callable[[], onnx.ModelProto], make_samples: Callable[[int], dict[str, np.ndarray]]
) -> None:
    outputs = runner(make_model()).run({"image": make_samples(1)["image"]})
    assert outputs["scores"].shape == (1, 3)


def test_dequantizing_weights_once_changes_outputs_by_no_more_than_a_sum_s_rounding() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1,2] x) => (float[1,2] y)
    <int8[2,2] codes = {1, -2, 3, 127}, float[2] scale = {0.1, 0.3}, int8[2] zero = {0, 0}>
    {
        w = DequantizeLinear <axis = 1> (codes, scale, zero)
        y = MatMul (x, w)
    }
    """
    model, sample = onnx.parser.parse_model(text), {"x": np.array([[0.7, -1.3]], np.float32)}
    folded = dequantize_weights(model)
    assert [node.op_type for node in folded.graph.node] == ["MatMul"]
    np.testing.assert_allclose(runner(folded).run(sample)["y"], runner(model).run(sample)["y"], rtol=1e-6)
    assert dequantize_weights(folded) is folded


def test_packed_weights_are_unpacked_once() -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 21, "bevel" : 1]>
    net (float[1,2] x) => (float[1,3] y)
    <uint8[2] packed = {228, 0}, int8[4] table = {-3, -1, 1, 3}, uint8[2] more = {1, 0},
     float[3] step = {0.5, 1.0, 2.0}>
    {
        w = bevel.Unpack2 <shape = [2, 2]> (packed, table)
        v = bevel.Unpack2 <shape = [2, 1]> (more, table)
        m = Concat <axis = 1> (w, v)
        r = DequantizeLinear <axis = 1> (m, step)
        y = MatMul (x, r)
    }
    """
    model, sample = onnx.parser.parse_model(text), {"x": np.array([[1.0, 10.0]], np.float32)}
    model.functions.append(unpack(2).proto(21))
    folded = dequantize_weights(model)
    assert [node.op_type for node in folded.graph.node] == ["MatMul"]
    expected = [-1.5 + 5.0, -1.0 + 30.0, -2.0 - 60.0]
    for one in (folded, model):
        np.testing.assert_allclose(runner(one).run(sample)["y"], [expected])


def test_a_sample_of_a_scalar_input_is_an_array() -> None:
    (one,) = samples(Vectors({"c": np.ones(1, np.float32)}, {"y": np.ones((1, 2), np.float32)}))
    assert isinstance(one["c"], np.ndarray) and one["c"].shape == ()


class Counting:
    """A model that adds what it is given to its state, and takes longer for smaller samples."""

    def run(self, sample: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        time.sleep(0.002 * float(4 - sample["x"][0] % 4))
        return {"y": sample["x"] + sample.get("s", 0), "n": sample["x"] + sample.get("s", 0)}

    run_raw = run


@pytest.mark.parametrize("states", [{}, {"s": "n"}])
def test_samples_that_are_run_together_are_answered_in_order_from_the_states_before(states: dict[str, str]) -> None:
    samples = [{"x": np.array([place])} for place in range(9)]
    steppers = [Stepper(Counting(), states, ["y"]) for _ in range(2)]
    found = list(answered(steppers, ((sample, place in (0, 5)) for place, sample in enumerate(samples))))
    assert [sample["x"][0] for sample, _ in found] == list(range(9))
    wanted = [0, 1, 3, 6, 10, 5, 11, 18, 26] if states else list(range(9))
    assert [[int(one["y"][0]) for one in outputs] for _, outputs in found] == [[value] * 2 for value in wanted]
