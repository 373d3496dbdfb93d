"""Area under the receiver operating characteristic: how often what is labelled 1 has a higher score than what is 0.

It is the share of such pairs of samples, ties counting half (the statistic of Wilcoxon, as Mann and Whitney have it).
A sample's score is taken from the first output:

- the mean squared error between output and input, where the output has an input's shape: what an autoencoder misses;
- the value, where it is one;
- the second less the first, where the output is [batch, 2]: two classes;
- the largest of all values otherwise: the frames of a sequence.

`y` may have one row for several consecutive samples (windows of a recording): their score is the mean of squared
errors, the largest of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.errors import UserError
from bevel.tools.accuracy.metrics.metric import Run

Array = NDArray[Any]

ERROR, VALUE, CLASSES, FRAMES = "mean squared error of output and input", "value", "difference", "largest value"


class AucMeter:
    """One score a sample. labels: [samples / group], those of `group` consecutive samples each."""

    def __init__(self, labels: Array | None, group: int) -> None:
        if labels is None:
            raise UserError("--metric auc: --eval has no `y`; give 0 or 1 for each sample")
        if labels.ndim != 1 or not np.isin(labels, (0, 1)).all() or len(np.unique(labels)) != 2:
            found = ", ".join(f"{one:g}" for one in np.unique(labels)[:4])
            raise UserError(
                f"--metric auc: `y` is {list(labels.shape)} and holds {found}; give both 0 and 1, one a row"
            )
        self._labels, self._group = labels.astype(bool), group
        self._scores: list[Array] = []
        self._rule = VALUE

    def add(self, run: Run) -> None:
        self._rule, found = scores(run.inputs, run.outputs, run.samples)
        self._scores.append(found)

    def value(self) -> float:
        groups = np.concatenate(self._scores).reshape(-1, self._group)
        found = groups.mean(axis=1) if self._rule == ERROR else groups.max(axis=1)
        return area(found, self._labels[: len(found)])

    @property
    def told(self) -> str:
        together = "mean" if self._rule == ERROR else "largest"
        groups = f", the {together} of {self._group} samples for each `y`" if self._group > 1 else ""
        return f"area under the ROC; score: {self._rule}{groups}"


def scores(inputs: Mapping[str, Array], outputs: Mapping[str, Array], samples: int) -> tuple[str, Array]:
    """(rule, float64 [samples]) of one run."""
    name, output = next(iter(outputs.items()))
    if output.dtype.kind not in "fiu" or output.size == 0 or output.size % samples:
        raise UserError(
            f"--metric auc: output {name} is {output.dtype} {list(output.shape)}: no score of {samples} samples"
        )
    rows = output.reshape(samples, -1).astype(np.float64)
    same = [one for one in inputs.values() if one.dtype.kind == "f" and one.shape == output.shape]
    if same and rows.shape[1] > 1:
        return ERROR, np.square(rows - same[0].reshape(rows.shape)).mean(axis=1)
    if rows.shape[1] == 1:
        return VALUE, rows[:, 0]
    if output.shape == (samples, 2):
        return CLASSES, rows[:, 1] - rows[:, 0]
    return FRAMES, rows.max(axis=1)


def area(scores: Array, labels: Array) -> float:
    """scores: [samples], labels: [samples] of bool, both values among them. What is no number ranks lowest."""
    if labels.all() or not labels.any():
        raise UserError("--metric auc: the samples that were read are all labelled alike; take more of them")
    _, places, counts = np.unique(np.nan_to_num(scores, nan=-np.inf), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # from 1 on, equals share theirs
    positive = int(labels.sum())
    above = ranks[labels].sum() - positive * (positive + 1) / 2
    return float(above / (positive * (len(labels) - positive)))
