"""Activations of quantized.onnx as uint8: what it computes and what becomes of it stay the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.unsigned_activations import unsigned_activations
from bevel.passes.integerize.integerize import integerize
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format, weight_format

BODY = """
  c = Conv <pads = [1,1,1,1]> (x, w, b)
  r = Relu (c)
  s = Concat <axis = 1> (r, k)
  p = AveragePool <kernel_shape = [2,2], strides = [2,2]> (s)
  y = Sigmoid (p)
"""
WEIGHTS = "float[4,3,3,3] w, float[4] b, float[1,2,8,8] k"
UINT8, INT8 = onnx.TensorProto.UINT8, onnx.TensorProto.INT8


def quantized_types(model: onnx.ModelProto) -> dict[str, set[int]]:
    """Element types of zero points: of activations, of constants that are moved, and of the weights of products."""
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    read = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    found: dict[str, set[int]] = {"activation": set(), "constant": set(), "weight": set()}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
            stored = node.input[0] in known
            kind = "weight" if node.output[0] in read else "constant" if stored else "activation"
            found[kind].add(known[node.input[2]].data_type)
    return found


def outputs(model: onnx.ModelProto, x: np.ndarray[Any, Any], optimized: bool = False) -> np.ndarray[Any, Any]:
    options = ort.SessionOptions()
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    found: np.ndarray[Any, Any] = ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]
    return found


def test_activations_are_uint8_and_weights_of_products_int8(text: Any, stages: Any) -> None:
    made = stages(text(BODY, weights=WEIGHTS))
    assert quantized_types(made.shipped) == {"activation": {UINT8}, "constant": {UINT8}, "weight": {INT8}}


def test_codes_moved_by_half_their_range_mean_the_same_reals(text: Any, stages: Any, monkeypatch: Any) -> None:
    model = text(BODY, weights=WEIGHTS)
    unsigned = stages(model).shipped
    monkeypatch.setattr("bevel.passes.exchange.export.unsigned_activations", lambda model: None)
    signed = stages(model).shipped
    assert quantized_types(signed)["activation"] == {INT8}
    for spread in (1, 100):
        x = (spread * np.random.default_rng(3).standard_normal((1, 3, 8, 8))).astype(np.float32)
        np.testing.assert_array_equal(outputs(unsigned, x), outputs(signed, x))


def test_a_file_that_comes_back_becomes_the_same_integers(text: Any, stages: Any) -> None:
    first = stages(text(BODY, weights=WEIGHTS), inputs="float", outputs="float")
    again, _ = integerize(canonicalize(first.shipped)[0])
    x = np.random.default_rng(4).standard_normal((1, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(outputs(again, x, True), outputs(first.integer, x, True))


@pytest.mark.parametrize(
    ("weights", "activations", "kind"),
    [("int8", "int4", INT8), ("int16", "int8", INT8), ("int4", "int8", UINT8)],
)
def test_a_model_with_rounded_codes_or_wide_weights_keeps_int8(
    weights: str, activations: str, kind: int, text: Any, stages: Any
) -> None:
    options = QuantizeOptions(weights=weight_format(weights), activations=activation_format(activations))
    made = stages(text(BODY, weights=WEIGHTS), options=options)
    assert quantized_types(made.shipped)["activation"] == {kind}


def test_codes_that_are_a_result_of_the_model_stay_as_they_are(text: Any) -> None:
    body = "y = QuantizeLinear (x, s, z)"
    model = text(body, "float[4] x", "int8[4] y", "float s, int8 z", {"s": 0.5, "z": 3})
    before = model.SerializeToString(deterministic=True)
    unsigned_activations(model)
    assert model.SerializeToString(deterministic=True) == before
