"""`--state IN=OUT`: what the model keeps from one run to the next, said in its metadata."""

from __future__ import annotations

import onnx

from bevel.passes.base import Note
from bevel.passes.states.find_states import find_states, named_states
from bevel.passes.states.pairs import states_of, write_states
from bevel.tools.run.options import Options
from bevel.tools.run.parsers import NO_STATE


def state_names(options: Options, model: onnx.ModelProto) -> dict[str, str]:
    """{input: output} as far as names tell, before shapes are known."""
    return named_states(model, asked_for(options, model), NO_STATE not in options.state)


def asked_for(options: Options, model: onnx.ModelProto) -> list[tuple[str, str]]:
    """What the model's metadata says, and the user, who is right."""
    given = [pair for pair in options.state if pair != NO_STATE]
    named = {into for into, _ in given}
    return [*(pair for pair in states_of(model).items() if pair[0] not in named), *given]


def with_states(options: Options, model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[Note]]:
    """`model`, whose inputs have static shapes, with its states, and notes on those that names say.

    Raises UserError for pairs that are none.
    """
    states, notes = find_states(model, asked_for(options, model), NO_STATE not in options.state)
    write_states(model, states)
    return model, notes
