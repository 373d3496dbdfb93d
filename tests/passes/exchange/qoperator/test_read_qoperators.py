"""Models of quantized operators compute what they computed: in onnxruntime, in integer.onnx and on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from saturating import SATURATES, WHY

from bevel.calib.errors import UserError
from bevel.passes.canonicalize import canonicalize

RNG = np.random.default_rng(3)
VALUES: dict[str, Any] = {
    "s": 0.0517, "s2": 0.0313, "s3": 0.1109, "sw": 0.0107, "half": 1 / 256, "ends": [0, 0, 1, 1, 0, 0, 1, 1],
    "twice": [1, 1, 2, 2], "places": [2, 0], "five": 5, "w": RNG.integers(-127, 128, (4, 3, 3, 3)),
    "c": RNG.integers(-3000, 3000, 4), "sc": [0.0103, 0.0041, 0.0199, 0.0133], "m": RNG.integers(-127, 128, (6, 4)),
    "zw": 0, "zc": [0, 0, 0, 0], "zero": 0,
}  # fmt: skip
WEIGHTS = "int8[4,3,3,3] w, int32[4] c, float[4] sc, int8[4] zc, int8 zw, float sw, int8[6,4] m"
SHAPES = "int64[8] ends, float[4] twice, int64[2] places"
KINDS = {"uint8": {"z": 120, "z2": 131, "z3": 9}, "int8": {"z": -7, "z2": 3, "z3": -90}}
Q = "q = QuantizeLinear (x, s, z)\n"
D = "y = DequantizeLinear (r, s2, z2)"
SAME = "y = DequantizeLinear (r, s, z)"
OTHER = "o = QuantizeLinear (x, s3, z3)\n"

CASES = {
    "conv": f"{Q}r = QLinearConv <pads = [1,1,1,1]> (q, s, z, w, sw, zw, s2, z2, c)\n{D}",
    "conv without bias": f"{Q}r = QLinearConv (q, s, z, w, sw, zw, s2, z2)\n{D}",
    "conv with a scale per channel": f"{Q}r = QLinearConv <strides = [2,2]> (q, s, z, w, sc, zc, s2, z2, c)\n{D}",
    "matmul": f"{Q}r = QLinearMatMul (q, s, z, m, sw, zw, s2, z2)\n{D}",
    "matmul with a scale per column": f"{Q}r = QLinearMatMul (q, s, z, m, sc, zc, s2, z2)\n{D}",
    "add": f"{Q}{OTHER}r = com.microsoft.QLinearAdd (q, s, z, o, s3, z3, s2, z2)\n{D}",
    "mul": f"{Q}{OTHER}r = com.microsoft.QLinearMul (q, s, z, o, s3, z3, s2, z2)\n{D}",
    "concat": f"{Q}{OTHER}r = com.microsoft.QLinearConcat <axis = 1> (s2, z2, q, s, z, o, s3, z3)\n{D}",
    "average pool": f"{Q}r = com.microsoft.QLinearAveragePool <kernel_shape = [3,3]> (q, s, z, s2, z2)\n{D}",
    "global average pool": f"{Q}r = com.microsoft.QLinearGlobalAveragePool (q, s, z, s2, z2)\n{D}",
    "leaky relu": f"{Q}r = com.microsoft.QLinearLeakyRelu <alpha = 0.1> (q, s, z, s2, z2)\n{D}",
    "sigmoid": f"{Q}r = com.microsoft.QLinearSigmoid (q, s, z, half, z2)\ny = DequantizeLinear (r, half, z2)",
    "max pool of integers": f"{Q}r = MaxPool <kernel_shape = [2,2]> (q)\n{SAME}",
    "pad of integers": f"{Q}r = Pad (q, ends, five)\n{SAME}",
    "pad of integers by 0": f"{Q}r = Pad (q, ends)\n{SAME}",
    "split of integers": f"{Q}r, t = Split <axis = 2, num_outputs = 2> (q)\n{SAME}",
    "gather of integers": f"{Q}t = Transpose <perm = [0,2,3,1]> (q)\nr = Gather <axis = 3> (t, places)\n{SAME}",
    "resize of integers": f"{Q}r = Resize (q, , twice)\n{SAME}",
}


def declared(kind: str) -> str:
    quantizers = f"float s, {kind} z, float s2, {kind} z2, float s3, {kind} z3, float half, {kind} five"
    return f"{quantizers}, {WEIGHTS}, {SHAPES}"


def parse(
    text: Any, body: str, kind: str, inputs: str = "float[1,3,6,6] x", given: dict[str, Any] | None = None
) -> onnx.ModelProto:
    """The model with the weights that it reads."""
    values = {**VALUES, **KINDS[kind], **(given or {})}
    model: onnx.ModelProto = text(body, inputs, weights=declared(kind), values=values, opset=21)
    read = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.opset_import.add(domain="com.microsoft", version=1)
    return model


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize("name", CASES)
def test_the_device_computes_what_the_model_computes(text, stages, name: str, kind: str) -> None:
    """With scales of no round ratio, whose sums do not come to lie in the middle between two integers."""
    if SATURATES and kind == "uint8" and name.startswith(("conv", "matmul")):
        pytest.skip(WHY)
    inputs = "float[1,3,5,6] x" if name.startswith("matmul") else "float[1,3,6,6] x"
    subject = parse(text, CASES[name], kind, inputs)
    done = stages(subject, inputs="float", outputs="float")
    original = ort.InferenceSession(subject.SerializeToString(), None, ["CPUExecutionProvider"])
    for seed in range(4):
        shape = [dim.dim_value for dim in subject.graph.input[0].type.tensor_type.shape.dim]
        sample = {"x": np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)}
        (expected,) = original.run(None, sample)
        np.testing.assert_array_equal(done.run(sample)["y"], expected)
    assert "Float" not in done.calls


def test_a_sum_in_the_middle_goes_to_the_even_one_as_in_onnxruntime(text, stages) -> None:
    """A ratio of 1/2: every second sum lies there, and half of those would go the other way if all went up."""
    body = f"{Q}r = QLinearMatMul (q, s, z, m, sw, zw, s2, z2)\n{D}"
    subject = parse(
        text, body, "int8", "float[50,6] x", {"s": 0.5, "sw": 1.0, "s2": 1.0, "m": [[1, 1, 3, 3]] * 6, "z2": 0}
    )
    done = stages(subject, inputs="float", outputs="float")
    sample = {"x": np.random.default_rng(0).normal(0, 3, (50, 6)).astype(np.float32)}
    (expected,) = ort.InferenceSession(subject.SerializeToString(), None, ["CPUExecutionProvider"]).run(None, sample)
    sums = np.rint(sample["x"] / 0.5).sum(axis=1)
    assert np.mean(sums % 2 == 1) > 0.3
    assert (done.run(sample)["y"] == expected).all()


def test_a_product_without_a_scale_gives_floats(text, stages) -> None:
    body = f"{Q}y = com.microsoft.QGemm (q, s, z, m, sw, zw, c)"
    subject = parse(text, body, "uint8", "float[5,6] x")
    graph, _ = canonicalize(subject)
    assert [node.op for node in graph.nodes if "Linear" not in node.op] == ["Gemm"]


INTEGER = "i = {} (q, {}, z, zw)\n f = Cast <to = 1> (i)\n y = Mul (f, {})"


@pytest.mark.parametrize("factor", ["s2", "sc"])
def test_integer_products_that_constants_scale_are_products_of_reals(text, factor) -> None:
    subject = parse(text, Q + INTEGER.format("MatMulInteger", "m", factor), "uint8", "float[5,6] x")
    graph, _ = canonicalize(subject)
    assert [node.op for node in graph.nodes if "Linear" not in node.op] == ["Gemm"]


def test_an_integer_convolution_that_a_constant_scales_is_one_of_reals(text) -> None:
    subject = parse(text, Q + INTEGER.format("ConvInteger", "w", "s2"), "uint8")
    graph, _ = canonicalize(subject)
    assert [node.op for node in graph.nodes if "Linear" not in node.op] == ["Conv"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("i = MatMulInteger (q, m, z, zw)\n y = Cast <to = 1> (i)", "no constant scales its input and its sums"),
        (
            "e = ReduceMean <keepdims = 0> (x)\n r = QLinearMatMul (q, e, z, m, sw, zw, s2, z2)\n" + D,
            "computes its scale; give the float model",
        ),
        (
            "r = com.microsoft.QLinearGlobalAveragePool <channels_last = 1> (q, s, z, s2, z2)\n" + D,
            "has its channels last",
        ),
        (
            "r = com.microsoft.QLinearSoftmax <axis = 0, opset = 11> (q, s, z, s2, z2)\n" + D,
            "takes several dimensions as one",
        ),
    ],
)
def test_what_has_no_constant_scale_or_float_form_is_refused(text, body, reason) -> None:
    inputs = "float[5,6] x" if "MatMul" in body or "Softmax" in body else "float[1,3,6,6] x"
    subject = parse(text, Q + body, "uint8", inputs)
    for node in subject.graph.node:
        node.name = node.output[0]
    with pytest.raises(UserError, match=reason) as caught:
        canonicalize(subject)
    assert "\n" not in str(caught.value)


def test_a_float_model_is_left_alone(text) -> None:
    graph, notes = canonicalize(text("y = Relu (x)"))
    assert len(graph.nodes) == 1 and not any("quantizers" in note.text for note in notes)
