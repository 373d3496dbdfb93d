"""A constant matrix on the left of a product is a convolution; on the right, in batches or computed it stays."""

import numpy as np
import pytest

from bevel.passes.canonicalize.convolve_by_left_matrix import ConvolveByLeftMatrix

MATRIX = np.random.default_rng(3).standard_normal((4, 6))


@pytest.mark.parametrize("shape", ["6,5", "1,6,5", "3,6,5", "1,2,6,5"])
def test_a_matrix_on_the_left_is_a_convolution(model, apply, shape) -> None:
    subject = model("y = MatMul (w, x)", f"float[{shape}] x", weights="float[4,6] w", values={"w": MATRIX})
    result = apply(subject, ConvolveByLeftMatrix())
    assert [node.op for node in result.graph.nodes] == ["Reshape", "Conv", "Reshape"]
    assert not ConvolveByLeftMatrix()(result.work).modified


@pytest.mark.parametrize(
    ("body", "inputs", "weights", "values"),
    [
        ("y = MatMul (x, w)", "float[2,4] x", "float[4,6] w", MATRIX),
        ("y = MatMul (w, x)", "float[1,6,5] x", "float[2,4,6] w", np.stack([MATRIX] * 2)),  # a batch of them
        ("y = MatMul (w, x)", "float[6] x", "float[4,6] w", MATRIX),  # a vector
        ("t = MatMul (z, x)\n y = Add (t, w)", "float[4,6] z, float[6,4] x", "float[4] w", np.ones(4)),
    ],
)
def test_other_products_stay(model, apply, body, inputs, weights, values) -> None:
    assert not apply(model(body, inputs, weights=weights, values={"w": values}), ConvolveByLeftMatrix()).modified
