"""The proof that a step form is the full form: both run on the same windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from bevel.calib.data.steps import in_steps
from bevel.passes.canonicalize.evaluate import FLOAT_TOLERANCE, Tolerance, excess, open_session, run_given
from bevel.passes.step.derive import StepForm

Array = NDArray[Any]

EXACTLY = Tolerance(0.0, 0.0)


def prove(
    form: StepForm,
    full: onnx.ModelProto,
    step: onnx.ModelProto,
    windows: Iterable[Mapping[str, Array]],
    tolerance: Tolerance = FLOAT_TOLERANCE,
) -> int:
    """How many windows both were run on. A sum of floats in another order may differ in its last bits.

    Raises AssertionError where they differ by more: a bug of ours.
    """
    whole, stepped = open_session(full), open_session(step)
    names = [one.name for one in whole.get_outputs()]
    count = 0
    for window in windows:
        expected = dict(zip(names, run_given(whole, names, window), strict=True))
        found = run_steps(form, stepped, window)
        for name in names:
            wanted = newest(form, name, expected[name], found[name])
            if not close(wanted, found[name], tolerance):
                raise AssertionError(f"the step form changed output {name} of window {count}")
        count += 1
    return count


def close(wanted: Array, found: Array, tolerance: Tolerance) -> bool:
    """Whether two results are the same, or as near as `tolerance` allows."""
    if tolerance == EXACTLY:
        return wanted.dtype == found.dtype and np.array_equal(wanted, found)
    return excess(wanted, found, tolerance) <= 1


def newest(form: StepForm, name: str, expected: Array, found: Array) -> Array:
    """What of a result of the full form a stream gives: all but first columns that read padding alone, and last ones
    that are late."""
    view = form.results.get(name)
    if view is None:
        return expected
    came, end = found.shape[view.axis], view.length - view.late
    return expected.take(range(end - came, end), axis=view.axis)


def run_steps(form: StepForm, session: ort.InferenceSession, window: Mapping[str, Array]) -> dict[str, Array]:
    """The results of a window, step after step from a reset on: the columns of those that lie in time, what the last
    step gives of the others."""
    names = [one.name for one in session.get_outputs()]
    kept = {one.name: np.zeros(one.shape, dtype_of(one)) for one in session.get_inputs() if one.name in form.states}
    rows: list[dict[str, Array]] = []
    for columns in in_steps(window[form.input], form.axis, form.tick.period):
        given = {**window, form.input: columns, **kept}
        outputs = dict(zip(names, run_given(session, names, given), strict=True))
        kept = {into: outputs[out] for into, out in form.states.items()}
        rows.append(outputs)
    found = dict(rows[-1])
    for name, view in form.results.items():
        columns = np.concatenate([row[name] for row in rows], view.axis)
        came = columns.shape[view.axis]
        found[name] = columns.take(range(max(came - view.length + view.late, 0), came), axis=view.axis)
    return found


def dtype_of(value: ort.NodeArg) -> str:
    """The numpy type of a session's input: 'tensor(float)' is float32."""
    name = str(value.type)[len("tensor(") : -1]
    return {"float": "float32", "double": "float64"}.get(name, name)
