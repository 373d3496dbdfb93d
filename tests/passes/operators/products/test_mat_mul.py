"""Products of two activations: sums as wide as they have to be, and factors that none of them rounds away."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from bevel.backends.program.ops.mat_mul import MatMul
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format


def attribute(made: Any, name: str) -> int:
    (found,) = [node for node in made.integer.graph.node if node.op_type == "MatMul" and node.domain]
    return int(next(one.i for one in found.attribute if one.name == name))


@pytest.mark.parametrize(
    ("depth", "activations", "sums"),
    [
        (300, "int8", onnx.TensorProto.INT32),
        (1, "int16", onnx.TensorProto.INT32),
        (300, "int16", onnx.TensorProto.INT64),
    ],
)
def test_sums_are_int64_where_int32_may_overflow(
    text: Any, stages: Any, depth: int, activations: str, sums: int
) -> None:
    model = text("y = MatMul (x, z)", f"float[2,{depth}] x, float[{depth},3] z")
    made = stages(model, None, QuantizeOptions(activations=activation_format(activations)))
    assert attribute(made, "sum_type") == sums
    for sample in made.extremes():
        made.run(sample)


SHARED = "p = Softmax <axis = {axis}> (x)\n y = MatMul (p, z)"


@pytest.mark.parametrize(
    ("body", "known"),
    [
        (SHARED.format(axis=-1), True),
        (SHARED.format(axis=0), False),  # the columns sum to 1, not the rows
        ("p = Softmax (x)\n q = Transpose <perm = [1, 0]> (p)\n y = MatMul (q, z)", False),
        ("p = Softmax <axis = 0> (x)\n q = Transpose <perm = [1, 0]> (z)\n y = MatMul (q, p)", True),
        ("p = Sigmoid (x)\n y = MatMul (p, z)", False),
    ],
)
def test_shares_of_a_row_are_known_to_sum_to_one(text: Any, stages: Any, body: str, known: bool) -> None:
    made = stages(
        text(body, "float[300,300] x, float[300,300] z"), None, QuantizeOptions(activations=activation_format("int16"))
    )
    assert (attribute(made, "largest") < 2**34) is known
    (kernel,) = [call.kernel for call in made.program.calls if isinstance(call.kernel, MatMul)]
    assert (kernel.largest is not None) is known
    for sample in made.extremes():
        made.run(sample)


def test_codes_that_are_clamped_to_12_bits_are_summed_in_int32(text: Any, stages: Any) -> None:
    body = """q = Reshape (x, s)
    a, b = Split <axis = 1, num_outputs = 2> (z)
    j = Concat <axis = 1> (b, a)
    k = Transpose <perm = [1, 0]> (j)
    y = MatMul (q, k)"""
    model = text(body, "float[2,3,64] x, float[5,64] z", weights="int64[2] s", values={"s": [6, 64]})
    made = stages(model, None, QuantizeOptions(activations=activation_format("int12")))
    assert attribute(made, "sum_type") == onnx.TensorProto.INT32
    for sample in made.extremes():
        made.run(sample)


def test_factor_behind_is_in_the_ratio(text: Any, stages: Any) -> None:
    inputs = "float[3,5] x, float[5,4] z"
    samples = [{"x": np.full((3, 5), size, np.float32), "z": np.ones((5, 4), np.float32)} for size in (-1.0, 1.0)]
    plain = stages(text("y = MatMul (x, z)", inputs), samples)
    scaled = stages(text("m = MatMul (x, z)\n y = Mul (m, s)", inputs, weights="float s", values={"s": 0.125}), samples)
    assert scaled.calls == plain.calls == ["MatMul"]
    # the result's scale shrinks with the factor, so that the ratio of scales is the same
    assert attribute(scaled, "multiplier") == pytest.approx(attribute(plain, "multiplier"), rel=1e-6)
    assert attribute(scaled, "shift") == attribute(plain, "shift")


def test_factors_of_a_network_of_powers_of_two_round_ties_to_even(text: Any, stages: Any) -> None:
    quantized = "q = QuantizeLinear (x, s, o)\n a = DequantizeLinear (q, s, o)\n m = MatMul (a, a)\n"
    body = quantized + "r = QuantizeLinear (m, t, o)\n y = DequantizeLinear (r, t, o)"
    values = {"s": 0.25, "t": 0.125, "o": 0}
    made = stages(text(body, "float[3,3] x", weights="float s, float t, int8 o", values=values), inputs="float")
    assert "RoundEven" in made.calls
    for sample in made.extremes():
        assert made.error(sample) == 0
