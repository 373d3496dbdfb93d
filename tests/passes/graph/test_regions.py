"""Which float subgraphs are functions of one tensor, and what they compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.passes.base import Work
from bevel.passes.canonicalize.infer_shapes import InferShapes
from bevel.passes.graph.regions import Region, evaluate_region, find_region, is_elementwise


@pytest.fixture
def graph(text: Any) -> Any:
    def parsed(*arguments: Any, **rest: Any) -> gs.Graph:
        return InferShapes()(Work(gs.import_onnx(text(*arguments, **rest)))).graph

    return parsed


def region_at(graph: gs.Graph) -> Region | None:
    return find_region(graph.outputs[0], {tensor.name for tensor in graph.inputs})


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("y = Sigmoid (x)", 1),
        ("s = Sigmoid (x)\n y = Mul (x, s)", 2),
        ("a = Add (x, k)\n c = Clip (a, l, h)\n m = Mul (x, c)\n y = Div (m, k)", 4),
        ("y = Pow (x, k)", 1),
        ("y = Clip (x, , h)", 1),
        ("y = Add (x, one)", 1),
    ],
)
def test_chain_or_diamond_of_elementwise_functions_is_a_region(graph: Any, body: str, count: int) -> None:
    found = region_at(graph(body, "float[2,3] x", weights="float k, float l, float h, float[1,1] one"))
    assert found is not None and found.root.name == "x" and len(found.nodes) == count


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("y = Add (x, z)", "float[2,3] x, float[2,3] z"),  # two tensors
        ("y = Mul (x, row)", "float[2,3] x"),  # a constant that differs between elements
        ("y = Softmax (x)", "float[2,3] x"),  # elements depend on each other
        ("r = ReduceMax <keepdims = 1> (x)\n y = Sub (x, r)", "float[2,3] x"),
        ("y = Add (x, big)", "float[3] x"),  # broadcasting makes more elements than the root has
        ("s = Sigmoid (x)\n t = Transpose (s)\n y = Tanh (t)", "float[2,3] x"),
    ],
)
def test_what_depends_on_more_than_one_element_is_none(graph: Any, body: str, inputs: str) -> None:
    assert region_at(graph(body, inputs, weights="float[3] row, float[1,1] big")) is None


def test_clip_between_tensors_is_not_elementwise(graph: Any) -> None:
    node = graph("y = Clip (x, l, h)", "float[2,3] x, float l, float h").nodes[0]
    assert not is_elementwise(node)


def test_region_is_evaluated_as_onnxruntime_would(graph: Any) -> None:
    found = region_at(graph("s = Sigmoid (x)\n y = Mul (x, s)", "float[2,3] x"))
    x = np.linspace(-4, 4, 256, dtype=np.float32)
    assert found is not None
    np.testing.assert_allclose(evaluate_region(found, x, 21), x / (1 + np.exp(-x)), rtol=1e-5)  # its own exp


def test_nodes_of_a_region_come_in_execution_order(graph: Any) -> None:
    found = region_at(graph("a = Exp (x)\n b = Neg (a)\n c = Tanh (b)\n d = Mul (c, a)\n y = Add (d, x)", "float[4] x"))
    assert found is not None
    places = {node.outputs[0].name: place for place, node in enumerate(found.nodes)}
    assert places["a"] < places["b"] < places["c"] < places["d"] < places["y"]
