"""That a transform left the function as it was: the float model before and after, run on calibration samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.observe.observe import run_model, session_with_outputs

# Of an output's largest element. Transforms round each weight once, 2**-24 of it, and scale sums of some hundred terms,
# whose errors a dozen layers hand on: 1e-6 to 1e-5 on the transformers here. What is no such transform is off by 1e-2.
LARGEST = 1e-4


@dataclass(frozen=True)
class Proof:
    """Between the outputs of two float models: the largest, and over the largest element of its output."""

    largest: float
    relative: float

    @property
    def is_rounding(self) -> bool:
        return self.relative <= LARGEST


def prove(before: gs.Graph, after: gs.Graph, samples: Iterable[Mapping[str, NDArray[Any]]]) -> Proof:
    """Of the float outputs, over all `samples`; integer ones must be the same, else it is infinite."""
    models = [gs.export_onnx(graph, do_type_check=False) for graph in (before, after)]
    names = [tensor.name for tensor in before.outputs]
    sessions = [session_with_outputs(model, names) for model in models]
    apart, reach = np.zeros(len(names)), np.zeros(len(names))
    for run, sample in enumerate(samples):
        first, second = (run_model(*session, sample, run) for session in sessions)
        for place, name in enumerate(names):
            off, size = compared(first[name], second[name])
            apart[place], reach[place] = max(apart[place], off), max(reach[place], size)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(apart > 0, apart / reach, 0.0)
    return Proof(float(apart.max(initial=0.0)), float(relative.max(initial=0.0)))


def compared(one: NDArray[Any], other: NDArray[Any]) -> tuple[float, float]:
    """The largest difference and the largest element."""
    if one.dtype.kind != "f":
        return (0.0 if np.array_equal(one, other) else np.inf), 1.0
    finite = np.isfinite(one)
    if not np.array_equal(finite, np.isfinite(other)):
        return np.inf, 1.0
    wanted, found = one[finite].astype(np.float64), other[finite].astype(np.float64)
    return float(np.abs(found - wanted).max(initial=0.0)), float(np.abs(wanted).max(initial=0.0))
