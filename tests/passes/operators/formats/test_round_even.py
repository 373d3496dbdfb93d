"""What lies exactly between two integers goes to the even one, as in the model that was imported."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel.calib.arithmetic.requantize import even_shift_right, fixed_point
from bevel.passes.operators.formats.round_even import ties_reachable
from bevel.passes.operators.products.accumulate import reaches_halves

RNG = np.random.default_rng(2)
READ = """
    k = DequantizeLinear (kernel, s4, z4)
    o = DequantizeLinear (one_each, s4, z4)
    m = DequantizeLinear (matrix, s4, z4)
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    p = QuantizeLinear (v, s2, z2)
    e = DequantizeLinear (p, s2, z2)
"""
WRITTEN = """
    t = QuantizeLinear (r, s3, z3)
    y = DequantizeLinear (t, s3, z3)
"""
OPERATORS = {
    "average pool": "r = AveragePool <kernel_shape = [2,2], strides = [2,2]> (d)",
    "average pool of three, padded": "r = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1]> (d)",
    "average pool that counts its padding": (
        "r = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1> (d)"
    ),
    "average pool and relu": "a = AveragePool <kernel_shape = [2,2]> (d)\n r = Relu (a)",
    "mean of the image": "r = GlobalAveragePool (d)",
    "mean of channels": "r = ReduceMean (d, axes)",
    "sum": "r = Add (d, e)",
    "difference": "r = Sub (d, e)",
    "sum and relu": "a = Add (d, e)\n r = Relu (a)",
    "product": "r = Mul (d, e)",
    "convolution": "r = Conv <pads = [1,1,1,1]> (d, k)",
    "convolution with a bias, and relu": "a = Conv (d, k, f)\n r = Relu (a)",
    "depthwise convolution": "r = Conv <group = 4> (d, o)",
    "transposed convolution": "r = ConvTranspose <strides = [2,2]> (d, k)",
    "product of matrices": "r = MatMul (d, m)",
    "bilinear resize": 'r = Resize <mode = "linear"> (d, , factors)',
    "concat": "r = Concat <axis = 1> (d, e)",
    "another scale": "r = Identity (d)",
}
DECLARED = "float s, int8 z, float s2, int8 z2, float s3, int8 z3, float s4, int8 z4, int64[1] axes"
DECLARED += ", int8[4,4,3,3] kernel, int8[4,1,3,3] one_each, int8[6,7] matrix, float[4] f, float[4] factors"
WEIGHTS = {"kernel": (4, 4, 3, 3), "one_each": (4, 1, 3, 3), "matrix": (6, 7)}
INPUTS = "float[1,4,6,6] x, float[1,4,6,6] v"


def weights(scale: float) -> dict[str, Any]:
    """Integers of four bits of scale 2**-3, and a bias that is a whole number of products, `scale` being that of x."""
    drawn = {name: RNG.integers(-7, 8, shape) for name, shape in WEIGHTS.items()}
    return drawn | {"s4": 2**-3, "z4": 0, "f": scale * 2**-3 * RNG.integers(-30, 30, 4), "factors": [1, 1, 2, 4]}


def codes(scale: float, bits: int) -> Any:
    half = 2 ** (bits - 1)
    return (scale * RNG.integers(-half, half, (1, 4, 6, 6))).astype(np.float32)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("scales", [(2**-3, 2**-3, 2**-3), (2**-4, 2**-2, 2**-3), (2**-2, 2**-5, 0.5)], ids=str)
@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_models_whose_scales_are_powers_of_two_give_the_very_same_numbers(
    text: Any, stages: Any, operator: str, scales: tuple[float, float, float], bits: int
) -> None:
    zeros = {"z": 1, "z2": -2, "z3": 3}
    values = dict(zip(("s", "s2", "s3"), scales, strict=True)) | zeros | {"axes": [1]} | weights(scales[0])
    model = text(f"{READ}{operator}\n{WRITTEN}", INPUTS, "float[] y, float[] e", DECLARED, values)
    made = stages(model, inputs="float", outputs="float")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    exact = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for _ in range(3):
        given = {"x": codes(scales[0], bits), "v": codes(scales[1], bits)}
        np.testing.assert_array_equal(made.run(given)["y"], exact.run(["y"], given)[0])


@pytest.mark.parametrize("operator", ["average pool", "mean of the image", "sum", "product", "convolution"])
def test_sums_that_lie_on_no_half_are_rounded_where_they_are_made(text: Any, stages: Any, operator: str) -> None:
    values = weights(0.0317) | {"s": 0.0317, "s2": 0.0219, "s3": 0.0541, "z": 1, "z2": 2, "z3": 3, "axes": [1]}
    model = text(f"{READ}{OPERATORS[operator]}\n{WRITTEN}", INPUTS, "float[] y, float[] e", DECLARED, values)
    assert not {"RoundEven", "EvenConv"} & set(stages(model).ops)


def test_float_models_round_where_sums_are_made(text: Any, stages: Any) -> None:
    body = "a = AveragePool <kernel_shape = [2,2]> (x)\n b = Add (a, a)\n c = Conv (b, w)\n y = GlobalAveragePool (c)"
    made = stages(text(body, "float[1,4,6,6] x", weights="float[5,4,3,3] w"))
    assert not {"RoundEven", "EvenConv"} & set(made.ops)


@pytest.mark.parametrize("ratio", [0.5, 0.25, 1 / 6, 1 / 12, 3 / 4, 1 / 10])
def test_shifts_round_products_as_exact_quotients_do(ratio: float) -> None:
    multiplier, shift = fixed_point(ratio)
    sums = np.arange(-3000, 3001)
    found = even_shift_right(sums * multiplier, shift, 3000)
    numerator, denominator = round(ratio * 60), 60
    quotients = sums * numerator / denominator  # correctly rounded: halves are exact
    np.testing.assert_array_equal(found, np.rint(quotients))


@pytest.mark.parametrize(
    ("ratio", "reach", "expected"),
    [(0.5, 1, True), (0.25, 1, False), (0.25, 2, True), (1.0, 10**6, False), (1 / 3, 1000, False), (1 / 6, 3, True)],
)
def test_which_sums_can_lie_on_a_half_is_known(ratio: float, reach: int, expected: bool) -> None:
    assert ties_reachable(ratio, reach) == expected


@pytest.mark.parametrize(
    ("ratio", "largest", "expected"),
    [(0.5, 1, True), (0.25, 1, False), (0.25, 2, True), (3 / 8, 3, False), (3 / 8, 4, True), (2.0, 2**29, False)],
)
def test_which_sums_of_products_reach_halves_follows_from_the_ratio(ratio: float, largest: int, expected: bool) -> None:
    sums = np.arange(largest + 1) if largest < 2**10 else np.zeros(1)
    assert reaches_halves(ratio, largest) == expected == bool((np.mod(sums * ratio, 1) == 0.5).any())


def test_scales_that_are_no_powers_of_two_reach_no_halves() -> None:
    drawn = np.float64(np.float32(RNG.uniform(0.001, 0.3, (1000, 3))))
    assert not any(reaches_halves(x * w / y, 2**30) for x, w, y in drawn)


def test_the_function_is_made_of_standard_operators(text: Any, stages: Any) -> None:
    values = weights(0.5) | {"s": 0.5, "s2": 0.5, "s3": 0.5, "z": 0, "z2": 0, "z3": 0, "axes": [1]}
    made = stages(
        text(f"{READ}{OPERATORS['average pool']}\n{WRITTEN}", INPUTS, "float[] y, float[] e", DECLARED, values)
    )
    assert "RoundEven" in [one.name for one in made.integer.functions]
    onnx.checker.check_model(made.integer)
