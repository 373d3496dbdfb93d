"""Run a graph in onnxruntime with all of its own optimizations off, and the proof that a rewrite changed nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

from bevel.calib.errors import UserError, reason_of
from bevel.passes.exchange.qoperator.forms import QOPERATORS

Array = NDArray[Any]
FATAL_ONLY = 4  # its warnings about shapes and unused initializers are not for the user, and errors are raised, too


@dataclass(frozen=True)
class Tolerance:
    """How far two outputs may be apart: `relative` times the peak magnitude of the expected output plus `absolute`.

    Integer outputs of a graph with QuantizeLinear may differ by `steps`.
    """

    relative: float
    absolute: float
    steps: int = 0


# Folding scales into weights and reordering sums moves float32 results by units in the last place. ResNet-8, DS-CNN,
# MobileNetV1, two ViTs, a 5-layer Llama and an autoencoder stayed below 1e-6 of the peak; deeper ones get more room.
FLOAT_TOLERANCE = Tolerance(relative=1e-4, absolute=1e-6)
# Inside a quantized graph such a movement can tip a rounding, and one step of 8 bits is 1/128 of the peak.
QUANTIZED_TOLERANCE = Tolerance(relative=1 / 64, absolute=1e-6, steps=2)


def open_session(model: onnx.ModelProto) -> ort.InferenceSession:
    """An onnxruntime CPU session with graph optimizations off, one thread, quiet."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = FATAL_ONLY
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def random_inputs(model: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """Seeded inputs by name: normal floats, full-range 8-bit integers, 0 or 1 for other types.

    Wider integers are mostly indices, and the only indices valid in every table are the smallest.
    """
    rng = np.random.default_rng(seed)
    return {value.name: random_array(value, rng) for value in model.graph.input}


def random_array(value: onnx.ValueInfoProto, rng: np.random.Generator) -> Array:
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    if dtype in (np.int8, np.uint8):
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def run_tensors(model: onnx.ModelProto, names: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The values of any tensors of the model, by name. Raises onnxruntime's own errors."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    results = open_session(probe).run(list(names), dict(feeds))
    arrays = [np.asarray(one) if isinstance(one, np.generic) else one for one in results]  # of rank 0
    return dict(zip(names, arrays, strict=True))


def check_equivalence(
    before: onnx.ModelProto,
    after: onnx.ModelProto,
    samples: Iterable[Mapping[str, Array]],
    tolerance: Tolerance | None = None,
) -> None:
    """Run both models on each sample ({input name: array}) and compare every output.

    The default tolerance is `FLOAT_TOLERANCE`, or `QUANTIZED_TOLERANCE` where `before` quantizes.
    Raises AssertionError naming the worst output: a rewrite is wrong, which is a bug of ours. Raises UserError where
    onnxruntime cannot run `before` itself.
    """
    bound = tolerance or (QUANTIZED_TOLERANCE if quantizes(before) else FLOAT_TOLERANCE)
    steps = output_steps(before) if bound.steps else {}
    expected_session, found_session = open_session(before), open_session(after)
    names = [output.name for output in expected_session.get_outputs()]
    if names != [output.name for output in found_session.get_outputs()]:
        raise AssertionError(f"canonicalization changed the outputs {names}")
    for sample in samples:
        expected, found = run_given(expected_session, names, sample), found_session.run(names, dict(sample))
        pairs = zip(names, expected, found, strict=True)
        excesses = {name: excess(one, other, with_step(bound, steps.get(name, 0.0))) for name, one, other in pairs}
        worst = max(excesses, key=lambda name: excesses[name])
        if excesses[worst] > 1:
            raise AssertionError(
                f"canonicalization changed output {worst}: {excesses[worst]:.3g} times the allowed {bound}"
            )


def output_steps(model: onnx.ModelProto) -> dict[str, float]:
    """The largest scale with which a DequantizeLinear makes each output, where one does."""
    outputs = {value.name for value in model.graph.output}
    makers = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.output[0] in outputs]
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    scales = {node.output[0]: constants.get(node.input[1]) for node in makers}
    found = {name: float(numpy_helper.to_array(one).max()) for name, one in scales.items() if one is not None}
    return {name: step for name, step in found.items() if np.isfinite(step)}


def with_step(tolerance: Tolerance, step: float) -> Tolerance:
    """One rounding that tips moves an output by a step, whatever part of its range is used."""
    return replace(tolerance, absolute=tolerance.absolute + step)


def run_given(session: ort.InferenceSession, names: list[str], sample: Mapping[str, Array]) -> list[Array]:
    """The outputs of the model as it was given to us."""
    try:
        results: list[Array] = session.run(names, dict(sample))
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise UserError(f"onnxruntime cannot run the model as it was given: {reason_of(error)}") from error
    return results


def excess(expected: Array, found: Array, tolerance: Tolerance) -> float:
    """The largest difference in units of the allowed one: at most 1 is equal, infinity another shape, type or NaN."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return float("inf")
    if expected.size == 0:
        return 0.0
    if expected.dtype.kind not in "iuf":
        return 0.0 if np.array_equal(expected, found) else float("inf")
    one, other = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(one)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True) or not np.isfinite(other[finite]).all():
        return float("inf")
    difference = float(np.abs(one[finite] - other[finite]).max(initial=0.0))
    if expected.dtype.kind in "iu":
        return difference / tolerance.steps if tolerance.steps else (float("inf") if difference else 0.0)
    peak = float(np.abs(one[finite]).max(initial=0.0))
    return difference / (tolerance.relative * peak + tolerance.absolute)


def quantizes(model: onnx.ModelProto) -> bool:
    return any(node.op_type == "QuantizeLinear" or node.op_type in QOPERATORS for node in model.graph.node)
