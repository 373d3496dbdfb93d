"""Formats by name: what is stored, what is refused, and what the report says of each node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.errors import UserError
from bevel.calib.formats.format import INT8
from bevel.calib.observe.observe import observe
from bevel.passes.canonicalize import canonicalize
from bevel.passes.quantize import QuantizeOptions, quantize
from bevel.passes.quantize.formats import activation_format, weight_format

CONV = "float[4,3,3,3] w, float[4] b"


def options(weights: str = "int8", activations: str = "int8") -> QuantizeOptions:
    return QuantizeOptions(weights=weight_format(weights), activations=activation_format(activations))


def stored(model: onnx.ModelProto, name: str) -> Any:
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    return tensor


@pytest.mark.parametrize(
    "name", ["uint9", "uint16", "e5m2", "log6", "bfloat16", "mxfp8", "nvfp4", "int4:block32", "int"]
)
def test_activations_without_kernels_are_refused_with_those_that_work(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name}.*can be int2 to int16.*e2m1.*e4m3"):
        activation_format(name)


@pytest.mark.parametrize(
    "name", ["uint9", "e5m2", "bfloat16", "log4s0.5", "mxfp8e5m2", "uint4:block32", "int4:block1", "int"]
)
def test_weights_that_are_no_short_integers_are_refused_with_those_that_work(name: str) -> None:
    with pytest.raises(UserError, match=r"weights can be int2 to int16.*e4m3.*mxfp4.*int4:block32"):
        weight_format(name)


def test_uint8_activations_are_int8_moved_and_uint8_weights_are_refused() -> None:
    assert activation_format("uint8") == INT8
    with pytest.raises(UserError, match="uint8"):
        weight_format("uint8")


@pytest.mark.parametrize(("name", "kind"), [("int4", "INT4"), ("uint4", "UINT4")])
def test_weights_of_4_bits_are_packed_in_the_file(text: Any, stages: Any, name: str, kind: str) -> None:
    made = stages(text("y = Conv (x, w, b)", weights=CONV), options=options(name))
    tensor = stored(made.quantized, "w/quantized")
    assert tensor.data_type == onnx.TensorProto.DataType.Value(kind)
    assert len(tensor.raw_data) == 54
    (node,) = (node for node in made.quantized.graph.node if "w/quantized" in node.input)
    assert stored(made.quantized, node.input[2]).data_type == tensor.data_type


@pytest.mark.parametrize("name", ["int2", "int5", "ternary", "binary", "e2m1", "log3"])
def test_weights_of_other_formats_are_their_steps_in_int8(text: Any, stages: Any, name: str) -> None:
    made = stages(text("y = Conv (x, w, b)", weights=CONV), options=options(name))
    codes = onnx.numpy_helper.to_array(stored(made.quantized, "w/quantized"))
    assert codes.dtype == np.int8
    assert len(np.unique(codes)) <= 2 ** weight_format(name).bits


def test_codes_of_activations_stay_in_their_format(text: Any, stages: Any) -> None:
    made = stages(
        text("y = MaxPool <kernel_shape = [2,2]> (x)\n z = Conv (y, w, b)", outputs="float[] z", weights=CONV),
        options=options(activations="uint3"),
    )
    (x,) = made.program.inputs
    quantized = {node.name: node for node in made.quantized.graph.node}
    assert quantized["x/round"].op_type == "Clip"
    assert "y/round" not in quantized  # only moved
    assert 0 <= x.zero_point <= 7


def test_results_stay_int8_even_behind_operators_that_only_move(text: Any, stages: Any) -> None:
    made = stages(text("c = Conv (x, w, b)\n y = Flatten (c)", weights=CONV), options=options("int4", "int2"))
    assert {node.name for node in made.quantized.graph.node if node.op_type == "Clip"} == {"x/round"}
    assert "int8" in made.node_notes("y")


def test_output_that_is_read_inside_has_the_format_of_activations(text: Any, stages: Any) -> None:
    weights = f"{CONV}, float[2,4,3,3] v"
    made = stages(
        text("y = Conv (x, w, b)\n z = Conv (y, v)", weights=weights, outputs="float[] y, float[] z"),
        options=options("int8", "int4"),
    )
    assert {node.name for node in made.quantized.graph.node if node.op_type == "Clip"} == {"x/round", "y/round"}


def test_every_node_says_its_format(text: Any) -> None:
    model = text(
        "c = Conv (x, w, b)\n r = Relu (c)\n t = Tanh (r)\n p = MaxPool <kernel_shape = [2,2]> (t)\n y = Conv (p, v)",
        weights=f"{CONV}, float[2,4,2,2] v",
    )
    graph, _ = canonicalize(model)
    samples = [{"x": np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)}]
    found = quantize(
        graph, observe(gs.export_onnx(graph), samples, QuantizeOptions().wants(graph)), options("e2m1", "int4")
    ).formats  # type: ignore[arg-type]
    assert found == {"c": "e2m1 weights, int4", "t": "int4", "p": "int4", "y": "e2m1 weights, int8"}


def test_channels_of_zeros_in_binary_give_their_bias(text: Any, stages: Any) -> None:
    w = np.random.default_rng(0).standard_normal((4, 3, 3, 3))
    w[1], w[3] = 0, 0
    bias = np.array([0.5, -3.0, 2.0, 0.0])
    model = text("y = Conv (x, w, b)", weights=CONV, values={"w": w, "b": bias})
    made = stages(model, options=options("binary"))
    (port,) = made.program.outputs
    for sample in made.extremes():
        codes = made.run(sample)["y"][0, [1, 3]].reshape(2, -1)
        reals = (codes.astype(float) - port.zero_point) * port.scale
        assert np.abs(reals - bias[[1, 3], None]).max() <= port.scale
