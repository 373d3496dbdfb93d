"""The states behind a step, by running the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bevel.passes.canonicalize.evaluate import open_session, run_given
from bevel.passes.states.pairs import states_of

Array = NDArray[Any]


def advance(model: onnx.ModelProto) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """A function from all inputs of a step to the state inputs of the next. It raises UserError for what the model
    cannot run."""
    states, session = states_of(model), open_session(model)
    outputs = list(dict.fromkeys(states.values()))

    def step(sample: Mapping[str, Array]) -> dict[str, Array]:
        found = dict(zip(outputs, map(np.asarray, run_given(session, outputs, sample)), strict=True))
        return {into: found[out] for into, out in states.items()}

    return step
