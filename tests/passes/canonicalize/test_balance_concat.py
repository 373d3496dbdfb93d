"""Weights of a product are balanced between the parts of a Concat that it alone reads; others stay."""

import numpy as np
import pytest

from bevel.passes.canonicalize.balance_concat import BalanceConcat

PARTS = "float[2,3] x, float[2,4] z"
RNG = np.random.default_rng(4)
UNLIKE = np.concatenate([RNG.uniform(0.5, 1, (3, 2)), RNG.uniform(0.5, 1, (4, 2)) / 1000])


@pytest.mark.parametrize(
    ("product", "inputs", "weights", "values"),
    [
        ("Gemm (c, w)", PARTS, "float[7,2] w", UNLIKE),
        ("Gemm <transB = 1> (c, w)", PARTS, "float[2,7] w", UNLIKE.T),
        ("Conv (c, w)", "float[1,3,5,5] x, float[1,4,5,5] z", "float[2,7,1,1] w", UNLIKE.T),
    ],
)
def test_parts_with_far_smaller_weights_are_scaled(model, apply, product, inputs, weights, values) -> None:
    subject = model(f"c = Concat <axis = 1> (x, z)\n y = {product}", inputs, weights=weights, values={"w": values})
    result = apply(subject, BalanceConcat())
    assert "parts scaled by 2**[0, -10]" in result.notes[0].text
    (node,) = [node for node in result.graph.nodes if node.op in ("Gemm", "Conv")]
    largest = np.abs(node.inputs[1].values)
    assert largest.max() / largest.min() < 8
    assert not BalanceConcat()(result.work).modified


@pytest.mark.parametrize(
    ("body", "outputs", "values"),
    [
        ("c = Concat <axis = 1> (x, z)\n y = Gemm (c, w)", "float[] y", RNG.uniform(0.5, 1, (7, 2))),  # alike
        ("c = Concat <axis = 1> (x, z)\n y = Gemm (c, w)", "float[] y, float[] c", UNLIKE),  # c is a result
        ("c = Concat <axis = 1> (x, z)\n y = Gemm (c, w)\n t = Tanh (c)", "float[] y, float[] t", UNLIKE),
    ],
)
def test_other_concats_stay(model, apply, body, outputs, values) -> None:
    subject = model(body, PARTS, outputs, "float[7,2] w", {"w": values})
    assert not apply(subject, BalanceConcat()).modified
