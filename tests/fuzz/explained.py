"""Whether the answers of a node test are what ONNX expects, quantization aside: every element, within stated steps.

What quantization may do to one operator f is known before it is built:

- Its inputs are rounded: each element by half a step, the 255th part of the range, at most. f is asked on the rounded
  inputs, which quantized.onnx names, so a function that jumps, turns or ties is judged where it was computed.
- Its constant factors are rounded: by half of the 127th part of the largest. What that can move is f's own answer to
  constants moved by so much; of a sum of products, f(|x|, half a step), as if every rounding fell to one side.
- Its result is rounded to STEPS of the 255th part of the result's own range. Half of one is the rounding itself, the
  other half what integer multipliers and tables leave.

Steps are counted from what ONNX expects, not from the scales that were chosen: a scale that is too coarse fails. Class
numbers and booleans must be equal. Elements that are infinite or NaN have no integer; only they are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented

from bevel.passes.exchange.put_steps_first import put_steps_first
from fuzz.node_tests import NodeTest

Array = NDArray[Any]
Named = dict[str, Array]

STEPS = 1.0
MORE_STEPS = {  # by operator and place of the result: what is rounded on the way to it, too
    ("BatchNormalization", 0): 2.0,  # in training mode: the mean, the variance and its root
    ("LayerNormalization", 2): 3.0,  # the mean, the variance and its root, which is steep where that is small
}
SLACK = 1e-4  # of the range: float32, and TVM's or the C library's functions in place of ONNX's
ALIKE = 1e-3  # of the largest magnitude: two float implementations of one definition
LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
PLACES = ("Resize", "Upsample", "RoiAlign", "GridSample")  # their constants say where to read, and stay exact
OTHERWISE = (  # computed by onnxruntime, whose answer float models get, otherwise than ONNX expects
    "test_resize_downsample_scales_cubic_align_corners",
    "test_resize_downsample_scales_linear_align_corners",
)
MOVES = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice")


def far(test: NodeTest, bundle: Path, found: Named) -> str | None:
    """How `found` is wrong beside what ONNX expects, if it is."""
    for name, expected in test.outputs.items():
        if found[name].shape != expected.shape:
            return f"{name} is {found[name].shape}, not {expected.shape}"
    name = unlike(test, run(test.model, test.inputs))
    if name is not None and test.name.removesuffix(", constants") not in OTHERWISE:
        return f"onnxruntime's own {name} is not what ONNX expects"
    least = min(distance(test, one, found) for one in as_read(test, bundle / "quantized.onnx"))
    return None if least <= 1 else f"{least:.2f} times as far from what ONNX expects as quantization explains"


def allowed(test: NodeTest, output: str) -> float:
    """Steps of a result."""
    (maker,) = (node for node in test.model.graph.node if output in node.output)
    return MORE_STEPS.get((maker.op_type, list(maker.output).index(output)), STEPS)


def unlike(test: NodeTest, exact: Named) -> str | None:
    """An output that onnxruntime computes otherwise than ONNX."""
    for name, expected in test.outputs.items():
        reach = np.abs(np.nan_to_num(expected.astype(np.float64), posinf=0, neginf=0)).max(initial=0.0)
        if not np.allclose(exact[name], expected, rtol=0, atol=ALIKE * reach, equal_nan=True):
            return name
    return None


def distance(test: NodeTest, inputs: Named, found: Named) -> float:
    """The largest distance of an element, as part of what is allowed, where the operator read `inputs`."""
    constants = {one.name: numpy_helper.to_array(one) for one in test.model.graph.initializer}
    exact = run(test.model, inputs)
    moved = movement(test.model, constants, inputs, exact)
    worst = 0.0
    for name, expected in test.outputs.items():
        if expected.dtype.kind != "f":
            worst = max(worst, 0.0 if np.array_equal(exact[name], found[name]) else np.inf)
            continue
        finite = np.isfinite(expected) & np.isfinite(exact[name])
        if not finite.any():
            continue
        low, high = expected[finite].min(initial=0.0), expected[finite].max(initial=0.0)
        wanted, got = exact[name][finite].astype(np.float64), found[name][finite].astype(np.float64)
        ends = np.clip(wanted, low, high)  # where the range that calibration saw ends before it
        away = np.maximum(got - np.maximum(wanted, ends), np.minimum(wanted, ends) - got) - moved[name][finite]
        away = np.where(np.isnan(away), np.inf, away) - SLACK * (high - low)
        step = max((high - low) / 255, np.finfo(np.float32).tiny)
        worst = max(worst, float(away.max() / step) / allowed(test, name))
    return worst


def movement(model: onnx.ModelProto, constants: Named, inputs: Named, exact: Named) -> Named:
    """How far each output moves at most where the constant factors are rounded."""
    moved = {name: np.zeros(value.shape) for name, value in exact.items()}
    linear = [node for node in model.graph.node if node.op_type in LINEAR]
    for name, value in constants.items():
        if value.dtype.kind != "f" or value.size < 2 or any(node.op_type in PLACES for node in model.graph.node):
            continue
        half = float(np.abs(value[np.isfinite(value)]).max(initial=0.0)) / 254
        if linear:
            if any(name in node.input[:2] for node in linear):
                others = {one: np.zeros_like(other) for one, other in constants.items() if other.dtype.kind == "f"}
                given = {one: np.abs(array) for one, array in inputs.items()}
                result = run(model, given, others | {name: np.full_like(value, half)})
                moved = {one: moved[one] + np.abs(result[one]) for one in moved}
            continue
        sides = [run(model, inputs, {name: (value + side * half).astype(value.dtype)}) for side in (-1, 1)]
        for one in moved:
            if exact[one].dtype.kind == "f":
                away = [np.nan_to_num(np.abs(side[one] - exact[one])) for side in sides]
                moved[one] = moved[one] + np.maximum(*away)
    return moved


def run(model: onnx.ModelProto, inputs: Named, constants: Named | None = None) -> Named:
    """`model` in onnxruntime, node by node as it is written, with other constants where some are given; in ONNX's own
    evaluator where onnxruntime does not know the operator's newest version."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        if constants and tensor.name in constants:
            tensor.CopyFrom(numpy_helper.from_array(constants[tensor.name], tensor.name))
    put_steps_first(changed)  # of recurrent networks, as onnxruntime runs no others
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(changed.SerializeToString(), options, ["CPUExecutionProvider"])
    except NotImplemented:
        session = ReferenceEvaluator(changed)
    names = [one.name for one in model.graph.output]
    answers = session.run(names, {name: np.asarray(value) for name, value in inputs.items()})
    return {name: np.asarray(value) for name, value in zip(names, answers, strict=True)}


def as_read(test: NodeTest, quantized: Path) -> Iterator[Named]:
    """The inputs as the operator may have read them: rounded by one of their quantizers each, or as they are."""
    graph = onnx.load(quantized).graph
    choices = {name: [*rounded(graph, name, value), value] for name, value in test.inputs.items()}
    for chosen in product(*choices.values()):
        yield dict(zip(choices, chosen, strict=True))


def rounded(graph: onnx.GraphProto, name: str, value: Array) -> Iterator[Array]:
    """`value` through each quantizer of the graph that reads it, further than half a step of no element."""
    constants = {one.name: one for one in graph.initializer}
    names = {name}
    for node in graph.node:
        if node.op_type in MOVES and node.input[0] in names:
            names |= set(node.output)
    readers = [node for node in graph.node if node.input and node.input[0] in names]
    for node in readers:
        if node.op_type == "QuantizeLinear" and not constants[node.input[1]].dims:
            scale, zero = (numpy_helper.to_array(constants[one]) for one in node.input[1:3])
            bounds = np.iinfo(zero.dtype)
            codes = np.clip(np.rint(value / scale) + int(zero), bounds.min, bounds.max) - int(zero)
            read = (codes * scale).astype(value.dtype)
            finite = value[np.isfinite(value)]
            widest = (finite.max(initial=0.0) - finite.min(initial=0.0)) / 255
            if np.abs(np.where(np.isfinite(value), read - value, 0)).max(initial=0.0) <= 0.51 * widest:
                yield read
