"""Quantizers in place, weights and biases as integers, and what happens at the edges of int32."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from bevel.passes.quantize import QuantizeOptions

CONV = "float[4,3,3,3] w, float[4] b"
RNG = np.random.default_rng(7)
POINTWISE = "float[4,3,1,1] w, float[4] b"


def initializers(model: onnx.ModelProto) -> dict[str, Any]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_weights_are_int8_biases_int32_and_no_float_copy_remains(text: Any, stages: Any) -> None:
    made = stages(text("c = Conv (x, w, b)\n f = Flatten (c)\n y = Gemm (f, m)", weights=f"{CONV}, float[144,5] m"))
    stored = initializers(made.quantized)
    assert {name: array.dtype for name, array in stored.items() if array.size > 10} == {
        "w/quantized": np.int8,
        "m/quantized": np.int8,
    }
    assert sum(array.nbytes for array in stored.values() if array.dtype == np.float32) < 100  # scales
    assert stored["c/bias/quantized"].dtype == np.int32
    assert made.quantized.ByteSize() < 4200 and made.integer.ByteSize() < 6500


def test_weights_have_a_scale_for_each_output_channel_and_no_code_of_minus_128(text: Any, stages: Any) -> None:
    sizes = np.array([1, 10, 0.1, 3]).reshape(4, 1, 1, 1)
    model = text(
        "y = Conv (x, w, b)", weights=CONV, values={"w": sizes * RNG.standard_normal((4, 3, 3, 3)), "b": np.zeros(4)}
    )
    stored = initializers(stages(model).quantized)
    assert stored["w/scale"].shape == (4,)
    assert (np.abs(stored["w/quantized"]).max(axis=(1, 2, 3)) >= 115).all()  # the search may widen a scale by 5 %
    assert stored["w/quantized"].min() >= -127


def test_tied_weights_are_stored_once(text: Any, stages: Any) -> None:
    body = "c = Conv <pads = [1,1,1,1]> (x, w)\n d = Tanh (c)\n y = Conv (d, w)"
    made = stages(text(body, weights="float[3,3,3,3] w"))
    for model in (made.quantized, made.integer):
        arrays = [array for array in initializers(model).values() if array.size == 81]
        assert [array.dtype for array in arrays] == [np.int8] if model is made.quantized else len(arrays) <= 2


def test_large_tied_weights_are_stored_once_in_the_integer_model_too(text: Any, stages: Any) -> None:
    made = stages(text("c = Gemm (x, w)\n d = Tanh (c)\n y = Gemm (d, w)", "float[1,40] x", weights="float[40,40] w"))
    for model in (made.quantized, made.integer):
        assert sum(array.size == 1600 for array in initializers(model).values()) == 1


def test_members_of_a_tie_have_one_scale_in_the_graph(text: Any, stages: Any) -> None:
    body = """
        b = Mul (z, k)
        m = MaxPool <kernel_shape = [1,1], strides = [1,1]> (b)
        c = Concat <axis = 1> (x, m)
        y = Tanh (c)
    """
    made = stages(text(body, "float[1,3,4,5] x, float[1,2,4,5] z", weights="float k", values={"k": 40.0}))
    stored = initializers(made.quantized)
    quantizers = {
        node.output[0]: node.input[1:] for node in made.quantized.graph.node if node.op_type == "QuantizeLinear"
    }
    found = {name: (float(stored[scale]), int(stored[zero])) for name, (scale, zero) in quantizers.items()}
    assert found["x/quantized"] == found["b/quantized"] == found["c/quantized"]
    assert "its own range is" in made.node_notes("x")  # 1/40 of the others': worth saying


def test_constant_of_like_range_that_a_concat_joins_shares_its_scale(text: Any, stages: Any) -> None:
    part = RNG.uniform(-3, 3, (1, 2, 4, 5)).astype(np.float32)
    made = stages(
        text("y = Concat <axis = 1> (x, v)", "float[1,3,4,5] x", weights="float[1,2,4,5] v", values={"v": part})
    )
    (port,) = made.program.outputs
    codes = made.run({"x": np.zeros((1, 3, 4, 5), np.int8)})["y"][:, 3:]
    assert (
        np.abs((codes.astype(float) - port.zero_point) * port.scale - part).max() <= 0.501 * port.scale
    )  # rounded once


def test_softmax_joined_with_wider_values_does_not_force_its_scale_on_them(text: Any, stages: Any) -> None:
    made = stages(text("s = Softmax <axis = 1> (x)\n y = Concat <axis = 1> (x, s)"))
    (port,) = made.program.outputs
    assert port.scale[0] * 255 > 5  # normal numbers reach beyond +-2.5
    assert port.scale == (port.scale[0],) * 3 + (1 / 256,) * 3


def test_softmax_joined_with_probabilities_keeps_its_scale(text: Any, stages: Any) -> None:
    made = stages(text("s = Softmax <axis = 1> (x)\n h = Sigmoid (x)\n y = Concat <axis = 1> (h, s)"))
    assert (made.program.outputs[0].scale, made.program.outputs[0].zero_point) == (1 / 256, -128)
    assert "scale fixed by its operator" in made.node_notes("s")


def test_bias_beside_tiny_weights_stays_accurate(text: Any, stages: Any) -> None:
    w = RNG.standard_normal((4, 3, 1, 1)) * np.array([1, 1e-12, 1e-30, 1e-7]).reshape(4, 1, 1, 1)
    bias = np.array([0.5, -3.0, 2.0, 1.0])
    made = stages(text("y = Conv (x, w, b)", weights=POINTWISE, values={"w": w, "b": bias}))
    (port,) = made.program.outputs
    assert "raised so that their biases fit int32" in made.node_notes("y")
    for sample in made.extremes():
        codes = made.run(sample)["y"][0, 1:].reshape(3, -1)
        reals = (codes.astype(float) - port.zero_point) * port.scale
        assert np.abs(reals - bias[1:, None]).max() <= port.scale


def test_channels_of_zeros_give_their_bias(text: Any, stages: Any) -> None:
    w = RNG.standard_normal((4, 3, 1, 1))
    w[1], w[3] = 0, 0
    bias = np.array([0.5, -3.0, 2.0, 0.0])
    made = stages(text("y = Conv (x, w, b)", weights=POINTWISE, values={"w": w, "b": bias}))
    (port,) = made.program.outputs
    assert "2 output channels have only zero weights" in made.node_notes("y")
    codes = made.run(next(iter(made.extremes())))["y"][0, [1, 3]].reshape(2, -1)
    assert np.abs((codes.astype(float) - port.zero_point) * port.scale - bias[[1, 3], None]).max() <= port.scale


def test_depthwise_channels_of_very_different_size_stay_accurate(text: Any, stages: Any) -> None:
    w = RNG.standard_normal((4, 1, 3, 3)) * np.array([10, 1e-3, 1e-9, 0.1]).reshape(4, 1, 1, 1)
    model = text(
        "y = Conv <group = 4> (x, w, b)",
        "float[1,4,6,6] x",
        weights="float[4,1,3,3] w, float[4] b",
        values={"w": w, "b": [20, -30, 25, 1]},
    )
    made = stages(model)
    assert max(made.error(sample) for sample in made.extremes()) <= 1


def test_sums_that_int32_cannot_hold_are_wide(text: Any, stages: Any) -> None:
    model = text("y = Gemm (x, w)", "float[1,70000] x", weights="float[70000,2] w", values={"w": np.ones((70000, 2))})
    made = stages(model)
    assert made.ops[-1] == "WideGemm"
    assert max(made.error(sample) for sample in made.extremes()) <= 1


def test_input_that_was_always_zero_still_compiles(text: Any, stages: Any, around: Any) -> None:
    model = text("y = Conv (x, w, b)", weights=CONV)
    made = stages(model, around(model, spread=0.0))
    assert "was 0 in all 768 elements" in made.node_notes("x")
    for sample in made.extremes():
        made.run(sample)


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_every_range_method_compiles_to_the_same_arithmetic(text: Any, stages: Any, method: str) -> None:
    made = stages(text("c = Conv (x, w, b)\n y = Relu (c)", weights=CONV), options=QuantizeOptions(range=method))
    assert max(made.error(sample) for sample in made.extremes()) <= 1


def test_two_runs_write_the_same_bytes(text: Any, stages: Any) -> None:
    body = (
        "c = Conv (x, w, b)\n s = Sigmoid (c)\n d = Concat <axis = 1> (c, s)\n"
        "g = GlobalAveragePool (d)\n y = Softmax <axis = 1> (g)"
    )
    first, second = (stages(text(body, weights=CONV)) for _ in range(2))
    for one, other in ((first.quantized, second.quantized), (first.integer, second.integer)):
        assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
    assert first.notes == second.notes
