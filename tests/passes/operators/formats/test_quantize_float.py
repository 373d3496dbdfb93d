"""Quantizing to minifloats in stock onnxruntime: the function is the format's rounding, and E4M3 is ONNX's own type."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest

from bevel.backends.program.ops import quantize_float as kernel
from bevel.calib.arithmetic.round_float import FloatSteps, float_steps
from bevel.calib.formats.format import parse
from bevel.passes.exchange.export import export
from bevel.passes.operators.formats.quantize_float import quantize_float, steps_of
from bevel.passes.operators.formats.round_float import round_float


def session(node_of: Any, x: gs.Variable, y: gs.Variable, optimized: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = export(gs.Graph([node_of(x, y)], [x], [y], opset=21))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def steps_named(name: str) -> FloatSteps:
    steps = float_steps(parse(name))
    assert steps is not None
    return steps


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("case", list(kernel.cases()), ids=str)
def test_the_function_is_the_kernels_reference(case: kernel.QuantizeFloat, optimized: bool) -> None:
    (given,) = case.example(np.random.default_rng(3))
    x, y = gs.Variable("x", np.float32, [case.size]), gs.Variable("y", np.dtype(case.dtype), [case.size])
    opened = session(lambda x, y: quantize_float("q", x, case.scale, y, case.steps), x, y, optimized)
    np.testing.assert_array_equal(opened.run(None, {"x": given})[0], case.reference(given))


def test_steps_of_e4m3_are_onnx_float8() -> None:
    scale = np.float32(0.037)
    given = np.concatenate([np.linspace(-20, 20, 4001), [1e9, -1e9, 0.0]]).astype(np.float32)
    codes = (given / scale).astype(np.float64)
    expected = np.clip(codes, -448, 448).astype(np.float32).astype(ml_dtypes.float8_e4m3fn).astype(np.float64)
    found = steps_named("e4m3").round_float(given / (scale * np.float32(2.0**-9)))
    np.testing.assert_array_equal(found, expected * 2**9)


@pytest.mark.parametrize("name", ["e3m2", "e4m3", "e2m1", "e3m4"])
def test_a_node_says_which_steps_it_makes(name: str) -> None:
    steps = steps_named(name)
    x, y = gs.Variable("x", np.float32, [1]), gs.Variable("y", np.int32, [1])
    assert steps_of(quantize_float("q", x, 1.0, y, steps)) == steps


@pytest.mark.parametrize("name", ["e3m2", "e4m3", "e3m4", "e4m7"])
def test_rounding_integers_is_the_reference_at_ties_and_beyond_the_largest(name: str) -> None:
    steps = steps_named(name)
    dtype = np.dtype(np.int16 if steps.high < 2**15 else np.int32)
    limit = steps.high << steps.fraction
    rng = np.random.default_rng(0)
    magnitudes = np.concatenate([2 ** rng.uniform(0, np.log2(limit), 3000), np.arange(3000) << (steps.fraction - 1)])
    largest = np.iinfo(steps.fine_dtype).max
    every = np.concatenate([magnitudes, -magnitudes, [limit, -limit, largest, -largest]])
    fine = np.clip(every, -largest, largest).astype(steps.fine_dtype)
    x, y = gs.Variable("x", np.dtype(steps.fine_dtype), [fine.size]), gs.Variable("y", dtype, [fine.size])
    opened = session(lambda x, y: round_float("r", x, y, steps), x, y, optimized=True)
    np.testing.assert_array_equal(opened.run(None, {"x": fine})[0], steps.round_fine(fine, steps.fraction))
