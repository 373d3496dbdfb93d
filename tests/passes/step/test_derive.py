"""The step form of nets over time gives what the full form gives, bit for bit, or is refused by the node's name."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import event, given, reject, settings
from hypothesis import strategies as st
from step_forms import Forms, check_columns, check_windows, forms, forms_of, layers, model

from bevel.calib.errors import UserError
from bevel.passes.canonicalize import canonicalize
from bevel.passes.step.derive import step_form


def conv(pads: str = "0, 0", extra: str = "", length: int = 12) -> onnx.ModelProto:
    body = f"y = Conv <pads = [{pads}]{extra}> (x, w)"
    return model(f"float[1,2,{length}] x", "float[] y", body, w=(3, 2, 3))


def states(found: Forms) -> dict[str, list[int]]:
    return {one.name: list(one.shape) for one in found.form.graph.inputs if one.name in found.form.states}


def test_a_convolution_keeps_the_columns_that_it_reads_again() -> None:
    found = forms(conv(), 2)
    check_columns(found, "y")
    assert states(found) == {"x/past": [1, 2, 2]}
    assert found.form.tick.period == 1 and found.form.results["y"].length == 10


def test_a_causal_convolution_gives_columns_from_the_first_step_on() -> None:
    found = forms(conv("2, 0"), 2)
    check_columns(found, "y")
    assert found.form.results["y"].edge == 2 and found.form.results["y"].edge_by == "y"


@pytest.mark.parametrize("length", [11, 12, 13, 14])
@pytest.mark.parametrize(
    "extra", [", strides = [2]", ", dilations = [3]", ", strides = [3], dilations = [2]", ", strides = [4]"]
)
def test_strides_and_dilations_step_by_whole_columns(extra: str, length: int) -> None:
    check_columns(forms(conv(extra=extra, length=length), 2), "y")


@pytest.mark.parametrize("length", [21, 22, 23, 24])
def test_layers_of_unlike_strides_meet_on_the_window_s_own_grid(length: int) -> None:
    body = """
        a = Conv <strides = [2]> (x, v)
        b = Relu (a)
        c = MaxPool <kernel_shape = [3], strides = [2]> (b)
        d = Conv (c, w)
        y = ReduceMean <axes = [2], keepdims = 0> (d)
    """
    found = forms(model(f"float[1,2,{length}] x", "float[] y", body, v=(4, 2, 3), w=(3, 4, 2)), 2)
    assert found.form.tick.period == 4
    check_windows(found, "y")


def test_an_image_of_features_over_time_streams_in_rows() -> None:
    """As keyword spotting has it: [1, time, features, 1]."""
    body = """
        t = Transpose <perm = [0, 3, 1, 2]> (x)
        a = Conv <strides = [2, 2], pads = [0, 1, 0, 1]> (t, v)
        b = Relu (a)
        c = Conv <group = 4, pads = [0, 1, 0, 1]> (b, w)
        d = Conv (c, u)
        e = GlobalAveragePool (d)
        f = Flatten (e)
        y = MatMul (f, m)
    """
    weights = {"v": (4, 1, 4, 3), "w": (4, 1, 3, 3), "u": (2, 4, 1, 1), "m": (2, 3)}
    found = forms(model("float[1,18,6,1] x", "float[] y", body, **weights), 1)
    check_windows(found, "y")
    assert found.form.tick.period == 2
    assert [note.node for note in found.form.notes] == ["e"]


def test_a_residual_waits_for_its_branch() -> None:
    body = """
        a = Conv (x, v)
        b = Slice (x, two, big, axis)
        y = Add (a, b)
    """
    lists = {name: np.array([value], np.int64) for name, value in (("two", 2), ("big", 99), ("axis", 2))}
    check_columns(forms(model("float[1,2,12] x", "float[] y", body, v=(2, 2, 3), **lists), 2), "y")


def test_a_crop_behind_a_padded_convolution_makes_it_causal() -> None:
    """How networks of temporal convolutions are exported: padding on both sides, then the end is cut off."""
    body = """
        a = Conv <pads = [4, 4], dilations = [2]> (x, v)
        b = Slice (a, zero, cut, axis)
        c = Relu (b)
        y = Add (c, x)
    """
    lists = {name: np.array([value], np.int64) for name, value in (("zero", 0), ("cut", -4), ("axis", 2))}
    found = forms(model("float[1,2,12] x", "float[] y", body, v=(2, 2, 3), **lists), 2)
    check_columns(found, "y")
    assert found.form.results["y"].late == 0


def test_a_crop_that_looks_back_waits() -> None:
    body = "a = Relu (x)\n b = Slice (a, zero, cut, axis)\n y = Conv (b, v)"
    lists = {name: np.array([value], np.int64) for name, value in (("zero", 0), ("cut", -3), ("axis", 2))}
    check_columns(forms(model("float[1,2,12] x", "float[] y", body, v=(2, 2, 3), **lists), 2), "y")


def test_a_crop_with_a_stride_waits_for_whole_steps() -> None:
    body = "b = Slice (x, one, cut, axis, two)\n y = Conv (b, v)"
    lists = {name: np.array([value], np.int64) for name, value in (("one", 1), ("cut", -2), ("axis", 2), ("two", 2))}
    check_columns(forms(model("float[1,2,15] x", "float[] y", body, v=(2, 2, 3), **lists), 2), "y")


def test_padding_by_a_node_of_its_own_is_causal_too() -> None:
    body = "p = Pad (x, pads)\n a = Relu (p)\n y = Conv (a, v)"
    pads = np.array([0, 1, 2, 0, 0, 0], np.int64)
    check_columns(forms(model("float[1,2,12] x", "float[] y", body, v=(2, 3, 3), pads=pads), 2), "y")


def test_rows_of_features_go_through_products() -> None:
    body = """
        a = MatMul (x, v)
        b = Add (a, bias)
        c = Relu (b)
        d = Concat <axis = 2> (c, x)
        e = Softmax <axis = 2> (d)
        f = ReduceMax <axes = [2], keepdims = 1> (d)
        y = Sub (f, c)
    """
    found = forms(model("float[1,9,4] x", "float[] y", body, v=(4, 5), bias=(5,)), 1)
    check_columns(found, "y")
    assert states(found) == {}


def test_what_is_flattened_is_kept_as_a_window() -> None:
    body = "a = Conv (x, v)\n f = Flatten (a)\n y = MatMul (f, w)"
    found = forms(model("float[1,2,8] x", "float[] y", body, v=(3, 2, 3), w=(18, 4)), 2)
    check_windows(found, "y")
    assert states(found) == {"x/past": [1, 2, 2], "a/past": [1, 3, 5]}


def test_two_readers_of_unlike_reach_keep_what_each_needs() -> None:
    body = "a = Conv (x, v)\n b = Conv (x, w)\n c = Slice (a, two, big, axis)\n y = Add (b, c)"
    lists = {name: np.array([value], np.int64) for name, value in (("two", 2), ("big", 99), ("axis", 2))}
    check_columns(forms(model("float[1,2,12] x", "float[] y", body, v=(3, 2, 3), w=(3, 2, 5), **lists), 2), "y")


def test_an_operator_without_a_rule_computes_the_window() -> None:
    body = "a = Conv (x, v)\n b = CumSum (a, axis)\n y = Relu (b)"
    found = forms(model("float[1,2,8] x", "float[] y", body, v=(3, 2, 3), axis=np.array(2, np.int64)), 2)
    check_windows(found, "y")


SAME = "pads = [1, 1]"
REFUSED = {
    "padding behind the last column that a mean reads": (
        f"a = Conv <{SAME}> (x, v)\n m = ReduceMean <axes = [2]> (a)\n y = Relu (m)",
        r"--step: m: its \w+ is over all columns, and node a pads behind columns that a stream goes on with",
    ),
    "padding before the first column that a mean reads": (
        "a = Conv <pads = [2, 0]> (x, v)\n m = ReduceMean <axes = [2]> (a)\n y = Relu (m)",
        r"--step: m: its \w+ is over all columns, and what node a gives depends on where the sequence begins",
    ),
    "padding behind the last column of a result": (
        f"y = Conv <{SAME}> (x, v)",
        "--step: y: reads 1 columns behind the newest: node y pads there",
    ),
    "a product of all columns and nothing else": (
        "f = Flatten (x)\n y = MatMul (f, w)",
        "--step: f: it merges columns with other elements",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_stream_can_give_is_refused_by_name(case: str) -> None:
    body, said = REFUSED[case]
    graph, _ = canonicalize(model("float[1,2,8] x", "float[] y", body, v=(3, 2, 3), w=(16, 4)))
    with pytest.raises(UserError, match=said):
        step_form(graph, "x", 2)


def test_a_pool_padded_with_less_than_zeros_is_no_stream() -> None:
    body = "b = Conv (x, v)\n a = MaxPool <kernel_shape = [3], pads = [2, 0]> (b)\n y = Relu (a)"
    found = forms(model("float[1,2,8] x", "float[] y", body, v=(3, 2, 3)), 2)
    check_windows(found, "y")
    assert [note.node for note in found.form.notes][:1] == ["a"], "the whole window is pooled anew"


def test_padding_between_layers_that_do_not_pad_is_computed_for_the_window() -> None:
    """Before its first column, the middle layer's input would have columns in a stream."""
    body = "a = Conv (x, v)\n b = Conv <pads = [2, 0]> (a, w)\n y = Relu (b)"
    found = forms(model("float[1,2,9] x", "float[] y", body, v=(3, 2, 3), w=(2, 3, 3)), 2)
    check_windows(found, "y")
    assert re.search("pads before the first column", found.form.notes[0].text)


@settings(max_examples=200)
@given(layers(), st.integers(24, 31))
def test_any_stack_of_layers_gives_the_same_or_is_refused(drawn: tuple[str, dict[str, Any]], length: int) -> None:
    body, weights = drawn
    full = model(f"float[1,2,{length}] x", "float[] y", body, **weights)
    try:
        graph, _ = canonicalize(full)
    except UserError:  # a layer has nothing left to read
        reject()
    try:
        found = forms_of(full, graph, 2)
    except UserError as error:
        event("refused")
        assert str(error).startswith("--step: ")
        return
    event("in time" if "y" in found.form.results else "of the window")
    (check_columns if "y" in found.form.results else check_windows)(found, "y", telling=False)
