"""Parameters of QuantizeLinear and DequantizeLinear with everything ONNX lets them leave out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.passes.graph.edit import producer
from bevel.passes.graph.quantizers import constant_source, is_dequantize, is_quantize, parameters


@pytest.fixture
def node(text: Any) -> Any:
    def parsed(
        body: str, inputs: str = "float[2,3] x", weights: str = "", values: Any = None, outputs: str = "uint8[] y"
    ) -> gs.Node:
        return gs.import_onnx(text(body, inputs, outputs, weights, values)).nodes[0]

    return parsed


def test_scale_and_zero_point_of_a_tensor_are_scalars(node: Any) -> None:
    for shape in ("", "[1]"):
        found = parameters(
            node("y = QuantizeLinear (x, s, z)", weights=f"float{shape} s, int8{shape} z", values={"s": 0.5, "z": 3})
        )
        assert (found.scale.shape, found.zero_point.shape) == ((), ())
        assert (found.scale, found.zero_point, found.zero_point.dtype) == (0.5, 3, np.int8)


def test_missing_zero_point_is_uint8_zero(node: Any) -> None:
    found = parameters(node("y = QuantizeLinear (x, s)", weights="float s"))
    assert (found.zero_point, found.zero_point.dtype) == (0, np.uint8)


def test_missing_zero_point_has_the_type_of_the_codes(node: Any) -> None:
    found = parameters(node("y = DequantizeLinear (x, s)", "int8[2,3] x", weights="float s"))
    assert found.zero_point.dtype == np.int8


def test_axis_is_one_where_nothing_is_said(node: Any) -> None:
    body, weights = "y = QuantizeLinear {}(x, s, z)", "float[3] s, int8[3] z"
    assert parameters(node(body.format(""), weights=weights)).axis == 1
    assert parameters(node(body.format("<axis = -1> "), weights=weights)).axis == -1


def test_computed_parameters_are_none(node: Any) -> None:
    assert parameters(node("y = QuantizeLinear (x, s)", "float[2,3] x, float[1] s")) is None


def test_kinds_of_nodes_and_where_tensors_come_from(text: Any) -> None:
    graph = gs.import_onnx(
        text("d = DequantizeLinear (k, s)\n y = Add (x, d)", "float[3] x", weights="int8[3] k, float s")
    )
    dequantize, add = graph.nodes
    assert is_dequantize(dequantize) and not is_quantize(dequantize) and not is_dequantize(None)
    assert producer(add.inputs[0]) is None and producer(add.inputs[1]) is dequantize
    source = constant_source(add.inputs[1])
    assert source is not None and source.name == "k"
    assert constant_source(add.inputs[0]) is None
