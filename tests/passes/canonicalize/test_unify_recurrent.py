"""Recurrent nodes have one direction and initial states of their own; what says more than that stays."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.passes.canonicalize.begin_recurrent import BeginRecurrent
from bevel.passes.canonicalize.unify_recurrent import UnifyRecurrent

X = "float[5,2,3] x"
LSTM = "float[2,16,3] w, float[2,16,4] r, float[2,32] b"
BOTH = 'hidden_size = 4, direction = "bidirectional"'


def directions(graph: gs.Graph) -> list[str]:
    return [str(node.attrs.get("direction", "forward")) for node in graph.nodes if node.op in ("LSTM", "GRU", "RNN")]


def test_two_directions_are_two_nodes(model, apply) -> None:
    body = f"y, yh, yc = LSTM <{BOTH}> (x, w, r, b, , h, c, p)"
    inputs = f"{X}, float[2,2,4] h, float[2,2,4] c"
    subject = model(body, inputs, "float[] y, float[] yh, float[] yc", f"{LSTM}, float[2,12] p")
    result = apply(subject, UnifyRecurrent())
    assert directions(result.graph) == ["forward", "reverse"]
    assert sorted(node.attrs["axis"] for node in result.graph.nodes if node.op == "Concat") == [0, 0, 1]


def test_outputs_that_nobody_wants_are_not_made(model, apply) -> None:
    result = apply(
        model(f"y = GRU <{BOTH}> (x, w, r)", X, weights="float[2,12,3] w, float[2,12,4] r"), UnifyRecurrent()
    )
    assert directions(result.graph) == ["forward", "reverse"]
    assert [node.op for node in result.graph.nodes].count("Concat") == 1


def test_each_direction_keeps_its_functions_and_their_parameters(model, apply) -> None:
    functions = 'activations = ["HardSigmoid", "Tanh", "Sigmoid", "ScaledTanh"]'
    parameters = "activation_alpha = [0.3, 0.7], activation_beta = [0.4, 0.9]"
    body = f"y = GRU <{BOTH}, {functions}, {parameters}> (x, w, r)"
    result = apply(model(body, X, weights="float[2,12,3] w, float[2,12,4] r"), UnifyRecurrent())
    first, second = (node.attrs for node in result.graph.nodes if node.op == "GRU")
    assert first["activations"] == ["HardSigmoid", "Tanh"] and second["activations"] == ["Sigmoid", "ScaledTanh"]
    assert np.allclose([*first["activation_alpha"], *first["activation_beta"]], [0.3, 0.4])
    assert np.allclose([*second["activation_alpha"], *second["activation_beta"]], [0.7, 0.9])


def test_lengths_of_all_steps_are_left_out(model, apply) -> None:
    body, weights = "y = RNN <hidden_size = 4> (x, w, r, , n)", "float[1,4,3] w, float[1,4,4] r, int32[2] n"
    result = apply(model(body, X, weights=weights, values={"n": [5, 5]}), UnifyRecurrent())
    (node,) = result.graph.nodes
    assert len(node.inputs) < 5 or node.inputs[4].is_empty()


@pytest.mark.parametrize(
    ("body", "inputs", "weights", "reason"),
    [
        (f"y = RNN <{BOTH}> (x, w, r)", f"{X}, float[2,4,3] w", "float[2,4,4] r", "no constants"),
        (f"y = RNN <{BOTH}> (x, w, r, , n)", X, "float[2,4,3] w, float[2,4,4] r, int32[2] n", "lengths of their own"),
        ("y = RNN <hidden_size = 4> (x, w, r, , n)", X, "float[1,4,3] w, float[1,4,4] r, int32[2] n", ""),
        ('y = RNN <hidden_size = 4, direction = "reverse"> (x, w, r)', X, "float[1,4,3] w, float[1,4,4] r", ""),
        ("y = RNN <hidden_size = 4> (x, w, r)", X, "float[1,4,3] w, float[1,4,4] r", ""),
    ],
)
def test_others_stay(model, apply, body: str, inputs: str, weights: str, reason: str) -> None:
    result = apply(model(body, inputs, weights=weights, values={"n": [5, 3]}), UnifyRecurrent())
    assert not result.modified
    assert [reason in note.text for note in result.notes] == ([True] if reason else [])


def test_a_node_without_initial_states_begins_with_zeros(model, apply) -> None:
    result = apply(
        model("y = LSTM <hidden_size = 4> (x, w, r)", X, weights=LSTM.replace("[2,", "[1,")), BeginRecurrent()
    )
    (node,) = result.graph.nodes
    states = [tensor.values for tensor in node.inputs[5:7]]
    assert [state.shape for state in states] == [(1, 2, 4)] * 2 and not np.any(states)


def test_a_constant_that_several_states_begin_with_becomes_one_for_each(model, apply) -> None:
    weights = f"{LSTM.replace('[2,', '[1,')}, float[1,2,4] z"
    result = apply(model("y = LSTM <hidden_size = 4> (x, w, r, b, , z, z)", X, weights=weights), BeginRecurrent())
    (node,) = result.graph.nodes
    h, c = node.inputs[5:7]
    assert h is not c and h.name != c.name
    np.testing.assert_array_equal(h.values, c.values)


@pytest.mark.parametrize(
    ("body", "inputs", "weights"),
    [
        ("y = GRU <hidden_size = 4> (x, w, r, , , h)", f"{X}, float[1,2,4] h", "float[1,12,3] w, float[1,12,4] r"),
        ("y = GRU <hidden_size = 4> (x, w, r, , , h)", X, "float[1,12,3] w, float[1,12,4] r, float[1,2,4] h"),
        (f"y = RNN <{BOTH}> (x, w, r)", f"{X}, float[2,4,3] w", "float[2,4,4] r"),
    ],
)
def test_states_that_are_there_stay(model, apply, body: str, inputs: str, weights: str) -> None:
    assert not apply(model(body, inputs, weights=weights), BeginRecurrent()).modified
