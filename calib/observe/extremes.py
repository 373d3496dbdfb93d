"""The extremes of tensors over a data set, infinite ones included, and how low the largest value of a row gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.calib.observe.observe import run_model, session_with_outputs

BARRED = -1000.0  # a lowest value from here on down bars elements; no sum of products gets there beside it


@dataclass(frozen=True)
class Extremes:
    """lowest_peak: the least of the largest values of rows, those aside that lie wholly where elements are barred.

    Infinite where there was none. Everything is NaN where a NaN was seen.
    """

    low: float = np.inf
    high: float = -np.inf
    lowest_peak: float = np.inf

    @staticmethod
    def of(values: NDArray[np.float32], axis: int | None) -> Extremes:
        """Of one array; rows run along `axis`, and None is no rows."""
        if values.size == 0:
            return Extremes()
        low, high = float(values.min()), float(values.max())
        if axis is None or np.isnan(low):
            return Extremes(low, high, low if np.isnan(low) else np.inf)
        peaks = values.max(axis=axis)
        within = peaks[peaks > low / 2] if low <= BARRED else peaks
        return Extremes(low, high, float(within.min(initial=np.inf)))

    def merge(self, other: Extremes) -> Extremes:
        return Extremes(
            float(np.minimum(self.low, other.low)),
            float(np.maximum(self.high, other.high)),
            float(np.minimum(self.lowest_peak, other.lowest_peak)),
        )


def extremes(model: onnx.ModelProto, dataset: Runs, rows: Mapping[str, int | None]) -> dict[str, Extremes]:
    """Of the tensors named in `rows`, over all of `dataset`; rows run along the axis that is given with a name."""
    session, outputs = session_with_outputs(model, list(rows))
    found = dict.fromkeys(rows, Extremes())
    for run, sample in enumerate(dataset):
        arrays = run_model(session, outputs, sample, run)
        for name, axis in rows.items():
            found[name] = found[name].merge(Extremes.of(np.asarray(arrays[name], np.float32), axis))
    return found
