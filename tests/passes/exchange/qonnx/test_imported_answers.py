"""Whole networks that came quantized, of few bits and scales that are powers of two: the integers give the very answers
of the model that was imported, which float32 computes without rounding.

Scales of another kind make float32 round on its way to a half. Of what differs there, float64 shows whose it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from bevel.passes.exchange.qonnx.import_qonnx import import_qonnx

SIGNED = '<signed = 1, narrow = 1, rounding_mode = "ROUND">'
UNSIGNED = '<signed = 0, narrow = 0, rounding_mode = "ROUND">'
LINE = f"""
    q = Quant {SIGNED} (x, eighth, zero, six)
    wa = Quant {SIGNED} (ka, quarter, zero, four)
    a = Conv <pads = [1, 1]> (q, wa, ba)
    ra = Relu (a)
    qa = Quant {UNSIGNED} (ra, quarter, zero, five)
    p = AveragePool <kernel_shape = [2], strides = [2]> (qa)
    qp = Quant {UNSIGNED} (p, quarter, zero, five)
    wb = Quant {SIGNED} (kb, quarter, zero, three)
    b = Conv (qp, wb)
    rb = Relu (b)
    qb = Quant {UNSIGNED} (rb, quarter, zero, four)
    g = GlobalAveragePool (qb)
    qg = Quant {UNSIGNED} (g, quarter, zero, six)
    f = Flatten <axis = 1> (qg)
    wc = Quant {SIGNED} (kc, quarter, zero, two)
    m = MatMul (f, wc)
    y = Quant {SIGNED} (m, eighth, zero, six)
"""
LINE_WEIGHTS = "float[8,4,3] ka, float[8] ba, float[6,8,3] kb, float[6,5] kc"
NUMBERS = {"zero": 0, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eighth": 2**-3, "quarter": 2**-2}


def between(name: str, source: str, scale: str, zero: str = "z") -> str:
    codes = f"{name}_q = QuantizeLinear ({source}, {scale}, {zero})"
    return f"{codes}\n {name} = DequantizeLinear ({name}_q, {scale}, {zero})\n"


IMAGE = (
    between("d", "x", "s")
    + "ka = DequantizeLinear (wa, sw, zw)\n ca = Conv <pads = [1,1,1,1]> (d, ka, ba)\n ra = Relu (ca)\n"
    + between("a", "ra", "s2")
    + "kb = DequantizeLinear (wb, sw, zw)\n cb = Conv <pads = [1,1,1,1], group = 8> (a, kb)\n"
    + between("b", "cb", "s2")
    + "sum = Add (a, b)\n"
    + between("e", "sum", "s3")
    + "pool = AveragePool <kernel_shape = [2,2], strides = [2,2]> (e)\n"
    + between("p", "pool", "s2")
    + "kc = DequantizeLinear (wc, sw, zw)\n up = ConvTranspose <strides = [2,2]> (p, kc)\n"
    + between("u", "up", "s3")
    + 'large = Resize <mode = "linear"> (u, , factors)\n'
    + between("l", "large", "s2")
    + "mean = GlobalAveragePool (l)\n"
    + between("g", "mean", "s", "z2")
    + "f = Flatten (g)\n kd = DequantizeLinear (wd, sw, zw)\n m = Gemm (f, kd)\n"
    + between("y", "m", "s")
)
IMAGE_WEIGHTS = (
    "float s, float s2, float s3, float sw, int8 z, int8 z2, int8 zw, int8[8,3,3,3] wa, float[8] ba, int8[8,1,3,3] wb, "
    "int8[8,4,2,2] wc, int8[4,10] wd, float[4] factors"
)


def exact(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def test_a_qonnx_network_with_average_pools_gives_the_very_answers_of_its_quantizers(
    qonnx: Any, execute: Any, stages: Any
) -> None:
    values = NUMBERS | {"ba": np.arange(-3, 5) / 32}
    model = qonnx(LINE, "float[1,4,32] x", weights=LINE_WEIGHTS, values=values)
    made, rng = stages(import_qonnx(model), inputs="float", outputs="float"), np.random.default_rng(0)
    assert {"EvenConv", "EvenGemm", "RoundEven"} <= set(made.ops)
    answers = []
    for _ in range(10):
        given = {"x": (1.5 * rng.standard_normal((1, 4, 32))).astype(np.float32)}
        answers.append(made.run(given)["y"])
        np.testing.assert_array_equal(answers[-1], execute(model, given)[0])
    assert len(np.unique(answers)) > 10


def test_a_qdq_network_of_all_kinds_of_sums_gives_the_very_answers_of_onnxruntime(text: Any, stages: Any) -> None:
    rng = np.random.default_rng(1)
    shapes = {"wa": (8, 3, 3, 3), "wb": (8, 1, 3, 3), "wc": (8, 4, 2, 2), "wd": (4, 10)}
    values = {name: rng.integers(-7, 8, shape) for name, shape in shapes.items()}
    scales = {"s": 2**-4, "s2": 2**-3, "s3": 2**-2, "sw": 2**-3, "z": 3, "z2": -20, "zw": 0, "factors": [1, 1, 2, 2]}
    values |= scales | {"ba": rng.integers(-40, 40, 8) * 2**-7}
    model = text(IMAGE, "float[1,3,8,8] x", weights=IMAGE_WEIGHTS, values=values)
    made, reference = stages(model, inputs="float", outputs="float"), exact(model)
    kinds = {"EvenConv", "EvenConvTranspose", "EvenGemm", "EvenResizeBilinear", "RoundEven"}
    assert kinds <= set(made.ops)
    answers = []
    for _ in range(10):
        given = {"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)}
        answers.append(made.run(given)["y"])
        np.testing.assert_array_equal(answers[-1], reference.run(None, given)[0])
    assert len(np.unique(answers)) > 10


def test_where_decimal_scales_make_float32_miss_a_half_the_integers_are_those_of_float64(
    text: Any, stages: Any
) -> None:
    rng = np.random.default_rng(2)
    s, sw, s2 = (float(np.float32(scale)) for scale in (0.1, 0.05, 0.01))
    codes, w = rng.integers(-8, 8, (64, 24)), rng.integers(-7, 8, (24, 10))
    body = f"{between('d', 'x', 's')}k = DequantizeLinear (w, sw, z)\n r = MatMul (d, k)\n{between('y', 'r', 's2')}"
    declared = "float s, int8 z, int8[24,10] w, float sw, float s2"
    values = {"s": s, "sw": sw, "s2": s2, "z": 0, "w": w}
    model = text(body, "float[64,24] x", weights=declared, values=values)
    given = {"x": (codes * np.float32(s)).astype(np.float32)}
    wanted = np.clip(np.rint(codes @ w * (s * sw / s2)), -128, 127)
    found = np.rint(stages(model, inputs="float", outputs="float").run(given)["y"] / np.float32(s2))
    answered = np.rint(exact(model).run(None, given)[0] / np.float32(s2))
    np.testing.assert_array_equal(found, wanted)
    assert 0 < (answered != wanted).mean() < 0.2
