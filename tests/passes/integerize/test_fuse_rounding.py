"""Roundings behind operators cost nothing; those that something else needs stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format

CONVS = "c = Conv (x, w)\n r = Relu (c)\n y = Conv (r, v)"
WEIGHTS = "float[4,3,3,3] w, float[2,4,3,3] v"


def options(activations: str) -> QuantizeOptions:
    return QuantizeOptions(activations=activation_format(activations))


def attributes(model: onnx.ModelProto, name: str) -> dict[str, Any]:
    (node,) = (node for node in model.graph.node if node.name == name)
    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}


def test_narrower_integers_behind_an_operator_are_its_own_bounds(text: Any, stages: Any) -> None:
    made = stages(text(CONVS, weights=WEIGHTS), options=options("int4"))
    assert made.ops == ["Clip", "Conv", "Conv"]  # the codes of a port are another's word
    inside = attributes(made.integer, "c")
    assert (inside["zero_point"], inside["low"], inside["high"]) == (-8, -8, 7)


def test_unequal_steps_behind_an_operator_are_a_table(text: Any, stages: Any) -> None:
    made = stages(text(CONVS, weights=WEIGHTS), options=options("e2m1"))
    assert made.ops == ["Table", "Conv", "Table", "Conv"]


@pytest.mark.parametrize("format", ["int4", "e2m1"])
def test_rounding_behind_a_table_is_in_the_table(text: Any, stages: Any, format: str) -> None:
    made = stages(text("c = Conv (x, w)\n t = Tanh (c)\n y = Conv (t, v)", weights=WEIGHTS), options=options(format))
    tables = [node for node in made.integer.graph.node if node.name == "t"]
    assert [node.op_type for node in tables] == ["Table"]
    assert made.ops == (["Clip", "Conv", "Table", "Conv"] if format == "int4" else ["Table", "Conv", "Table", "Conv"])


def test_rounding_of_what_is_read_before_it_too_stays(text: Any, stages: Any) -> None:
    body = (
        "q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)\n r = GlobalAveragePool (d)\n"
        "p = QuantizeLinear (r, s, z)\n k = Clip (p, l, h)\n y = DequantizeLinear (k, s, z)\n"
        "v = DequantizeLinear (p, s, z)"
    )
    values = {"s": 0.1, "z": 3, "l": -8, "h": 7}
    weights = "float s, int8 z, int8 l, int8 h"  # no sum of nine lies on a half, which would be rounded to even
    made = stages(text(body, "float[1,3,3,3] x", "float[] y, float[] v", weights, values))
    assert made.ops == ["ReduceMean", "Clip"]
    codes = np.full((1, 3, 3, 3), 90, np.int8)
    found = made.run({"x": codes})
    assert (found["y"] == 7).all() and (found["v"] == 90).all()


def test_clamps_in_a_row_are_one(text: Any, stages: Any) -> None:
    body = "q = QuantizeLinear (x, s, z)\n j = Clip (q, m, n)\n k = Clip (j, l, h)\n y = DequantizeLinear (k, s, z)"
    values = {"s": 0.1, "z": 3, "l": -8, "h": 70, "m": -20, "n": 50}
    made = stages(text(body, "float[5] x", weights="float s, int8 z, int8 l, int8 h, int8 m, int8 n", values=values))
    assert made.ops == ["Clip"]
    found = made.run({"x": np.array([-128, -9, 0, 60, 127], np.int8)})["y"]
    assert found.tolist() == [-8, -8, 0, 50, 50]
