"""Find the inputs that are outputs of the run before: those that the user names, and those whose names say so.

A pair has one shape and one type. By its name, it is taken where neither side fits another; a near miss is a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from bevel.calib.errors import UserError
from bevel.passes.base import Note
from bevel.passes.canonicalize.evaluate import open_session, run_given
from bevel.passes.states.names import same_state
from bevel.passes.states.pairs import States

PASS = "states"  # whose notes these are


class Ends(NamedTuple):
    """What an input takes or an output gives."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def named_states(model: onnx.ModelProto, asked: Sequence[tuple[str, str]] = (), by_name: bool = True) -> dict[str, str]:
    """{input: output} of those `asked` for that exist, and of those that only their names pair."""
    inputs, outputs = names_of(model)
    named = {into: out for into, out in asked if into in inputs and out in outputs}
    return named | (dict(unique(candidates(inputs, outputs, named))) if by_name else {})


def find_states(
    model: onnx.ModelProto, asked: Sequence[tuple[str, str]] = (), by_name: bool = True
) -> tuple[dict[str, str], list[Note]]:
    """{input: output} of `model`, whose inputs have static shapes, and notes. `asked`: pairs that must be states;
    `by_name`: whether names are looked at.

    Raises UserError for pairs `asked` for that are none, and where no input is left to be given.
    """
    inputs, outputs = names_of(model)
    check_names(asked, inputs, outputs)
    fitting = candidates(inputs, outputs, dict(asked)) if by_name else {}
    if not asked and not fitting:
        return {}, []
    before, after = ports_of(model)
    for into, out in asked:
        if before[into] != after[out]:
            raise UserError(f"--state {into}={out}: the input is {before[into]}, the output {after[out]}")
    found, notes = dict(asked), ambiguous(fitting)
    for into, out in unique(fitting):
        if before[into] == after[out]:
            found[into] = out
            notes.append(Note(PASS, into, "chosen", f"state: what output {out} was in the run before, by their names"))
        else:
            text = f"called like output {out}, but that is {after[out]}, and the input {before[into]}: no state"
            notes.append(Note(PASS, into, "stays", text))
    if len(found) == len(inputs):
        if len(asked) == len(inputs):
            raise UserError("every input is state; one must be given in each step: pair fewer with --state")
        text = "called like the output of a state, but so is every input, and one must be given in each step: no state"
        return dict(asked), [Note(PASS, into, "stays", text) for into in inputs if into not in dict(asked)]
    return found, notes


def names_of(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [one.name for one in model.graph.input if one.name not in weights], [one.name for one in model.graph.output]


def check_names(asked: Sequence[tuple[str, str]], inputs: Sequence[str], outputs: Sequence[str]) -> None:
    for into, out in asked:
        if into not in inputs:
            raise UserError(f"--state {into}={out}: no input {into}; the model has {', '.join(inputs)}")
        if out not in outputs:
            raise UserError(f"--state {into}={out}: no output {out}; the model has {', '.join(outputs)}")
    given = [into for into, _ in asked]
    for into in given:
        if given.count(into) > 1:
            raise UserError(f"--state names input {into} twice")


def candidates(inputs: Sequence[str], outputs: Sequence[str], taken: States) -> dict[str, list[str]]:
    """{input: the outputs that are called like it}, of those that are not taken."""
    free = [name for name in outputs if name not in taken.values()]
    fitting = {name: [out for out in free if same_state(name, out)] for name in inputs if name not in taken}
    return {name: found for name, found in fitting.items() if found}


def unique(fitting: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """The pairs of which neither side fits another."""
    wanted = [out for found in fitting.values() for out in found]
    return [(into, found[0]) for into, found in fitting.items() if len(found) == 1 and wanted.count(found[0]) == 1]


def ambiguous(fitting: Mapping[str, Sequence[str]]) -> list[Note]:
    clear = dict(unique(fitting))
    way_out = "name one with --state to make it a state"
    return [
        Note(PASS, into, "stays", f"called like output {' and '.join(found)}, not one alone like the other; {way_out}")
        for into, found in fitting.items()
        if into not in clear
    ]


def ports_of(model: onnx.ModelProto) -> tuple[dict[str, Ends], dict[str, Ends]]:
    """What the inputs take, and what the outputs are in a run with zeros."""
    session = open_session(model)
    zeros = zero_inputs(model)
    names = [output.name for output in session.get_outputs()]
    given = {name: Ends(array.dtype, array.shape) for name, array in zeros.items()}
    results = [np.asarray(one) for one in run_given(session, names, zeros)]
    return given, {name: Ends(one.dtype, one.shape) for name, one in zip(names, results, strict=True)}


def zero_inputs(model: onnx.ModelProto) -> dict[str, NDArray[np.generic]]:
    inputs, _ = names_of(model)
    types = {value.name: value.type.tensor_type for value in model.graph.input}
    return {
        name: np.zeros(
            [dim.dim_value for dim in types[name].shape.dim],
            onnx.helper.tensor_dtype_to_np_dtype(types[name].elem_type),
        )
        for name in inputs
    }
