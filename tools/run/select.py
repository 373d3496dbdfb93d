"""`--calib-select RULE`: which N samples of --calib a run takes, by what the float model makes of each deep inside.

The vector of a sample is what the last product by weights reads: of a tensor of more than `MOST` numbers the mean of
each channel. Price: the float model once over all of --calib.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.data.dataset import Runs
from bevel.calib.data.select import rule
from bevel.calib.data.select.base import Vectors
from bevel.calib.data.selected import selected
from bevel.calib.errors import UserError
from bevel.passes.base import Note
from bevel.passes.exchange.export import export
from bevel.passes.quantize.results import results_of
from bevel.tools.accuracy.evaluate import exposing, runner
from bevel.tools.run.data import Data
from bevel.tools.run.options import Options

STAGE = "calibration"
MOST = 512  # numbers of a vector, or one for each channel
PRODUCTS = {"Conv": 1, "ConvTranspose": 1, "Gemm": -1, "MatMul": -1}  # and the axis of the channels that they read


def with_selected(options: Options, graph: gs.Graph, data: Data) -> tuple[Data, list[Note]]:
    """`data` with the samples that were asked for, and who they are. graph: canonical and float. Raises UserError where
    there is nothing to choose from, or nothing to choose by."""
    name = options.calib_select
    if name is None:
        return data, []
    if options.calib_samples is None or options.calib in (None, "random") or data.calib is None:
        raise UserError("--calib-select chooses N of your samples: give --calib FILE and --calib-samples N")
    runs, count = data.calib, options.calib_samples // data.calib.together
    if not count:
        raise UserError(f"--calib-samples {options.calib_samples}: the model runs {runs.together} at a time")
    if not all(runs.begins(place) for place in range(len(runs))):
        raise UserError("--calib-select is for samples that do not follow each other; models of state take none")
    places = rule(name)(vectors_of(graph, runs), count, options.seed)
    text = f"{len(places)} of {len(runs)} samples are taken, chosen by {name}: {listed(places)}"
    note = Note(STAGE, "model", "chosen", text, {"samples": len(places), "of": len(runs)})
    return replace(data, calib=selected(runs, places)), [note]


def vectors_of(graph: gs.Graph, runs: Runs) -> Vectors:
    """[runs, numbers]. Raises UserError for a model without float tensors to tell samples by."""
    name, axis = deep_tensor(graph)
    opened = runner(exposing(export(graph), [name]))
    return np.stack([vector_of(opened.run_raw(sample)[name], axis) for sample in runs])


def deep_tensor(graph: gs.Graph) -> tuple[str, int]:
    """What the last product by weights reads, or else the first result, and the axis of its channels."""
    for node in reversed(graph.nodes):
        if node.op in PRODUCTS and isinstance(node.inputs[0], gs.Variable) and isinstance(node.inputs[1], gs.Constant):
            return node.inputs[0].name, PRODUCTS[node.op]
    if found := results_of(graph):
        return found[0], -1
    raise UserError("--calib-select: the model has no float result to tell samples by")


def vector_of(array: np.ndarray, axis: int) -> Vectors:
    if array.size > MOST and array.ndim > 1:
        array = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).mean(1, dtype=np.float64)
    return array.ravel().astype(np.float64)


def listed(places: Iterable[int], most: int = 16) -> str:
    told = list(map(str, places))
    return ", ".join(told[:most]) + (", .." if len(told) > most else "")
