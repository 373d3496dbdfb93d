"""quantized.onnx in the runtimes that people have: stock onnxruntime as it is installed, and OpenVINO."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from saturating import exact

from bevel.backends.process import signal_stack
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format, weight_format

NETWORK = """
  c = Conv <pads = [1,1,1,1]> (x, w, b)
  r = Relu (c)
  d = Conv <group = 16, pads = [1,1,1,1]> (r, v, b)
  s = HardSwish (d)
  a = Add (s, r)
  m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (a)
  p = AveragePool <kernel_shape = [2,2], strides = [2,2]> (m)
  u = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric"> (p, , scales)
  k = Concat <axis = 1> (u, m)
  t = ConvTranspose <strides = [2,2]> (k, q)
  g = GlobalAveragePool (t)
  f = Flatten (g)
  e = Gemm (f, n, o)
  y = Softmax (e)
"""
WEIGHTS = (
    "float[16,3,3,3] w, float[16] b, float[16,1,3,3] v, float[4] scales, float[32,8,2,2] q, float[8,6] n, float[6] o"
)
VALUES = {"scales": [1, 1, 2, 2]}
Array = np.ndarray[Any, Any]

BLOCKS = "mxfp4 nvfp4 int4:block32 int3:group16"
FORMATS = f"int8 int6 int4 uint4 int3 ternary binary e2m1 e3m2 e4m3 log3 apot5k2 int12 int16 {BLOCKS}"
WIDE = "int6 int4 int12 int16 e2m1 e3m2 e4m3 log3 mxfp4 mxint8"
WHOLE = [pytest.param("int8", "int8", marks=exact)]  # large weights of eight bits
CASES = (
    WHOLE
    + [(weights, "int8") for weights in FORMATS.split() if weights != "int8"]
    + [("int8", activations) for activations in WIDE.split()]
)
SAMPLES = 64
LOST_DB = 0.5  # of SQNR against the float model, on all samples together
OPEN = ("int8", "int4", "uint4", "e4m3", "int16")  # weights that standard types hold


def quantized(text: Any, stages: Any, weights: str = "int8", activations: str = "int8") -> onnx.ModelProto:
    options = QuantizeOptions(weights=weight_format(weights), activations=activation_format(activations))
    model: onnx.ModelProto = stages(
        text(NETWORK, weights=WEIGHTS, values=VALUES), options=options, islands=True
    ).shipped
    return model


def samples() -> Array:
    return np.random.default_rng(5).standard_normal((SAMPLES, 1, 3, 8, 8)).astype(np.float32)


def answers(model: onnx.ModelProto, optimized: bool) -> Array:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return np.stack([session.run(None, {"x": one})[0] for one in samples()])


def as_good(float_model: onnx.ModelProto, written: Array, found: Array) -> bool:
    """Whether `found` is as near to the float model as `written`, what quantized.onnx says node by node: a runtime that
    fuses quantizers rounds some codes to the other side, which moves single answers and loses nothing on average."""
    exact = answers(float_model, False)
    noise = [np.square(one - exact).mean() for one in (written, found)]
    return bool(10 * np.log10(noise[1] / noise[0]) <= LOST_DB)


@pytest.mark.parametrize(("weights", "activations"), CASES)
def test_stock_onnxruntime_runs_every_format_as_it_is_written(
    weights: str, activations: str, text: Any, stages: Any
) -> None:
    model = quantized(text, stages, weights, activations)
    assert as_good(text(NETWORK, weights=WEIGHTS, values=VALUES), answers(model, False), answers(model, True))


@pytest.mark.parametrize("weights", [pytest.param(one, marks=exact) if one == "int8" else one for one in OPEN])
def test_openvino_answers_as_onnxruntime(weights: str, text: Any, stages: Any) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed: pip install '.[runtimes]'")
    model = quantized(text, stages, weights)
    core = openvino.Core()
    with signal_stack.kept():
        compiled = core.compile_model(
            core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
    found = np.stack([compiled({"x": one})[0] for one in samples()])
    assert as_good(text(NETWORK, weights=WEIGHTS, values=VALUES), answers(model, False), found)
