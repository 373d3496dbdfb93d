"""State in a model file: its metadata says which output of a run is which input of the next.

The file stays a plain model, whose state goes in and out: who runs it feeds zeros first, then what came out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import onnx

STATES = "bevel.states"  # model metadata: {input: output}

States = Mapping[str, str]  # input: the output that it is in the next run


def states_of(model: onnx.ModelProto) -> dict[str, str]:
    """{input: output} that feed each other."""
    found = next((entry.value for entry in model.metadata_props if entry.key == STATES), "{}")
    return {str(into): str(out) for into, out in json.loads(found).items()}


def write_states(model: onnx.ModelProto, states: States) -> None:
    """Put them into the metadata of `model`, in place of those that are there."""
    kept = [(entry.key, entry.value) for entry in model.metadata_props if entry.key != STATES]
    if states:
        kept.append((STATES, json.dumps(states, sort_keys=True)))
    del model.metadata_props[:]
    for key, value in kept:
        model.metadata_props.add(key=key, value=value)


def results_of(model: onnx.ModelProto) -> list[str]:
    """The outputs that are no state: what the application reads; all, where a model has no other."""
    kept = set(states_of(model).values())
    names = [value.name for value in model.graph.output]
    return [name for name in names if name not in kept] or names
