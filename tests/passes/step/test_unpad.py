"""Layers that pad in time read columns instead: the same where a window has them, and one new column in a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from step_forms import check_columns, check_windows, forms_of, model, run, samples, session

from bevel.calib.errors import UserError
from bevel.passes.canonicalize import canonicalize
from bevel.passes.step.unpad import Unpadded, unpadded

SAME = "pads = [1, 1]"
NETS: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "one layer": (f"a = Conv <{SAME}> (x, v)\n y = ReduceSum <keepdims = 1> (a, axis)", {"v": (3, 2, 3)}, (1, 1)),
    "two, with a stride": (
        f"a = Conv <{SAME}, strides = [2]> (x, v)\n b = Conv <{SAME}> (a, w)\n y = ReduceSum <keepdims = 1> (b, axis)",
        {"v": (3, 2, 3), "w": (2, 3, 3)},
        (3, 2),  # of 12 columns, the last is the end of a window already
    ),
    "a residual, which is cut": (
        f"a = Conv <{SAME}> (x, u)\n b = Add (a, x)\n y = ReduceSum <keepdims = 1> (b, axis)",
        {"u": (2, 2, 3)},
        (1, 1),
    ),
    "a pool that pads with less than zeros": (
        "a = MaxPool <kernel_shape = [3], pads = [1, 1]> (x)\n y = ReduceSum <keepdims = 1> (a, axis)",
        {},
        (1, 1),
    ),
    "padding by a node of its own, before a function": (
        "a = Pad (x, pads)\n b = Relu (a)\n c = Conv (b, v)\n y = ReduceSum <keepdims = 1> (c, axis)",
        {"v": (3, 2, 3), "pads": np.array([0, 0, 1, 0, 0, 1], np.int64)},
        (1, 1),
    ),
    "none": ("a = Conv (x, v)\n y = ReduceSum <keepdims = 1> (a, axis)", {"v": (3, 2, 3)}, (0, 0)),
}
LENGTH = 12


def made(body: str, weights: dict[str, Any]) -> tuple[Any, Unpadded]:
    axis = {"axis": np.array([2], np.int64)} if "axis)" in body else {}
    full = model(f"float[1,2,{LENGTH}] x", "float[] y", body, **weights, **axis)
    return full, unpadded(canonicalize(full)[0], "x", 2)


@pytest.mark.parametrize("case", NETS)
def test_the_window_is_longer_by_what_layers_padded(case: str) -> None:
    body, weights, beside = NETS[case]
    _, found = made(body, weights)
    assert (found.before, found.behind) == beside
    longer = gs.export_onnx(found.graph)
    form = forms_of(longer, canonicalize(longer)[0], 2)
    check_windows(form, "y")
    assert not any("anew" in note.text and "padding" in note.text for note in form.form.notes)


@pytest.mark.parametrize(
    "case", ["one layer", "a residual, which is cut", "padding by a node of its own, before a function"]
)
def test_zeros_there_are_what_one_layer_pads(case: str) -> None:
    """Behind a first layer that pads, zeros and what the layer makes of them differ; of one alone they do not."""
    body, weights, beside = NETS[case]
    full, found = made(body, weights)
    x = samples([1, 2, LENGTH])
    longer = np.pad(x, ((0, 0), (0, 0), beside))
    expected = run(session(full), {"x": x})["y"]
    np.testing.assert_array_equal(run(session(gs.export_onnx(found.graph)), {"x": longer})["y"], expected)


def test_results_in_time_keep_their_columns_and_are_as_late_as_before() -> None:
    _, found = made(f"a = Conv <{SAME}> (x, v)\n y = Conv <{SAME}> (a, w)", {"v": (3, 2, 3), "w": (2, 3, 3)})
    longer = gs.export_onnx(found.graph)
    form = forms_of(longer, canonicalize(longer)[0], 2)
    check_columns(form, "y")
    assert form.form.results["y"].length == LENGTH and form.form.results["y"].late == 0


def test_a_result_that_a_layer_reads_too_keeps_its_columns() -> None:
    body = f"z = Conv <{SAME}> (x, v)\n y = Conv <{SAME}> (z, w)"
    shapes = {"v": (3, 2, 3), "w": (2, 3, 3)}
    full = model(f"float[1,2,{LENGTH}] x", "float[] y, float[] z", body, **shapes)
    found = unpadded(canonicalize(full)[0], "x", 2)
    assert [(one.name, list(one.shape)) for one in found.graph.outputs] == [
        ("y", [1, 2, LENGTH]),
        ("z", [1, 3, LENGTH]),
    ]
    longer = gs.export_onnx(found.graph)
    x = samples([1, 2, LENGTH])
    given = run(session(longer), {"x": np.pad(x, ((0, 0), (0, 0), (found.before, found.behind)))})
    inner, expected = slice(2, LENGTH - 2), run(session(full), {"x": x})
    for name in ("y", "z"):
        np.testing.assert_array_equal(given[name][..., inner], expected[name][..., inner])


@pytest.mark.parametrize("rest", ["y = Identity (r)", "y = Relu (r)"])
def test_what_begins_with_the_sequence_is_refused(rest: str) -> None:
    body = f"s = Transpose <perm = [2, 0, 1]> (x)\n r = RNN <hidden_size = 2> (s, w, u)\n {rest}"
    with pytest.raises(UserError, match="depends on where the sequence begins"):
        made(body, {"w": (1, 2, 2), "u": (1, 2, 2)})


def test_a_transposed_convolution_is_refused() -> None:
    with pytest.raises(UserError, match="--step: y: a ConvTranspose adds up columns of the window alone"):
        made("y = ConvTranspose <strides = [2], pads = [1, 1]> (x, t)", {"t": (2, 3, 4)})
