"""The file of a quantized model repeats nothing: it is smaller than the float model, however long the names in that."""

from __future__ import annotations

from typing import Any

import onnx
import pytest

from bevel.passes.exchange.compact_quantizers import compact_quantizers
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import weight_format

LONG = "/".join(["model_1/batch_normalization/FusedBatchNormV3"] * 4)


def deep(layers: int, name: str) -> tuple[str, str]:
    """Body and weights of small convolutions behind each other, whose tensors have long names."""
    lines, weights, x = [], [], "x"
    for layer in range(layers):
        y = "y" if layer == layers - 1 else f'"{name}{layer}"'
        lines.append(f"{y} = Conv <pads = [1,1,1,1]> ({x}, w{layer}, b{layer})")
        weights.append(f"float[8,{8 if layer else 3},3,3] w{layer}, float[8] b{layer}")
        x = y
    return "\n".join(lines), ", ".join(weights)


@pytest.mark.parametrize("name", ["t", LONG])
def test_quantized_model_is_smaller_than_the_float_one(name: str, text: Any, stages: Any) -> None:
    body, weights = deep(12, name)
    model = text(body, weights=weights)
    assert stages(model).shipped.ByteSize() < model.ByteSize()


def test_tensors_of_the_float_model_keep_their_names(text: Any, stages: Any) -> None:
    body, weights = deep(3, LONG)
    made = {name for node in stages(text(body, weights=weights)).shipped.graph.node for name in node.output}
    assert {f"{LONG}0", f"{LONG}1", "y"} <= made


def test_equal_scales_stand_in_the_file_once(text: Any, stages: Any) -> None:
    body, weights = deep(6, "t")
    model = stages(text(body, weights=weights)).shipped
    names = {name for node in model.graph.node if "Linear" in node.op_type for name in node.input[1:]}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    values = [(constants[name].data_type, constants[name].raw_data, list(constants[name].dims)) for name in names]
    assert len(values) == len({str(value) for value in values})


def test_a_constant_that_is_also_read_as_a_number_keeps_its_name(text: Any) -> None:
    body = "q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)\n y = Mul (d, s)"
    model = text(body, "float[4] x", weights="float s, int8 z", values={"s": 0.5, "z": 3})
    compact_quantizers(model)
    assert [list(node.input) for node in model.graph.node] == [["x", "s", "zero0"], ["q0", "s", "zero0"], ["d0", "s"]]


def test_a_name_that_the_model_has_is_not_taken(text: Any) -> None:
    body = "q = QuantizeLinear (x, s, z)\n y = DequantizeLinear (q, s, z)\n v = Add (x, scale0)"
    model = text(body, "float[4] x", "float[4] y, float[4] v", "float s, int8 z, float scale0", {"s": 0.5, "z": 3})
    compact_quantizers(model)
    assert [list(node.input) for node in model.graph.node][::2] == [["x", "scale1", "zero0"], ["x", "scale0"]]


def test_no_shapes_stand_in_the_file_that_readers_infer(text: Any, stages: Any) -> None:
    packed = stages(
        text("c = Conv (x, w)\n y = Relu (c)", weights="float[8,3,7,7] w"),
        options=QuantizeOptions(weights=weight_format("int3")),
    ).shipped
    assert not packed.graph.value_info
    onnx.checker.check_model(packed)


def test_attributes_at_their_defaults_are_left_out_and_others_stay(text: Any, stages: Any) -> None:
    body = "c = Conv (x, w)\n y = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1> (c)"
    nodes = {node.op_type: node for node in stages(text(body, weights="float[2,3,3,3] w")).shipped.graph.node}
    assert [one.name for one in nodes["Conv"].attribute] == ["kernel_shape"]
    assert sorted(one.name for one in nodes["AveragePool"].attribute) == ["count_include_pad", "kernel_shape", "pads"]
