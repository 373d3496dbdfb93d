"""Inputs that are outputs of the run before: by name where that is clear, as the user says, or refused in a line."""

from __future__ import annotations

import re

import onnx
import pytest

from bevel.calib.errors import UserError
from bevel.passes.states.find_states import find_states
from bevel.passes.states.pairs import results_of, states_of, write_states


def model(inputs: str, outputs: str, body: str) -> onnx.ModelProto:
    text = f'<ir_version: 8, opset_import: ["" : 17]> net ({inputs}) => ({outputs}) {{ {body} }}'
    return onnx.parser.parse_model(text)


CELL = model("float[1,4] x, float[1,4] h", "float[1,4] y, float[1,4] hn", "hn = Add (x, h) y = Neg (hn)")
TWO = model(
    "float[1,4] x, float[1,4] h, float[1,4] h_in", "float[1,4] y, float[1,4] hn", "hn = Sum (x, h, h_in) y = Neg (hn)"
)
PLAIN = model("float[1,4] image_in", "float[1,4] image_out", "image_out = Neg (image_in)")
GROWING = model(
    "float[1,4] x, float[1,2,4] past",
    "float[1,4] y, float[1,3,4] present",
    "r = Unsqueeze (x, one) present = Concat <axis = 1> (past, r) y = Neg (x)".replace("one", "a"),
)
GROWING.graph.initializer.append(onnx.helper.make_tensor("a", onnx.TensorProto.INT64, [1], [1]))


def test_a_pair_of_names_is_taken_with_a_note() -> None:
    states, (note,) = find_states(CELL)
    assert states == {"h": "hn"}
    assert (note.node, note.kind) == ("h", "chosen")


def test_a_pair_of_names_is_left_where_nobody_wants_it() -> None:
    assert find_states(CELL, by_name=False) == ({}, [])


def test_other_names_are_no_pair() -> None:
    assert find_states(PLAIN) == ({}, [])


def test_two_inputs_that_fit_one_output_stay() -> None:
    states, notes = find_states(TWO)
    assert states == {}
    assert {(note.node, note.kind) for note in notes} == {("h", "stays"), ("h_in", "stays")}


def test_who_names_one_of_two_has_it() -> None:
    states, notes = find_states(TWO, [("h", "hn")])
    assert (states, notes) == ({"h": "hn"}, [])


def test_what_grows_in_each_run_stays() -> None:
    states, (note,) = find_states(GROWING)
    assert states == {} and note.kind == "stays" and "[1, 2, 4]" in note.text and "[1, 3, 4]" in note.text


def test_names_that_would_leave_no_input_are_no_states() -> None:
    counter = model("float[1,4] state", "float[1,4] next_state", "next_state = Neg (state)")
    states, (note,) = find_states(counter)
    assert states == {} and note.kind == "stays"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([("z", "hn")], "no input z; the model has x, h"),
        ([("h", "z")], "no output z; the model has y, hn"),
        ([("h", "hn"), ("h", "y")], "names input h twice"),
        ([("h", "hn"), ("x", "y")], "every input is state"),
    ],
)
def test_pairs_that_are_none_are_refused(asked: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        find_states(CELL, asked)


def test_a_pair_of_unlike_shapes_is_refused_with_both() -> None:
    with pytest.raises(UserError, match=re.escape("the input is float32 [1, 2, 4], the output float32 [1, 3, 4]")):
        find_states(GROWING, [("past", "present")])


def test_a_pair_of_unlike_types_is_refused_with_both() -> None:
    mixed = model("float[1,4] x, int64[1,4] h", "float[1,4] y", "y = Neg (x)")
    with pytest.raises(UserError, match=re.escape("the input is int64 [1, 4], the output float32 [1, 4]")):
        find_states(mixed, [("h", "y")])


def test_a_model_file_says_its_states() -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(CELL)
    copy.metadata_props.add(key="author", value="me")
    write_states(copy, {"h": "y"})
    write_states(copy, {"h": "hn"})
    assert states_of(copy) == {"h": "hn"} and results_of(copy) == ["y"]
    assert [entry.key for entry in copy.metadata_props] == ["author", "bevel.states"]
    write_states(copy, {})
    assert states_of(copy) == {} and [entry.key for entry in copy.metadata_props] == ["author"]


def test_an_only_output_stays_one_though_it_is_state() -> None:
    loop = model("float[1,4] x, float[1,4] h", "float[1,4] y", "y = Add (x, h)")
    write_states(loop, {"h": "y"})
    assert results_of(loop) == ["y"]
