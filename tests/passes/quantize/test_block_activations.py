"""Activations in blocks that share a power of two, from the command line's name to the program."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest

from bevel.calib.formats.format import parse
from bevel.calib.formats.mx import round_reals
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format, weight_format

WEIGHTS = "float[4,40,3,3] w, float[4] b, float[3,4,1,1] v"
BODY = "c = Conv <pads = [1,1,1,1]> (x, w, b)\n y = Relu (c)\n z = MaxPool <kernel_shape = [2,2]> (y)\n r = Conv (z, v)"
SHAPES = {"inputs": "float[1,40,6,6] x", "outputs": "float[] r"}


def options(weights: str, activations: str) -> QuantizeOptions:
    return QuantizeOptions(weights=weight_format(weights), activations=activation_format(activations))


def values(model: onnx.ModelProto, name: str, sample: dict[str, Any]) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return ort.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"]).run([name], sample)[0]


@pytest.fixture(scope="module")
def made(text: Any, stages: Any) -> Any:
    return stages(text(BODY, weights=WEIGHTS, **SHAPES), options=options("mxfp4", "mxfp4"))


@pytest.mark.parametrize("name", ["mxfp4", "mxfp6", "mxfp6e3m2", "mxint8"])
def test_values_in_the_quantized_model_are_those_of_the_format(name: str, text: Any, stages: Any) -> None:
    made = stages(text(BODY, weights=WEIGHTS, **SHAPES), options=options("int8", name))
    x = np.random.default_rng(0).standard_normal((1, 40, 6, 6)).astype(np.float32)
    element = {"mxfp4": "e2m1", "mxfp6": "e2m3", "mxfp6e3m2": "e3m2", "mxint8": "int8"}[name]
    got = values(made.quantized, "x/dequantized", {"x": x})
    assert np.array_equal(got, round_reals(got, parse(element), 1))  # nothing is left to round
    error, least = (np.square(x - one).sum() for one in (got, round_reals(x, parse(element), 1)))
    assert error == pytest.approx(least, rel=1e-3)


def test_the_device_answers_as_the_integer_model_and_near_the_quantized_one(made: Any) -> None:
    for sample in made.extremes():
        made.run(sample)
        assert made.error(sample) <= 1


def test_sums_are_rounded_to_blocks_where_they_are_made_and_what_is_moved_is_not(made: Any) -> None:
    assert made.ops.count("RoundMx") == 2  # the input's, the convolution's; the result is int8
    assert made.calls.count("RoundMx") == 2
    nodes = {node.name: node for node in made.quantized.graph.node}
    assert nodes["y/round"].op_type == "RoundMx"
    assert nodes["z/quantize"].op_type == "QuantizeLinear"
    assert "z/round" not in nodes


def test_inputs_of_blocks_stay_float(made: Any) -> None:
    (port,) = made.program.inputs
    assert port.dtype == "float32"
    assert "stays float" in made.node_notes("x")


def test_blocks_run_along_the_axis_that_a_matrix_product_sums(text: Any, stages: Any) -> None:
    model = text(
        "y = MatMul (x, w)\n z = MatMul (y, v)",
        inputs="float[1,5,40] x",
        outputs="float[] z",
        weights="float[40,36] w, float[36,3] v",
    )
    made = stages(model, options=options("mxfp4", "mxfp4"))
    for sample in made.extremes():
        made.run(sample)
    rounding = [node for node in gs.import_onnx(made.integer).nodes if node.op == "RoundMx"]
    assert [node.attrs["channels"] for node in rounding] == [[40], [36]]


def test_blocks_run_along_the_channels_of_a_signal(text: Any, stages: Any) -> None:
    model = text(
        "c = Conv (x, w)\n y = Relu (c)\n r = Conv (y, v)",
        "float[1,6,40] x",
        "float[] r",
        "float[5,6,3] w, float[3,5,1] v",
    )
    made = stages(model, options=options("int8", "mxfp4"))
    rounding = [node for node in gs.import_onnx(made.integer).nodes if node.op == "RoundMx"]
    assert [node.attrs["channels"] for node in rounding] == [[6], [5]]
