"""Branches beside products take what rounding loses most, and stand only beside products that are much larger."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from bevel.calib.data.dataset import random_dataset
from bevel.calib.errors import UserError
from bevel.calib.formats.format import INT8
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.transform.branch_low_rank import BranchLowRank, branch_of, error_of, power_of, rounded

RNG = np.random.default_rng(11)
ROWS = "float[40,32] x"

BRANCHED: dict[str, tuple[str, str, str]] = {
    "a product": ("y = MatMul (x, w)", ROWS, "float[32,24] w"),
    "with a bias and a Relu": ("a = Gemm <transB = 1> (x, w, b)\n y = Relu (a)", ROWS, "float[24,32] w, float[24] b"),
    "of tokens": ("m = MatMul (x, w)\n y = Add (m, b)", "float[1,40,32] x", "float[32,24] w, float[24] b"),
}
LEFT: dict[str, tuple[str, str, str]] = {
    "small weights": ("y = MatMul (x, w)", "float[40,32] x", "float[32,6] w"),
    "two activations": ("y = MatMul (x, z)", "float[40,32] x, float[32,24] z", ""),
    "a convolution": ("y = Conv (x, w)", "float[1,32,4,4] x", "float[24,32,1,1] w"),
}


def branched(text: Any, case: tuple[str, str, str], one: BranchLowRank) -> PassResult:
    body, inputs, weights = case
    model: onnx.ModelProto = text(body, inputs, weights=weights)
    graph, _ = canonicalize(model)
    return one(Work(graph, data=random_dataset(model_inputs(model), 6, seed=0)))


@pytest.mark.parametrize("name", BRANCHED)
def test_a_branch_stands_beside_a_product_and_the_function_stays(text: Any, name: str) -> None:
    result = branched(text, BRANCHED[name], BranchLowRank("int4", rank=2))
    assert result.modified
    assert result.work.transforms[0].relative < 1e-5  # float32 sums of tens of terms
    products = {node.name: node for node in result.graph.nodes if node.op == "Gemm"}
    first = next(node for name, node in products.items() if name.endswith("/first"))
    assert len(products) == 3 and first.inputs[1].values.shape == (32, 2)
    formats = result.work.schemes.nodes
    assert {one.weights for one in formats.values()} == {INT8} and set(formats) < set(products)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_no_large_product_by_weights_stays(text: Any, name: str) -> None:
    assert not branched(text, LEFT[name], BranchLowRank("int4", rank=2)).modified


def test_whitening_hears_what_the_input_holds() -> None:
    """Where the input holds few directions, a branch of their number leaves next to nothing of the error."""
    graph, _ = canonicalize(matrix())
    node = next(node for node in graph.nodes if node.op == "Gemm")
    rows = (RNG.standard_normal((500, 3)) @ RNG.standard_normal((3, 32))).astype(np.float32)
    loud = branch_of(node, power_of([rows]), 4, 4)
    even = branch_of(node, power_of([RNG.standard_normal((500, 32)).astype(np.float32)]), 4, 4)
    assert loud.gain > 10 and loud.gain > even.gain + 6
    weights = np.asarray(node.inputs[1].values, np.float64)
    assert error_of(weights - even.first @ even.second, 4, np.eye(32)) < error_of(weights, 4, np.eye(32))


def test_by_weights_one_turn_is_the_decomposition_of_what_rounding_loses() -> None:
    graph, _ = canonicalize(matrix())
    node = next(node for node in graph.nodes if node.op == "Gemm")
    weights = np.asarray(node.inputs[1].values, np.float64)
    found = branch_of(node, np.eye(32), 4, 4, turns=1)
    left, sizes, right = np.linalg.svd(weights - rounded(weights, 4))
    np.testing.assert_allclose(found.first @ found.second, (left[:, :4] * sizes[:4]) @ right[:4], atol=1e-9)


def test_by_weights_the_branch_does_not_hang_on_inputs(text: Any) -> None:
    weights = []
    for by in ("weights", "inputs"):
        one = BranchLowRank("int4", rank=2, by=by, turns=1)  # type: ignore[arg-type]
        nodes = branched(text, ("y = MatMul (x, w)", ROWS, "float[32,24] w"), one).graph.nodes
        weights.append(next(node for node in nodes if node.name.endswith("/first")).inputs[1].values)
    assert not np.allclose(*weights, atol=1e-3)
    np.testing.assert_allclose(weights[0].T @ weights[0], np.eye(2), atol=1e-5)  # directions of the error itself


def test_a_branch_of_no_rank_is_refused() -> None:
    with pytest.raises(UserError, match="a rank and a turn at least"):
        BranchLowRank(rank=0)


def matrix() -> onnx.ModelProto:
    header = '<ir_version: 10, opset_import: ["" : 21]>'
    ports = "g (float[40,32] x, float[32,24] w) => (float[40,24] y)"
    model = onnx.parser.parse_model(f"{header}\n{ports} {{y = MatMul (x, w)}}")
    del model.graph.input[1:]
    model.graph.initializer.append(onnx.numpy_helper.from_array(RNG.standard_normal((32, 24)).astype(np.float32), "w"))
    return model
