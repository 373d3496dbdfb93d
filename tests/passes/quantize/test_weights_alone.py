"""Beside float activations weights alone are quantized: in groups with free scales, of products by matrices alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from bevel.backends.tir import importer
from bevel.calib.errors import UserError
from bevel.calib.formats.tensor_format import parse_tensor_format
from bevel.calib.observe.observe import observe
from bevel.passes.assign.assign_schemes import AssignSchemes
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.canonicalize.evaluate import open_session
from bevel.passes.exchange.export import export, export_quantized
from bevel.passes.partition.check_islands import check_islands
from bevel.passes.partition.partition import partition
from bevel.passes.quantize.choose_rounders import RoundWeights
from bevel.passes.quantize.plan_scales import PlanScales
from bevel.passes.quantize.weights_alone import grid_of_groups
from bevel.passes.recipes import DEFAULT, read
from bevel.passes.recipes.build import Recipe, build

OF_ACTIVATIONS = ("clamp-masks", "widen-activations", "row-scales", "choose-ranges")
BODY = """
h = MatMul (x, w1)
a = Add (h, b1)
r = Relu (a)
p = Gemm <transB = 1> (r, w2, b2)
c = Reshape (p, shape)
y = Conv <kernel_shape = [1, 1], pads = [0, 0, 0, 0], strides = [1, 1]> (c, w3)
"""
WEIGHTS = "float[40,24] w1, float[24] b1, float[9,24] w2, float[9] b2, int64[4] shape, float[2,9,1,1] w3"


@dataclass(frozen=True)
class Samples:
    """As a dataset."""

    samples: tuple[dict[str, np.ndarray], ...]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Any:
        return iter(self.samples)


def parse(body: str = BODY, weights: str = WEIGHTS) -> onnx.ModelProto:
    """Of random weights, and a shape."""
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 21]> m (float[3,40] x, {weights}) => (float[] y) {{ {body} }}'
    )
    rng = np.random.default_rng(0)
    for value in list(model.graph.input)[1:]:
        shape = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        array = np.int64([3, 9, 1, 1]) if value.name == "shape" else rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    del model.graph.input[1:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    for node in model.graph.node:
        node.name = f"make_{node.output[0]}"
    return model


def run(model: onnx.ModelProto, sample: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(open_session(model).run(["y"], sample)[0])


def recipe(**options: Any) -> Recipe:
    found = build(read(DEFAULT)).with_option("round-weights", "rounding", options.pop("rounding", "auto"), "")
    for name in OF_ACTIVATIONS:
        found = found.without(name)
    options = {"weights": "int4:block16", "activations": "float32"} | options
    return found.with_fields(AssignSchemes, **options).with_fields(PlanScales, beside_floats=True)


def work_of(**options: Any) -> tuple[Work, Samples]:
    """Quantized."""
    model, rng = parse(), np.random.default_rng(1)
    samples = Samples(tuple({"x": rng.standard_normal((3, 40)).astype(np.float32)} for _ in range(16)))
    graph, _ = canonicalize(model, samples.samples[:1])
    made = recipe(**options)
    seen = observe(gs.export_onnx(graph), samples, made.wants(graph))
    work = made.run("assign", Work(graph, data=samples, observations=seen))
    return made.run("quantize", work), samples


def test_weights_of_matrices_are_integers_in_blocks_and_all_else_stays_float() -> None:
    work, _ = work_of()
    model = export_quantized(work.graph)
    quantizers = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    attributes = [{one.name: one.i for one in node.attribute} for node in quantizers]
    assert [node.op_type for node in quantizers] == ["DequantizeLinear"] * 2
    assert attributes == [{"axis": 0, "block_size": 16}, {"axis": 0, "block_size": 16}]
    constants = {one.name: one for one in model.graph.initializer}
    codes, scales = ([constants[node.input[place]] for node in quantizers] for place in (0, 1))
    assert [(one.data_type, list(one.dims)) for one in codes] == [
        (onnx.TensorProto.INT4, [40, 24]),
        (onnx.TensorProto.INT4, [24, 9]),
    ]
    assert [list(one.dims) for one in scales] == [[3, 24], [2, 9]]
    assert all(one.data_type == onnx.TensorProto.FLOAT for one in scales)
    (note,) = [one for one in work.notes if "only weights of Gemm and MatMul are quantized" in one.text]
    assert (note.node, note.kind) == ("make_y", "left_float")
    assert set(work.formats.values()) == {"int4:block16 weights, float32"}


@pytest.mark.parametrize("weights", ["int4:block32", "int4:group16", "int3:block16", "int2", "int8", "uint4"])
def test_stock_onnxruntime_computes_what_the_program_does_within_float_rounding(weights: str) -> None:
    work, samples = work_of(weights=weights)
    integer = export(recipe().run("integerize", work).graph)
    program, notes = partition(integer, "m", True, importer)
    kernels = [type(call.kernel).__name__ for call in program.calls]
    assert kernels.count("MatMulNBits") == 2
    assert not any("runs in float" in note.text and "Gemm" in note.text for note in notes)
    check_islands(integer, samples.samples, importer)
    quantized = export_quantized(work.graph)
    expected, found = (run(one, samples.samples[0]) for one in (quantized, integer))
    np.testing.assert_array_equal(found, expected)


def test_rounders_that_look_see_float_activations_and_leave_more_than_the_nearest() -> None:
    """Of results: beside the float model."""
    (nearest, samples), (fitted, _) = (work_of(rounding=one, weights="int2:block16") for one in ("nearest", "gptq"))
    errors = [
        sum(float(np.square(run(export(other.graph), one) - run(parse(), one)).sum()) for one in samples.samples)
        for other in (nearest, fitted)
    ]
    assert errors[1] < errors[0]


def test_no_range_is_observed_where_nobody_looks() -> None:
    graph, _ = canonicalize(parse("y = MatMul (x, w)", "float[40,8] w"), ())
    plain = recipe(rounding="nearest").without("correct-bias").with_fields(RoundWeights, corrected=False)
    assert plain.wants(graph) == {}


def test_a_group_has_a_zero_point_and_a_block_none() -> None:
    values = np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32) + 1
    block, group = (grid_of_groups(values, parse_tensor_format(f"int4:{one}32"), 1) for one in ("block", "group"))
    assert block.quant.scale.shape == group.quant.scale.shape == (2, 5)
    assert not block.quant.zero_point.any() and group.quant.zero_point.any()
    errors = [np.square(one.quant.dequantize(one.nearest(values)) - values).sum() for one in (block, group)]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("weights", ["e2m1", "mxfp4", "nvfp4", "ternary", "int16", "log4"])
def test_other_weights_are_refused(weights: str) -> None:
    with pytest.raises(UserError, match=f"format {weights}: beside float32 activations weights can be int2 to int8"):
        replace(AssignSchemes(activations="float32"), weights=weights)
