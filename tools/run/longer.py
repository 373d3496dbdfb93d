"""`--time-padding drop`: what pads in time reads columns of a longer window, as in a stream; data get zeros there."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.calib.data.dataset import Dataset
from bevel.calib.data.steps import longer
from bevel.calib.errors import UserError
from bevel.passes.base import Note
from bevel.passes.canonicalize import canonicalize
from bevel.passes.canonicalize.evaluate import open_session, run_given
from bevel.passes.step.base import PASS
from bevel.passes.step.derive import step_form
from bevel.passes.step.unpad import Unpadded, unpadded
from bevel.tools.accuracy.quality import sqnr_db
from bevel.tools.run.data import Data
from bevel.tools.run.options import Options
from bevel.tools.run.stepping import axes_of, copied, named_axis

DROP = "drop"
COMPARED = 32  # windows


def with_longer_windows(
    options: Options, model: onnx.ModelProto, data: Data
) -> tuple[onnx.ModelProto, Data, list[Note]]:
    """The model that pads nothing in time, if that is asked for, the data that it takes, and how far it is from the
    other. Raises UserError for a model that has no such form."""
    if options.time_padding != DROP:
        return model, data, []
    if not options.step:
        raise UserError("--time-padding is for --step; give both")
    graph, _ = canonicalize(model)
    found, input_, axis = first_unpadded(graph, options)
    beside = found.before, found.behind
    if not any(beside):
        return model, data, [Note(PASS, input_, "stays", "no layer pads in time")]
    made = gs.export_onnx(found.graph)
    parts = {name: longer(one, input_, axis, beside) for name, one in vars(data).items() if isinstance(one, Dataset)}
    after = replace(data, **parts)
    decibels = compared(model, made, data.vectors, after.vectors)
    near = "the same" if decibels is None else f"{decibels:.1f} dB of them"
    text = (
        f"no layer pads in time: {found.before} columns before a window and {found.behind} behind it are read instead, "
        f"so what is given is that of the window which ended {found.behind} columns ago. Where zeros stand there, the "
        f"float model's results are {near}"
    )
    numbers = {"before": float(found.before), "behind": float(found.behind)}
    return made, after, [Note(PASS, input_, "changed", text, numbers)]


def first_unpadded(graph: gs.Graph, options: Options) -> tuple[Unpadded, str, int]:
    """Along the axis that was asked for, or the longest along which there is a step form then."""
    if options.time_axis is not None:
        input_, axis = named_axis(graph, options.time_axis)
        return unpadded(copied(graph), input_, axis), input_, axis
    refusals: list[UserError] = []
    for input_, axis, _ in axes_of(graph):
        try:
            found = unpadded(copied(graph), input_, axis)
            step_form(copied(found.graph), input_, axis)
        except UserError as error:
            refusals.append(error)
            continue
        return found, input_, axis
    raise refusals[0] if refusals else UserError("--step: no input has an axis of more than one element")


def compared(before: onnx.ModelProto, after: onnx.ModelProto, given: Dataset, longer_ones: Dataset) -> float | None:
    """SQNR of the outputs, all together, in dB; None where they are the same."""
    sessions = open_session(before), open_session(after)
    names = [one.name for one in sessions[0].get_outputs()]
    signal = noise = 0.0
    for one, other in islice(zip(given, longer_ones, strict=True), COMPARED):
        for wanted, found in zip(run_given(sessions[0], names, one), run_given(sessions[1], names, other), strict=True):
            signal += float(np.square(wanted, dtype=np.float64).sum())
            noise += float(np.square(wanted.astype(np.float64) - found).sum())
    return sqnr_db(signal, noise)
