"""Recurrent layers in steps go on from what they left; what no stream can do is refused or computed for the window."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from step_forms import Forms, forms, model

from bevel.calib.errors import UserError
from bevel.passes.step.prove import prove

STEPS, INPUTS, UNITS = 6, 3, 4
RNG = np.random.default_rng(8)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
LAST = "l = Gather <axis = 0> (r, last)\n f = Reshape (l, flat)\n y = MatMul (f, head)"


def net(
    op: str, tail: str = LAST, results: str = "r", extra: str = "", options: str = "", both: int = 1, **tables: Any
) -> onnx.ModelProto:
    """A layer over the rows of x [steps, 1, inputs]."""
    gates = GATES[op]
    values = {
        "w": RNG.standard_normal((both, gates * UNITS, INPUTS)).astype(np.float32),
        "u": RNG.standard_normal((both, gates * UNITS, UNITS)).astype(np.float32),
        "b": RNG.standard_normal((both, 2 * gates * UNITS)).astype(np.float32),
        "last": np.array(-1, np.int64),
        "flat": np.array([1, both * UNITS], np.int64),
        "head": RNG.standard_normal((both * UNITS, 5)).astype(np.float32),
    } | tables
    body = f"{results} = {op} <hidden_size = {UNITS}{options}> (x, w, u, b{extra})\n {tail}"
    used = {name: value for name, value in values.items() if name in body}
    return model(f"float[{STEPS},1,{INPUTS}] x", "float[] y", body, **used)


def proven(full: onnx.ModelProto) -> Forms:
    found = forms(full, 0)
    windows = [{"x": RNG.standard_normal((STEPS, 1, INPUTS)).astype(np.float32)} for _ in range(3)]
    assert prove(found.form, found.full, found.step, windows) == 3
    return found


def states(found: Forms) -> set[str]:
    return {name.rsplit("/", 2)[1] for name in found.form.states}


@pytest.mark.parametrize(("op", "kept"), [("LSTM", {"h", "c"}), ("GRU", {"h"}), ("RNN", {"h"})])
def test_a_layer_goes_on_from_its_states(op: str, kept: set[str]) -> None:
    found = proven(net(op))
    assert states(found) == kept and not found.form.notes


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_the_state_behind_the_last_step_is_that_behind_the_newest(op: str) -> None:
    proven(net(op, "f = Reshape (h, flat)\n y = MatMul (f, head)", results="r, h"))


def test_every_step_has_a_result_where_the_full_form_has() -> None:
    found = proven(net("LSTM", "f = Squeeze (r, one)\n y = MatMul (f, head)", one=np.array([1, 2], np.int64)))
    assert found.form.results["y"].length == STEPS


def test_two_layers_each_keep_theirs() -> None:
    tail = "f = Squeeze (r, one)\n g = GRU <hidden_size = 4> (f, w2, u, b)\n y = Relu (g)"
    tables = {"one": np.array([1], np.int64), "w2": RNG.standard_normal((1, 3 * UNITS, UNITS)).astype(np.float32)}
    found = proven(net("GRU", tail, **tables))
    assert len(found.form.states) == 2


def test_zeros_that_are_written_are_what_a_sequence_begins_with() -> None:
    zeros = np.zeros((1, 1, UNITS), np.float32)
    assert states(proven(net("LSTM", extra=", , h0, c0", h0=zeros, c0=zeros))) == {"h", "c"}


REFUSED = {
    "both ways": net("LSTM", both=2, options=', direction = "bidirectional"'),
    "backwards": net("GRU", options=', direction = "reverse"'),
    "other states": net("GRU", extra=", , h0", h0=np.ones((1, 1, UNITS), np.float32)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_step_can_go_on_from_is_refused(case: str) -> None:
    with pytest.raises(
        UserError, match=r"--step: r(: it begins with|: it reads backwards|.reverse: it reads backwards)"
    ):
        forms(REFUSED[case], 0)


def test_a_mean_over_what_it_gave_is_refused() -> None:
    text = net("GRU", "m = ReduceMean <axes = [0]> (r)\n f = Reshape (m, flat)\n y = MatMul (f, head)")
    with pytest.raises(UserError, match="what node r gives depends on where the sequence begins"):
        forms(text, 0)
