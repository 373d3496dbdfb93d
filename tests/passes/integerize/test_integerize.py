"""The integer model as a file: its ports, functions, names and metadata."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pytest

from bevel.calib.errors import UserError
from bevel.passes.exchange.export import PORTS

CONV = "float[4,3,3,3] w, float[4] b"
NETWORK = "c = Conv (x, w, b)\n r = Relu (c)\n g = GlobalAveragePool (r)\n f = Flatten (g)\n y = Softmax (f)"
PAIR = "q = QuantizeLinear (x, s, z)\n y = DequantizeLinear (q, s, z)"
STEP = {"s": 0.05, "z": 100}


def metadata(model: onnx.ModelProto) -> dict[str, Any]:
    return {entry.key: entry.value for entry in model.metadata_props}


def test_ports_are_float_unless_asked_otherwise(text: Any, stages: Any) -> None:
    made = stages(text(NETWORK, weights=CONV), inputs="float", outputs="float")
    assert made.ops == ["QuantizeLinear", "Conv", "ReduceMean", "Reshape", "Softmax", "DequantizeLinear"]
    assert [port.dtype for port in (*made.program.inputs, *made.program.outputs)] == ["float32", "float32"]
    assert [port.scale for port in (*made.program.inputs, *made.program.outputs)] == [None, None]
    assert metadata(made.integer) == {PORTS: "{}"}


def test_quantized_ports_keep_their_names_and_say_what_they_mean(text: Any, stages: Any) -> None:
    made = stages(text(NETWORK, weights=CONV))
    assert made.ops == ["Conv", "ReduceMean", "Reshape", "Softmax"]
    (x,), (y,) = made.program.inputs, made.program.outputs
    assert (x.name, x.dtype, y.name, y.dtype) == ("x", "int8", "y", "int8")
    assert json.loads(metadata(made.integer)[PORTS]) == {"x": [x.scale, x.zero_point], "y": [1 / 256, -128]}


@pytest.mark.parametrize(("inputs", "outputs"), [("float", "quantized"), ("quantized", "float"), ("float", "float")])
def test_codes_in_and_codes_out_are_the_floats_quantized(text: Any, stages: Any, inputs: str, outputs: str) -> None:
    model = text("c = Conv (x, w, b)\n r = Relu (c)\n y = Conv (r, v)", weights=f"{CONV}, float[2,4,1,1] v")
    codes, other = stages(model), stages(model, inputs=inputs, outputs=outputs)
    (x,), (y,) = codes.program.inputs, codes.program.outputs
    for sample in codes.extremes():
        given = (
            sample
            if inputs == "quantized"
            else {"x": (sample["x"].astype(np.float32) - x.zero_point) * np.float32(x.scale)}
        )
        found = other.run(given)["y"]
        if outputs == "float":
            found = np.rint(found / np.float32(y.scale)) + y.zero_point
        np.testing.assert_array_equal(found, codes.run(sample)["y"])


def test_every_fused_operator_is_one_function_of_standard_operators(text: Any, stages: Any) -> None:
    made = stages(text(NETWORK, weights=CONV))
    assert sorted(one.name for one in made.integer.functions) == ["Conv", "ReduceMean", "Softmax"]
    assert {node.domain for one in made.integer.functions for node in one.node} == {""}
    assert {(one.domain, one.version) for one in made.integer.opset_import} == {("", 21), ("bevel", 1)}
    onnx.checker.check_model(made.integer)


def test_node_names_are_those_of_the_float_model(text: Any, stages: Any) -> None:
    made = stages(text(NETWORK, weights=CONV))
    assert [node.name for node in made.integer.graph.node] == ["c", "g", "f", "y"]
    assert [call.node for call in made.program.calls if not call.node.endswith("reorder")] == ["c", "g", "y"]


def test_input_that_a_float_operator_reads_too_stays_float_with_a_note(text: Any, stages: Any) -> None:
    model = text(f"{PAIR}\n p = Softmax (x)", "float[2,5] x", "float[] y, float[] p", "float s, int8 z", STEP)
    made = stages(model, islands=True)
    assert made.program.inputs[0].dtype == "float32"
    assert "this input stays float" in made.node_notes("x")


def test_output_of_a_float_operator_stays_float_with_a_note(text: Any, stages: Any) -> None:
    made = stages(text("y = Trilu (x)", "float[3,4] x"), islands=True)
    assert made.program.outputs[0].dtype == "float32"
    assert "this output stays float" in made.node_notes("y")


@pytest.mark.parametrize("inputs", ["float", "quantized"])
@pytest.mark.parametrize("outputs", ["float", "quantized"])
def test_model_that_only_quantizes_its_input_runs_with_any_ports(
    text: Any, stages: Any, inputs: str, outputs: str
) -> None:
    model = text(PAIR, "float[2,5] x", weights="float s, int8 z", values=STEP)
    made = stages(model, inputs=inputs, outputs=outputs)
    for sample in made.extremes():
        made.run(sample)


def test_result_that_is_both_float_and_quantized_is_computed_both_ways(text: Any, stages: Any) -> None:
    body = (
        "q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)\n r = GlobalAveragePool (d)\n"
        "p = QuantizeLinear (r, s, z)\n y = DequantizeLinear (p, s, z)"
    )
    model = text(body, "float[1,3,4,4] x", "float[] r, float[] y", "float s, int8 z", STEP)
    made = stages(model, islands=True)
    names = [node.name for node in made.integer.graph.node]
    assert len(set(names)) == len(names)
    codes = np.arange(48, dtype=np.int8).reshape(1, 3, 4, 4)
    found = made.program.run({"x": codes})
    expected = dict(zip(["r", "y"], made.sessions[1].run(["r", "y"], {"x": codes}), strict=True))
    np.testing.assert_allclose(found["r"], expected["r"], rtol=1e-6)  # float sums in another order
    np.testing.assert_array_equal(found["y"], expected["y"])


def test_operator_on_integers_that_moves_nothing_is_refused_by_name(text: Any, stages: Any) -> None:
    body = "q = QuantizeLinear (x, s, z)\n a = Max (q, q2)\n y = DequantizeLinear (a, s, z)"
    model = text(body, "float[5] x", weights="float s, int8 z, int8[5] q2", values=STEP | {"q2": np.arange(5)})
    with pytest.raises(UserError, match="node a: Max of integers cannot be compiled; Concat, Flatten"):
        stages(model)


@pytest.mark.parametrize("kind", ["uint8", "int16"])
def test_a_cast_of_floats_to_short_integers_is_a_float_operator(text: Any, stages: Any, kind: str) -> None:
    to = {"uint8": 2, "int16": 5}[kind]
    body = f"q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)\n a = Abs (d)\n y = Cast <to = {to}> (a)"
    made = stages(text(body, "float[5] x", f"{kind}[] y", "float s, int8 z", STEP), islands=True)
    codes = np.array([-128, -3, 0, 5, 127], np.int8)
    np.testing.assert_array_equal(made.program.run({"x": codes})["y"], made.sessions[1].run(None, {"x": codes})[0])


def test_computed_scale_is_refused_by_name(text: Any, stages: Any) -> None:
    body = "s = ReduceMax <keepdims = 0> (v)\n q = QuantizeLinear (x, s, z)\n y = DequantizeLinear (q, s, z)"
    with pytest.raises(UserError, match="computes its scale; only constant scales can be compiled"):
        stages(text(body, "float[5] x, float[3] v", weights="int8 z", values=STEP))


def test_a_product_that_no_multiplier_brings_to_its_results_scale_stays_float_and_says_so(
    text: Any, stages: Any
) -> None:
    """A weight of 1e36 that only ever met zeros."""
    weights = np.random.default_rng(0).standard_normal((8, 1))
    weights[0, 0] = 1e36
    samples = [{"x": np.random.default_rng(seed).standard_normal((1, 8)).astype(np.float32)} for seed in range(4)]
    for one in samples:
        one["x"][:, 0] = 0
    model = text("y = Gemm (x, w)", "float[1,8] x", weights="float[8,1] w", values={"w": weights})
    made = stages(model, samples, islands=True)
    assert "a requantization ratio must lie in" in made.node_notes("y")
