"""Full forms and step forms side by side: weights and samples are small integers, so that floats hold every sum exactly
and results can be compared bit for bit, in whatever order they were added up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
from hypothesis import strategies as st

from bevel.passes.canonicalize import canonicalize
from bevel.passes.step.derive import StepForm, step_form
from bevel.passes.step.prove import dtype_of

Array = np.ndarray[Any, Any]


def model(inputs: str, outputs: str, body: str, **weights: Any) -> onnx.ModelProto:
    """Weights are arrays, or shapes to be filled with integers of -2 to 2."""
    rng = np.random.default_rng(len(body))
    text = f'<ir_version: 8, opset_import: ["" : 17]> net ({inputs}) => ({outputs}) {{ {body} }}'
    made = onnx.parser.parse_model(text)
    for name, given in weights.items():
        shape = isinstance(given, tuple)
        values = rng.integers(-2, 3, given).astype(np.float32) if shape else np.asarray(given)
        made.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    for node in made.graph.node:
        node.name = node.output[0]
    return made


@dataclass(frozen=True)
class Forms:
    full: onnx.ModelProto
    form: StepForm
    step: onnx.ModelProto


def forms(full: onnx.ModelProto, axis: int, input_: str = "x") -> Forms:
    return forms_of(full, canonicalize(full)[0], axis, input_)


def forms_of(full: onnx.ModelProto, graph: gs.Graph, axis: int, input_: str = "x") -> Forms:
    """`graph`: the canonical one."""
    found = step_form(graph, input_, axis)
    return Forms(full, found, gs.export_onnx(found.graph))


def session(given: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(given.SerializeToString(), options)


def run(opened: ort.InferenceSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
    names = [one.name for one in opened.get_outputs()]
    return dict(zip(names, opened.run(names, dict(feeds)), strict=True))


def stream(found: Forms, columns: Array) -> list[dict[str, Array]]:
    """What each step gives, from a reset on. `columns`: of the input, a whole number of steps."""
    opened, axis, period = session(found.step), found.form.axis, found.form.tick.period
    kept = {
        one.name: np.zeros(one.shape, dtype_of(one)) for one in opened.get_inputs() if one.name in found.form.states
    }
    rows = []
    for first in range(0, columns.shape[axis], period):
        new = columns.take(range(first, first + period), axis=axis)
        outputs = run(opened, {found.form.input: new, **kept})
        kept = {into: outputs.pop(out) for into, out in found.form.states.items()}
        rows.append(outputs)
    return rows


def samples(shape: list[int], seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)


def check_windows(found: Forms, name: str, telling: bool = True) -> None:
    """A result of the window: that of every window that ends where a step does, once one has come."""
    tick, axis = found.form.tick, found.form.axis
    shape = [dim.dim_value for dim in found.full.graph.input[0].type.tensor_type.shape.dim]
    steps = 3 * tick.steps
    columns = samples([*shape[:axis], steps * tick.period, *shape[axis + 1 :]])
    rows, opened, seen = stream(found, columns), session(found.full), set()
    for step in range(tick.steps - 1, steps):
        end = (step + 1) * tick.period
        expected = run(opened, {found.form.input: columns.take(range(end - tick.length, end), axis=axis)})
        np.testing.assert_array_equal(rows[step][name], expected[name], err_msg=f"step {step}")
        seen.add(expected[name].tobytes())
    assert len(seen) > 1 or not telling, "every window gives the same: the test shows little"


def check_columns(found: Forms, name: str, telling: bool = True) -> None:
    """A result in time: the columns of the full form, as they come, but for first ones that read padding alone and last
    ones that are late. What a stream has in columns that lie before the sequence is no matter."""
    tick, axis = found.form.tick, found.form.axis
    view = found.form.results[name]
    shape = [dim.dim_value for dim in found.full.graph.input[0].type.tensor_type.shape.dim]
    whole = samples(shape)
    missing = tick.steps * tick.period - tick.length
    padding = samples([*shape[:axis], missing, *shape[axis + 1 :]], 1)
    rows = stream(found, np.concatenate([padding, whole], axis))
    expected = run(session(found.full), {found.form.input: whole})[name]
    given = np.concatenate([row[name] for row in rows], view.axis)
    came, wanted = given.shape[view.axis], view.length - view.late
    count = min(came, wanted)
    assert count == wanted or not expected.take(range(wanted - count), view.axis).any()
    newest = expected.take(range(wanted - count, wanted), view.axis)
    np.testing.assert_array_equal(given.take(range(came - count, came), view.axis), newest)
    assert np.unique(newest).size > 1 or not telling, "every column is the same: the test shows little"


KINDS = ["conv", "conv", "causal", "same", "transposed", "pool", "mean", "padded", "crop", "pad"]


@st.composite
def layers(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A stack of layers over time, some with a branch around them, and what is read of the last."""
    body, weights, before = [], {"axis": np.array([2], np.int64)}, "x"
    for place in range(draw(st.integers(1, 4))):
        name, size = f"a{place}", draw(st.integers(1, 4))
        kind = draw(st.sampled_from(KINDS))
        stride, dilation = draw(st.sampled_from([(1, 1), (2, 1), (3, 1), (1, 2), (2, 3)]))
        if kind in ("conv", "causal", "same"):
            extent = (size - 1) * dilation
            left = {"conv": 0, "causal": extent, "same": extent // 2}[kind]
            weights[f"w{place}"] = (2, 2, size)
            pads = f"{left}, {extent - left if kind == 'same' else 0}"
            window = f"strides = [{stride}], dilations = [{dilation}], pads = [{pads}]"
            body.append(f"{name} = Conv <{window}> ({before}, w{place})")
        elif kind == "transposed":
            size = draw(st.integers(stride, 5))
            weights[f"w{place}"] = (2, 2, size)
            left, right = draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))
            body.append(f"{name} = ConvTranspose <strides = [{stride}], pads = [{left}, {right}]> ({before}, w{place})")
        elif kind == "padded":
            window = f"kernel_shape = [{size}], strides = [{stride}], pads = [{size // 2}, {(size - 1) // 2}]"
            body.append(f"{name} = MaxPool <{window}> ({before})")
        elif kind in ("pool", "mean"):
            op = "MaxPool" if kind == "pool" else "AveragePool"
            power = 2 ** draw(st.integers(0, 1)) if kind == "mean" else size  # halves are exact
            body.append(f"{name} = {op} <kernel_shape = [{power}], strides = [{stride}]> ({before})")
        elif kind == "crop":
            first, last = draw(st.integers(0, 2)), draw(st.integers(-2, -1))
            weights |= {f"f{place}": np.array([first], np.int64), f"l{place}": np.array([last], np.int64)}
            weights[f"s{place}"] = np.array([stride], np.int64)
            body.append(f"{name} = Slice ({before}, f{place}, l{place}, axis, s{place})")
        else:
            before_and_behind = draw(st.integers(0, 2)), draw(st.integers(0, 1))
            weights[f"p{place}"] = np.array([0, 0, before_and_behind[0], 0, 0, before_and_behind[1]], np.int64)
            body.append(f"{name} = Pad ({before}, p{place})")
        before = name
    last = draw(st.sampled_from(["y = Relu ({})", "y = ReduceMax <axes = [2]> ({})", "y = ReduceSum ({}, axis)"]))
    return "\n".join([*body, last.format(before)]), weights
