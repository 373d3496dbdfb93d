"""Models that other tools quantized keep their scales, and the integers stay within one step of their QDQ graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime.quantization as ort_quantization
import pytest

from bevel.calib.errors import UserError

RNG = np.random.default_rng(5)
STEP = {"s": 0.05, "s2": 0.03, "s3": 0.11, "sw": 0.01, "sb": 0.0005, "zw": 0, "zb": 0}
UNSIGNED = "float s, uint8 z, float s2, uint8 z2, float s3, uint8 z3"
SIGNED = UNSIGNED.replace("uint8", "int8")
CONV = "uint8[4,3,3,3] w, float sw, uint8 zw, int32[4] b, float sb, int32 zb"
PER_CHANNEL = "int8[4,3,3,3] w, float[4] sw, int8[4] zw, int32[4] b, float[4] sb, int32[4] zb"
MATRIX = "int8[5,4] w, float[4] sw, int8[4] zw, int32[4] b, float[4] sb, int32[4] zb"
X = "q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)\n"
Y = "p = QuantizeLinear (r, s2, z2)\n y = DequantizeLinear (p, s2, z2)\n"
WEIGHTS = "k = DequantizeLinear <axis = 0> (w, sw, zw)\n c = DequantizeLinear <axis = 0> (b, sb, zb)\n"
COLUMNS = "k = DequantizeLinear <axis = 1> (w, sw, zw)\n c = DequantizeLinear <axis = 0> (b, sb, zb)\n"
IMAGE = "float[1,3,6,6] x"
CHANNEL_STEPS = np.array([0.01, 0.004, 0.02, 0.013])


def integers(text: str) -> dict[str, Any]:
    """Weights and biases declared in `text`."""
    found: dict[str, Any] = {}
    for declaration in text.split(", "):
        kind, name = declaration.split(" ")
        shape = [int(size) for size in kind.partition("[")[2].rstrip("]").split(",") if size]
        if name == "w":
            found[name] = RNG.integers(0 if kind.startswith("uint8") else -127, 128, shape)
        elif name == "b":
            found[name] = RNG.integers(-3000, 3000, shape)
        elif name == "sw" and shape:
            found |= {"sw": CHANNEL_STEPS, "sb": CHANNEL_STEPS * 0.05, "zw": np.zeros(4), "zb": np.zeros(4)}
    return found


# body, declarations, more values: x on (s, z) to y on (s2, z2)
CASES = {
    "conv of uint8": (f"{X}{WEIGHTS}r = Conv (d, k, c)\n{Y}", f"{UNSIGNED}, {CONV}", {"z": 120, "z2": 131, "zw": 117}),
    "conv of uint8, zero points at the ends": (
        f"{X}{WEIGHTS}r = Conv (d, k, c)\n{Y}",
        f"{UNSIGNED}, {CONV}",
        {"z": 0, "z2": 255, "zw": 128},
    ),
    "conv of int8 per channel": (
        f"{X}{WEIGHTS}r = Conv <pads = [1,1,1,1]> (d, k, c)\n{Y}",
        f"{SIGNED}, {PER_CHANNEL}",
        {"z": -7, "z2": -128},
    ),
    "conv relu": (f"{X}{WEIGHTS}a = Conv (d, k, c)\n r = Relu (a)\n{Y}", f"{UNSIGNED}, {CONV}", {"z": 128, "zw": 128}),
    "conv without bias": (
        f"{X}k = DequantizeLinear <axis = 0> (w, sw, zw)\n r = Conv (d, k)\n{Y}",
        f"{SIGNED}, {PER_CHANNEL}",
        {"z": 3},
    ),
    "conv with a float bias": (
        f"{X}k = DequantizeLinear <axis = 0> (w, sw, zw)\n r = Conv (d, k, f)\n{Y}",
        f"{SIGNED}, {PER_CHANNEL}, float[4] f",
        {"z": 3},
    ),
    "matmul and add": (
        f"{X}{COLUMNS}a = MatMul (d, k)\n r = Add (a, c)\n{Y}",
        f"{SIGNED}, {MATRIX}",
        {"inputs": "float[3,5] x", "z": 9},
    ),
    "matmul and add of rank 3": (
        f"{X}{COLUMNS}a = MatMul (d, k)\n r = Add (c, a)\n{Y}",
        f"{SIGNED}, {MATRIX}",
        {"inputs": "float[2,3,5] x", "z": 9},
    ),
    "matmul, add of int8": (
        f"{X}{COLUMNS}a = MatMul (d, k)\n e = DequantizeLinear (v, s3, z3)\n r = Add (a, e)\n{Y}",
        f"{SIGNED}, {MATRIX}, int8[4] v",
        {"inputs": "float[3,5] x", "v": [5, -100, 127, 0], "z3": 4},
    ),
    "max pool": (f"{X}r = MaxPool <kernel_shape = [2,2]> (d)\n{Y}", UNSIGNED, {"z": 120, "z2": 3}),
    "transpose": (f"{X}r = Transpose <perm = [0,2,3,1]> (d)\n{Y}", UNSIGNED, {"z": 120, "z2": 3}),
    "pad": (f"{X}r = Pad (d, n)\n{Y}", f"{SIGNED}, int64[8] n", {"z": 20, "z2": 3, "n": [0, 0, 1, 1, 0, 0, 0, 2]}),
    "resize": (
        f'{X}r = Resize <mode = "linear"> (d, , f)\n{Y}',
        f"{SIGNED}, float[4] f",
        {"z": 20, "z2": 3, "f": [1, 1, 2, 2]},
    ),
    "concat of two scales": (
        f"{X}e = QuantizeLinear (x, s3, z3)\n g = DequantizeLinear (e, s3, z3)\n r = Concat <axis = 1> (d, g)\n{Y}",
        UNSIGNED,
        {"z": 120, "z3": 40, "z2": 3},
    ),
    "concat with stored integers": (
        f"{X}e = DequantizeLinear <axis = 1> (v, s4, z4)\n r = Concat <axis = 1> (d, e)\n{Y}",
        f"{SIGNED}, int8[1,2,6,6] v, float[2] s4, int8[2] z4",
        {"z2": 3, "v": RNG.integers(-128, 128, (1, 2, 6, 6)), "s4": [0.02, 0.3], "z4": [0, 5]},
    ),
    "rescale": (f"{X}r = Identity (d)\n{Y}", UNSIGNED, {"z": 120, "z2": 3}),
    "relu that only clamps": (f"{X}r = Relu (d)\n{Y}", UNSIGNED, {"z": 120, "z2": 120, "s2": 0.05}),
    "sigmoid": (f"{X}r = Sigmoid (d)\n{Y}", UNSIGNED, {"z": 120, "z2": 0, "s2": 1 / 255}),
    "softmax": (f"{X}r = Softmax <axis = 1> (d)\n{Y}", SIGNED, {"z": 1, "z2": -128, "s2": 1 / 256}),
    "softmax on another scale": (f"{X}r = Softmax <axis = 1> (d)\n{Y}", UNSIGNED, {"z": 120, "z2": 0, "s2": 1 / 255}),
    "mean": (f"{X}r = GlobalAveragePool (d)\n{Y}", UNSIGNED, {"z": 120, "z2": 128}),
    "sum": (f"{X}r = Add (d, d)\n{Y}", UNSIGNED, {"z": 120, "z2": 128}),
    "sum with stored integers": (
        f"{X}e = DequantizeLinear (v, s3, z3)\n r = Add (d, e)\n{Y}",
        f"{UNSIGNED}, uint8[1,3,1,1] v",
        {"v": [7, 255, 130], "z3": 128},
    ),
    "quantizer without zero point": (
        "q = QuantizeLinear (x, s)\n d = DequantizeLinear (q, s)\n r = MaxPool <kernel_shape = [2,2]> (d)\n"
        "p = QuantizeLinear (r, s2)\n y = DequantizeLinear (p, s2)",
        UNSIGNED,
        {},
    ),
    "integers that are reshaped": (
        f"{X}t = Transpose <perm = [0,2,3,1]> (q)\n h = Reshape (t, n)\n y = DequantizeLinear (h, s, z)",
        f"{UNSIGNED}, int64[2] n",
        {"z": 120, "n": [6, 18]},
    ),
    "integers that are pooled and joined": (
        "q = QuantizeLinear (x, s, z)\n m = MaxPool <kernel_shape = [1,2]> (q)\n t = Concat <axis = 3> (q, m, v)\n"
        "y = DequantizeLinear (t, s, z)",
        f"{UNSIGNED}, uint8[1,3,6,1] v",
        {"z": 120, "v": RNG.integers(0, 256, (1, 3, 6, 1))},
    ),
    "weights quantized in the graph": (
        f"{X}i = QuantizeLinear <axis = 0> (f, sw, zw)\n k = DequantizeLinear <axis = 0> (i, sw, zw)\n"
        f"r = Conv (d, k)\n{Y}",
        f"{SIGNED}, float[4,3,3,3] f, float[4] sw, int8[4] zw",
        {"z": 3},
    ),
    "a result with two quantizers": (
        f"{X}{WEIGHTS}r = Conv (d, k, c)\n{Y}o = QuantizeLinear (r, s3, z3)\n z5 = DequantizeLinear (o, s3, z3)",
        f"{UNSIGNED}, {CONV}",
        {"z": 120, "z2": 131, "zw": 128, "outputs": "float[] y, float[] z5"},
    ),
    "a result with and without relu": (
        f"{X}{WEIGHTS}r = Conv (d, k, c)\n{Y}h = Relu (r)\n"
        "o = QuantizeLinear (h, s3, z3)\n z5 = DequantizeLinear (o, s3, z3)",
        f"{UNSIGNED}, {CONV}",
        {"z": 120, "z2": 131, "zw": 128, "outputs": "float[] y, float[] z5"},
    ),
}


def given_model(name: str, text: Any) -> onnx.ModelProto:
    body, declarations, rest = CASES[name]
    zeros = {"z": 0, "z2": 0, "z3": 0}
    values = {**zeros, **STEP, **integers(declarations), **rest}
    return text(body, rest.get("inputs", IMAGE), rest.get("outputs", "float[] y"), declarations, values)


@pytest.mark.parametrize("ports", ["quantized", "float"])
@pytest.mark.parametrize("name", CASES)
def test_imported_graph_keeps_its_scales_and_its_values(
    name: str, ports: str, text: Any, stages: Any, floats: Any
) -> None:
    made = stages(given_model(name, text), inputs=ports, outputs=ports)
    assert floats(made.integer) == set(), made.notes
    for sample in made.extremes():
        if ports == "quantized" and all(port.scale for port in (*made.program.inputs, *made.program.outputs)):
            assert made.error(sample) <= 1
        else:
            made.run(sample)


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_ports_that_carry_integers_keep_their_type(kind: str, text: Any, stages: Any, floats: Any) -> None:
    body = f"d = DequantizeLinear (x, s, z)\n{WEIGHTS}r = Conv (d, k, c)\n y = QuantizeLinear (r, s2, z2)"
    declarations = f"{UNSIGNED if kind == 'uint8' else SIGNED}, {PER_CHANNEL}"
    values = STEP | integers(declarations) | {"z": 100, "z2": 7}
    made = stages(text(body, f"{kind}[2,3,6,6] x", f"{kind}[] y", declarations, values))
    assert floats(made.integer) == set()
    assert [port.dtype for port in (*made.program.inputs, *made.program.outputs)] == [kind, kind]
    assert max(made.error(sample) for sample in made.extremes()) <= 1


def test_port_of_uint8_that_is_only_moved_stays_uint8(text: Any, stages: Any) -> None:
    made = stages(text("y = Transpose <perm = [1,0]> (x)", "uint8[3,4] x", "uint8[] y"))
    codes = np.arange(12, dtype=np.uint8).reshape(3, 4) * 23
    np.testing.assert_array_equal(made.run({"x": codes})["y"], codes.T)


@pytest.mark.parametrize("kind", ["int16", "uint16"])
def test_activations_of_sixteen_bits_keep_their_scales_and_their_values(kind: str, text: Any, stages: Any) -> None:
    zero = 32768 if kind == "uint16" else 0
    model = text(
        "q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)\n m = MaxPool <kernel_shape = [2,2]> (d)\n"
        "p = QuantizeLinear (m, s, z)\n e = DequantizeLinear (p, s, z)\n r = AveragePool <kernel_shape = [2,2]> (e)\n"
        "o = QuantizeLinear (r, s2, z2)\n y = DequantizeLinear (o, s2, z2)",
        "float[1,3,6,6] x",
        weights=f"float s, {kind} z, float s2, {kind} z2",
        values={"s": 1e-4, "s2": 9e-5, "z": zero + 100, "z2": zero - 5},
    )
    made = stages(model)
    assert {"WideMaxPool", "WideAveragePool"} <= set(made.ops)
    for sample in made.extremes():
        assert made.error(sample) <= 1


def test_activation_in_a_float8_type_without_steps_in_int32_is_refused_by_name(text: Any, stages: Any) -> None:
    model = text(f"{X}y = Relu (d)", "float[1,4] x", weights="float s, float8e5m2 z", values=STEP | {"z": 0})
    with pytest.raises(UserError, match=r"node q\S* quantizes an activation to float8_e5m2; int8, uint8, int16"):
        stages(model)


def test_activation_with_a_scale_per_channel_is_refused_by_name(text: Any, stages: Any) -> None:
    model = text(f"{X}y = Relu (d)", "float[1,4] x", weights="float[4] s, int8[4] z", values={"s": np.ones(4)})
    with pytest.raises(UserError, match=r"int8 per channel; int8, uint8, .* can be compiled"):
        stages(model)


@pytest.mark.parametrize(
    ("declarations", "call"), [(f"{UNSIGNED}, {CONV}", "WideConv"), (f"{SIGNED}, {PER_CHANNEL}", "Conv")]
)
def test_uint8_weights_that_leave_int8_have_wide_sums(text: Any, stages: Any, declarations: str, call: str) -> None:
    body = f"{X}{WEIGHTS}r = Conv (d, k, c)\n{Y}"
    values = STEP | integers(declarations) | {"z": 20, "z2": 31} | ({"zw": 200} if call == "WideConv" else {})
    made = stages(text(body, IMAGE, weights=declarations, values=values))
    assert call in made.ops
    assert max(made.error(sample) for sample in made.extremes()) <= 1


class Reader(ort_quantization.CalibrationDataReader):  # type: ignore[misc]
    """Four seeded images for onnxruntime's own quantizer."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.samples = iter([{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(4)])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.samples, None)


NETWORK = """
  c = Conv <pads = [1,1,1,1]> (x, w, b)
  r = Relu (c)
  e = Conv <group = 4, pads = [1,1,1,1]> (r, v)
  a = Add (r, e)
  m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (a)
  h = Sigmoid (m)
  j = Concat <axis = 1> (m, h)
  g = GlobalAveragePool (j)
  f = Flatten (g)
  o = MatMul (f, t)
  l = Add (o, u)
  y = Softmax (l)
"""
PARAMETERS = "float[4,3,3,3] w, float[4] b, float[4,1,3,3] v, float[8,5] t, float[5] u"


@pytest.mark.parametrize("per_channel", [False, True], ids=["per tensor", "per channel"])
@pytest.mark.parametrize(("activations", "weights"), [("QUInt8", "QUInt8"), ("QUInt8", "QInt8"), ("QInt8", "QInt8")])
def test_output_of_onnxruntime_s_quantizer_compiles(
    tmp_path: Path, text: Any, stages: Any, floats: Any, per_channel: bool, activations: str, weights: str
) -> None:
    source, target = tmp_path / "float.onnx", tmp_path / "qdq.onnx"
    onnx.save(text(NETWORK, "float[1,3,8,8] x", weights=PARAMETERS, opset=17), source)
    ort_quantization.quantize_static(
        source,
        target,
        Reader(),
        per_channel=per_channel,
        activation_type=ort_quantization.QuantType[activations],
        weight_type=ort_quantization.QuantType[weights],
        extra_options={"WeightSymmetric": True},
    )
    made = stages(onnx.load(target))
    assert floats(made.integer) == set(), made.notes
    # Twelve operators in a row, each within one step of its own; in front of the Softmax a step is a few of its steps.
    assert max(made.error(sample) for sample in made.extremes()) <= 6
