"""Bias correction takes the mean error of rounded weights out of the result."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.correct_bias import mean_error
from bevel.passes.quantize.formats import activation_format, weight_format

RNG = np.random.default_rng(11)


@pytest.mark.parametrize(
    ("op", "shape", "groups", "axis"),
    [
        ("Conv", (4, 3, 1, 1), 1, 0),
        ("Conv", (6, 2, 1, 1), 3, 0),
        ("Conv", (4, 1, 1, 1), 4, 0),
        ("ConvTranspose", (3, 4, 1, 1), 1, 1),
        ("ConvTranspose", (6, 2, 1, 1), 3, 1),
    ],
)
def test_mean_error_is_the_mean_of_the_operator_on_what_was_lost(
    text: Any, op: str, shape: tuple[int, ...], groups: int, axis: int
) -> None:
    lost = RNG.standard_normal(shape)
    channels = shape[1] * groups if axis == 0 else shape[0]
    x = RNG.standard_normal((1, channels, 5, 5)) + RNG.standard_normal((1, channels, 1, 1))
    body = f"y = {op} <group = {groups}> (x, w)"
    model = text(
        body, f"float[1,{channels},5,5] x", weights=f"float[{','.join(map(str, shape))}] w", values={"w": lost}
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": x.astype(np.float32)})
    found = mean_error(lost, x.mean(axis=(0, 2, 3)), axis, groups)
    np.testing.assert_allclose(found, result.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)  # float32 sums of 3 products


def test_mean_error_of_a_matrix_product_is_the_product_with_the_mean() -> None:
    lost, mean = RNG.standard_normal((7, 3)), RNG.standard_normal(7)
    np.testing.assert_allclose(mean_error(lost, mean, 1, 1), mean @ lost, rtol=1e-12)


INNER = "m = Neg (x)\n y = Gemm (m, w, b)"  # what the model's inputs lose is corrected apart


def mean_errors(model: onnx.ModelProto, stages: Any, samples: Any, correct: bool) -> Any:
    """The mean error of each output channel of the QDQ model's weights and biases, in float arithmetic."""
    made = stages(model, samples, QuantizeOptions(range="minmax", bias_correction=correct))
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in made.quantized.graph.initializer}
    given = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    weights = stored["w/quantized"] * stored["w/scale"].astype(np.float64)
    bias = stored["y/bias/quantized"] * stored["y/bias/scale"].astype(np.float64)
    x = -np.concatenate([sample["x"] for sample in samples]).astype(np.float64)
    return (x @ weights + bias - (x @ given["w"].astype(np.float64) + given["b"])).mean(axis=0), stored["y/bias/scale"]


def test_correction_is_exact_on_a_linear_layer_but_for_the_rounding_of_the_bias(
    text: Any, stages: Any, around: Any
) -> None:
    model = text(INNER, "float[4,30] x", weights="float[30,6] w, float[6] b")
    samples = around(model, 2.0)
    plain, _ = mean_errors(model, stages, samples, correct=False)
    corrected, step = mean_errors(model, stages, samples, correct=True)
    assert (np.abs(corrected) <= 0.51 * step).all()  # half a step, and the float32 of the channel means
    assert np.abs(plain).mean() > 10 * np.abs(corrected).mean()


@pytest.mark.parametrize("activations", ["int8", "int4", "e2m1"])
def test_what_pixels_between_two_codes_lose_is_given_back(text: Any, stages: Any, activations: str) -> None:
    model = text("y = Conv (x, w, b)", "float[1,1,6,6] x", weights="float[2,1,1,1] w, float[2] b")
    pixels = RNG.integers(0, 16, (8, 1, 1, 6, 6))
    samples = [{"x": ((one - 3.4) * 0.1).astype(np.float32)} for one in pixels]
    errors = []
    for correct in (False, True):
        options = QuantizeOptions(bias_correction=correct, activations=activation_format(activations))
        made = stages(model, samples, options, inputs="float", outputs="float")
        exact = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        difference = [made.run(sample)["y"] - exact.run(None, sample)[0] for sample in samples]
        errors.append(np.abs(np.mean(difference, axis=(0, 1, 3, 4))).max())
    assert errors[1] < max(0.5 * errors[0], 1e-3)


@pytest.mark.parametrize("activations", ["int3", "log2"])
def test_what_activations_of_few_bits_lose_inside_the_network_is_given_back(
    text: Any, stages: Any, activations: str
) -> None:
    model = text("m = Neg (x)\n y = Conv (m, w, b)", "float[1,1,16,16] x", weights="float[2,1,1,1] w, float[2] b")
    # Few large values among many small ones: the range that loses least clips them, all to one side.
    rng = np.random.default_rng(7)  # its own: which tests ran before must not matter
    samples = [{"x": -(rng.exponential(1.0, (1, 1, 16, 16)).astype(np.float32) ** 2)} for _ in range(8)]
    errors = []
    for correct in (False, True):
        options = QuantizeOptions(bias_correction=correct, activations=activation_format(activations))
        made = stages(model, samples, options, inputs="float", outputs="float")
        exact = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        difference = [made.run(sample)["y"] - exact.run(None, sample)[0] for sample in samples]
        errors.append(np.abs(np.mean(difference, axis=(0, 1, 3, 4))).max())
    assert errors[1] < 0.6 * errors[0]


def test_a_product_takes_the_means_along_its_own_axis_where_others_read_along_another(text: Any, stages: Any) -> None:
    """The MatMul reads its input's last axis and the Conv axis 1, which have the same length and unlike means."""
    ramp = np.linspace(-6, 6, 8)[None, None, None, :] + (np.arange(8) % 2 * 10 - 5)[None, :, None, None]
    samples = [{"x": (0.3 * RNG.standard_normal((1, 8, 8, 8)) + ramp).astype(np.float32)} for _ in range(8)]
    alone = text("y = Conv (x, w)", "float[1,8,8,8] x", weights="float[4,8,1,1] w")
    both = text(
        "z = MatMul (x, v)\n y = Conv (x, w)",
        "float[1,8,8,8] x",
        "float[] z, float[] y",
        weights="float[1,8,8,4] v, float[4,8,1,1] w",
        values={"w": onnx.numpy_helper.to_array(alone.graph.initializer[0])},
    )
    options = QuantizeOptions(weights=weight_format("int3"))
    made = [stages(one, samples, options, inputs="float", outputs="float", islands=True) for one in (alone, both)]
    for sample in samples:
        results = [ort.InferenceSession(one.integer.SerializeToString()).run(["y"], sample)[0] for one in made]
        np.testing.assert_array_equal(results[0], results[1])
