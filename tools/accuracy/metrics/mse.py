"""Mean squared error of the first output: against `y`, or without it against the float model's output."""

from __future__ import annotations

import math

import numpy as np

from bevel.calib.errors import UserError
from bevel.tools.accuracy.metrics.metric import Run


class MseMeter:
    def __init__(self) -> None:
        self._sum, self._count, self._labelled = 0.0, 0, False

    def add(self, run: Run) -> None:
        name, output = next(iter(run.outputs.items()))
        wanted = run.exact[name] if run.labels is None else run.labels
        self._labelled = run.labels is not None
        if wanted.size != output.size or output.dtype.kind not in "fiu" or wanted.dtype.kind not in "fiu":
            raise UserError(
                f"--metric mse: `y` is {wanted.dtype} {list(wanted.shape)} for one run, output {name} is "
                f"{output.dtype} {list(output.shape)}: give one number for each of its values"
            )
        error = output.astype(np.float64) - wanted.astype(np.float64).reshape(output.shape)
        self._sum += float(np.sum(np.square(error)))
        self._count += output.size

    def value(self) -> float:
        mean = self._sum / self._count
        return mean if math.isfinite(mean) else math.inf

    @property
    def told(self) -> str:
        return f"mean squared error against {'`y`' if self._labelled else 'the output of the float model'}"
