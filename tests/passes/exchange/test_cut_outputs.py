"""A model cut at named tensors computes there what it did, and holds nothing that only its old outputs needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bevel.calib.errors import UserError
from bevel.passes.exchange.cut_outputs import close_names, cut_outputs
from bevel.passes.exchange.load import load_model

# Boxes and scores, and a tail that no device computes; `size` is an input that only the tail reads.
DETECTOR = """
<ir_version: 8, opset_import: ["" : 17, "vendor" : 1]>
net (float[1,4] x, float[2] size) => (float[1,2] best)
{
    body = Relu (x)
    boxes, scores = Split <axis = 1> (body)
    scaled = Mul (boxes, size)
    best = vendor.Suppress (scaled, scores)
}
"""


def detector() -> onnx.ModelProto:
    model = onnx.parser.parse_model(DETECTOR)
    for node, name in zip(model.graph.node, ("relu", "head", "scale", "suppress"), strict=True):
        node.name = name
    return model


def names(values: object) -> list[str]:
    return [value.name for value in values]  # type: ignore[attr-defined]


def test_named_tensors_become_the_outputs_in_the_order_given() -> None:
    model = detector()
    cut_outputs(model, ["scores", "body", "scores"])
    assert names(model.graph.output) == ["scores", "body"]
    assert names(model.graph.node) == ["relu", "head"]


def test_what_only_the_tail_reads_is_dropped() -> None:
    model = detector()
    weight = onnx.numpy_helper.from_array(np.ones(2, np.float32), "unused")
    model.graph.initializer.append(weight)
    cut_outputs(model, ["boxes"])
    assert names(model.graph.input) == ["x"] and not model.graph.initializer


def test_what_the_rest_reads_stays() -> None:
    model = detector()
    cut_outputs(model, ["scaled"])
    assert names(model.graph.input) == ["x", "size"]


def test_a_node_stands_for_all_that_it_computes() -> None:
    model = detector()
    cut_outputs(model, ["head"])
    assert names(model.graph.output) == ["boxes", "scores"]


def test_a_tensor_is_preferred_to_a_node_of_the_same_name() -> None:
    model = detector()
    model.graph.node[1].name = "body"
    cut_outputs(model, ["body"])
    assert names(model.graph.output) == ["body"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("score", "no tensor or node is called so; near it are: scores"),
        ("HEAD", "near it are: head"),
        ("", "no tensor or node"),
        ("x", "an input or a weight"),
    ],
)
def test_a_name_that_nothing_computes_is_refused_with_what_comes_near(name: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        cut_outputs(detector(), [name])


def test_long_paths_are_found_by_their_middle() -> None:
    paths = [f"/model.{index}/cv{index}/conv/Conv_output_0" for index in range(9)]
    assert close_names("cv7", paths)[0] == paths[7]
    assert close_names("/model.7/cv7/conv/Conv_output", paths)[0] == paths[7]


def test_what_the_body_of_an_if_reads_stays() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[2] x, bool flag) => (float[2] z)
    {
        y = Relu (x)
        z = If (flag) <
            then_branch = then () => (float[2] a) { a = Neg (y) },
            else_branch = other () => (float[2] b) { b = Identity (y) }
        >
    }
    """
    model = onnx.parser.parse_model(text)
    cut_outputs(model, ["z"])
    assert [node.op_type for node in model.graph.node] == ["Relu", "If"]


def test_a_model_is_loaded_up_to_the_cut_whatever_stands_behind_it(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(detector().SerializeToString())
    with pytest.raises(UserError, match="Suppress"):
        load_model(file)
    outputs = load_model(file, ["head"]).graph.output
    assert [(value.name, value.type.tensor_type.elem_type) for value in outputs] == [("boxes", 1), ("scores", 1)]
