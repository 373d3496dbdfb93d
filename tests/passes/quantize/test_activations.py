"""How activations of wide formats stand in quantized.onnx, and which of them stay int8."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel.calib.formats.format import parse
from bevel.calib.formats.levels import wide_levels
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format

TWO_CONVS = "c = Conv <pads = [1,1,1,1]> (x, w)\n r = Relu (c)\n y = Conv (r, v)"
WEIGHTS = "float[4,3,3,3] w, float[2,4,3,3] v"
IMAGE = (1, 3, 8, 8)


def made_in(activations: str, text: Any, stages: Any, body: str = TWO_CONVS, weights: str = WEIGHTS) -> Any:
    return stages(text(body, weights=weights), options=QuantizeOptions(activations=activation_format(activations)))


def types(model: onnx.ModelProto, tensor: str) -> set[str]:
    """The element types of what quantizers make of a tensor, as their zero points or attributes say."""
    kinds = {one.name: one.data_type for one in model.graph.initializer}
    found = set()
    for node in model.graph.node:
        if tensor in node.input and node.op_type == "QuantizeLinear":
            found.add(onnx.TensorProto.DataType.Name(kinds[node.input[2]]))
        if tensor in node.input and node.op_type == "QuantizeFloat":
            found |= {onnx.TensorProto.DataType.Name(one.i) for one in node.attribute if one.name == "y_type"}
    return found


@pytest.mark.parametrize(("format", "kind"), [("e4m3", "INT32"), ("e3m2", "INT16")])
def test_activations_have_the_type_of_their_format_and_results_int8(
    format: str, kind: str, text: Any, stages: Any
) -> None:
    made = made_in(format, text, stages)
    assert types(made.quantized, "x") == types(made.quantized, "r") == {kind}
    assert types(made.quantized, "y/float") == {"INT8"}
    assert f"a result of the model: int8, not {format}" in made.node_notes("y")


@pytest.mark.parametrize("format", ["int16", "int9"])
def test_results_of_wider_integers_are_as_wide(format: str, text: Any, stages: Any) -> None:
    made = made_in(format, text, stages)
    assert types(made.quantized, "x") == types(made.quantized, "r") == types(made.quantized, "y/float") == {"INT16"}


@pytest.mark.parametrize("format", ["e4m3", "e3m2", "e3m4", "int9", "int12"])
def test_the_quantized_model_holds_values_of_the_format(format: str, text: Any, stages: Any) -> None:
    made = made_in(format, text, stages)
    model = made.quantized
    model.graph.output.append(onnx.ValueInfoProto(name="r/dequantized"))
    x = np.random.default_rng(0).standard_normal(IMAGE).astype(np.float32)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = np.unique(session.run(["r/dequantized"], {"x": x})[0])
    assert 20 < len(values) <= 2 ** parse(format).bits
    scale = next(one for one in model.graph.initializer if one.name in ("r/scale", "r/dequantize/scale"))
    units = values / onnx.numpy_helper.to_array(scale)
    levels = wide_levels(parse(format))
    known = np.arange(-(2**15), 2**15) if levels is None else levels.array
    assert np.isin(np.rint(units), known).all()


def test_what_tables_read_and_make_stays_int8_of_formats_with_steps(text: Any, stages: Any) -> None:
    body = "c = Conv (x, w)\n s = Sigmoid (c)\n d = Conv (s, v)\n y = Relu (d)"
    made = made_in("e3m2", text, stages, body)
    assert types(made.quantized, "x") == {"INT16"}
    assert types(made.quantized, "c") == types(made.quantized, "s") == {"INT8"}
    assert "no kernel for the format: int8, not e3m2" in made.node_notes("c")
    for sample in made.extremes():
        made.run(sample)


def test_a_lone_relu_needs_no_table(text: Any, stages: Any) -> None:
    pool = "p = MaxPool <kernel_shape = [1,1]> (c)"
    body = f"c = Conv <pads = [1,1,1,1]> (x, w)\n r = Relu (c)\n {pool}\n s = Add (r, p)\n y = Conv (s, v)"
    made = made_in("e3m2", text, stages, body)
    assert types(made.quantized, "c") == types(made.quantized, "r") == {"INT16"}
    assert not {"Table", "DequantizeLinear"} & set(made.ops)
    for sample in made.extremes():
        made.run(sample)


@pytest.mark.parametrize("format", ["int16", "int12", "e4m3", "e3m2", "e3m4"])
def test_stock_onnxruntime_runs_the_quantized_model_at_its_default_settings(
    format: str, text: Any, stages: Any
) -> None:
    body = (
        "c = Conv <pads = [1,1,1,1]> (x, w)\n r = Relu (c)\n d = Conv <pads = [1,1,1,1]> (r, u)\n s = Add (r, d)\n"
        "t = Transpose <perm = [0,2,3,1]> (s)\n b = Transpose <perm = [0,3,1,2]> (t)\n"
        "p = AveragePool <kernel_shape = [2,2]> (b)\n m = MaxPool <kernel_shape = [2,2]> (p)\n"
        "j = Concat <axis = 1> (m, m)\n"
        "g = GlobalAveragePool (j)\n f = Flatten (g)\n y = Gemm (f, v)"
    )
    weights = "float[4,3,3,3] w, float[4,4,3,3] u, float[8,5] v"
    model = made_in(format, text, stages, body, weights).quantized
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    x = np.random.default_rng(0).standard_normal(IMAGE).astype(np.float32)
    given = model.SerializeToString()
    stock, written = (
        ort.InferenceSession(given, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for options in (ort.SessionOptions(), plain)
    )
    assert np.abs(stock - written).max() <= 0.02 * np.abs(written).max()  # a step of the int8 result


@pytest.mark.parametrize("format", ["int16", "int12", "e4m3", "e3m2"])
def test_a_quantized_model_that_comes_back_computes_the_same(format: str, text: Any, stages: Any) -> None:
    first = made_in(format, text, stages)
    again = stages(first.quantized, inputs="float", outputs="float")
    given = stages(
        text(TWO_CONVS, weights=WEIGHTS),
        options=QuantizeOptions(activations=activation_format(format)),
        inputs="float",
        outputs="float",
    )
    x = np.random.default_rng(0).standard_normal(IMAGE).astype(np.float32)
    np.testing.assert_array_equal(again.run({"x": x})["y"], given.run({"x": x})["y"])
