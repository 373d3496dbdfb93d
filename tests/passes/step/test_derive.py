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
PADDED = {
    "a mean reads what pads on both sides": f"a = Conv <{SAME}> (x, v)\n y = ReduceMean <axes = [2]> (a)",
    "a mean reads what pads before": "a = Conv <pads = [2, 0]> (x, v)\n y = ReduceMean <axes = [2]> (a)",
    "one pads behind another": f"""
        a = Conv <{SAME}> (x, v)
        r = Relu (a)
        b = Conv <{SAME}> (r, w)
        f = Flatten (b)
        y = MatMul (f, m)
    """,
    "a branch that reaches further meets one that does not": f"""
        a = Conv <{SAME}> (x, v)
        b = Conv <pads = [4, 4], dilations = [2]> (a, u)
        c = Add (a, b)
        y = ReduceSum <keepdims = 1> (c, axis)
    """,
    "strides": f"""
        a = Conv <{SAME}, strides = [2]> (x, v)
        b = Conv <{SAME}, strides = [2]> (a, w)
        y = ReduceSum <keepdims = 1> (b, axis)
    """,
    "a pool pads with less than zeros": f"""
        a = Conv <{SAME}> (x, v)
        b = MaxPool <kernel_shape = [3], strides = [2], pads = [1, 1]> (a)
        y = ReduceSum <keepdims = 1> (b, axis)
    """,
    "a crop cuts into what is padded": """
        a = Conv <pads = [4, 4], dilations = [4]> (x, v)
        b = Slice (a, one, cut, axis)
        y = ReduceSum <keepdims = 1> (b, axis)
    """,
    "a transposed convolution behind a strided one": f"""
        a = Conv <{SAME}, strides = [2]> (x, v)
        b = ConvTranspose <pads = [1, 1], strides = [2]> (a, t)
        y = ReduceSum <keepdims = 1> (b, axis)
    """,
    "two outputs of a split": f"""
        a = Conv <{SAME}> (x, v)
        b, c = Split <axis = 1> (a, halves)
        d = Mul (c, c)
        e = Concat <axis = 1> (b, d)
        y = ReduceSum <keepdims = 1> (e, axis)
    """,
}
LISTS = {
    "axis": np.array([2], np.int64),
    "one": np.array([1], np.int64),
    "cut": np.array([-1], np.int64),
    "halves": np.array([1, 2], np.int64),
    "zero": np.array([0], np.int64),
    "twelve": np.array([11], np.int64),
}


@pytest.mark.parametrize("length", [12, 13])
@pytest.mark.parametrize("case", PADDED)
def test_columns_that_read_padding_are_computed_anew_for_each_window(case: str, length: int) -> None:
    weights = {"v": (3, 2, 3), "w": (2, 3, 3), "u": (3, 3, 5), "m": (2 * length, 4), "t": (3, 2, 4)} | LISTS
    used = {name: given for name, given in weights.items() if re.search(rf"\b{name}\)|\b{name},", PADDED[case])}
    found = forms(model(f"float[1,2,{length}] x", "float[] y", PADDED[case], **used), 2)
    check_windows(found, "y")
    assert any("padding" in note.text and "computed anew" in note.text for note in found.form.notes)


GATED = {
    "the window's columns": "y = Mul (a, s)",
    "their mean": "z = Mul (a, s)\n y = ReduceMean <axes = [2]> (z)",
    "a convolution of them": "z = Mul (s, a)\n y = Conv (z, w)",
}


@pytest.mark.parametrize("pads", ["pads = [0, 0]", "pads = [2, 0]", SAME])
@pytest.mark.parametrize("case", GATED)
def test_columns_that_a_mean_over_all_of_them_gates_are_computed_for_the_window(case: str, pads: str) -> None:
    """Squeeze and excitation: the gate is another in each step, for columns of steps before too."""
    gate = f"a = Conv <{pads}> (x, v)\n g = ReduceMean <axes = [2]> (a)\n s = Sigmoid (g)\n {GATED[case]}"
    weights = {name: shape for name, shape in {"v": (3, 2, 3), "w": (2, 3, 3)}.items() if f", {name})" in gate}
    found = forms(model("float[1,2,12] x", "float[] y", gate, **weights), 2)
    check_windows(found, "y")
    assert not found.form.results and "a/past" in states(found)
    assert any("beside is of the whole window" in note.text for note in found.form.notes)


def test_what_a_last_state_gates_is_refused() -> None:
    body = """
        s = Transpose <perm = [2, 0, 1]> (x)
        r, h = RNN <hidden_size = 2> (s, w, u)
        q = Squeeze (r, one)
        y = Mul (q, h)
    """
    shapes = {"w": (1, 2, 2), "u": (1, 2, 2), "one": np.array([1], np.int64)}
    with pytest.raises(UserError, match="--step: y: what it reads beside is of the whole window"):
        forms(model("float[1,2,12] x", "float[] y", body, **shapes), 2)


LOOKING_AHEAD = {
    "one": f"y = Conv <{SAME}> (x, v)",
    "two, of which the second pads with zeros what the first would have of columns before the sequence": f"""
        a = Conv <{SAME}> (x, v)
        r = Sigmoid (a)
        q = Round (r)
        y = Conv <{SAME}> (q, w)
    """,
    "a transposed convolution": "y = ConvTranspose <pads = [1, 1], strides = [2]> (x, o)",
    "columns of their own": "y = ConvTranspose <strides = [3], pads = [0, 1]> (x, s)",
    "down and up again, beside what did not": """
        a = Conv <pads = [1, 2], strides = [2]> (x, k)
        b = ConvTranspose <pads = [1, 1], strides = [2]> (a, t)
        c = Slice (b, zero, twelve, axis)
        d = Slice (x, zero, twelve, axis)
        y = Concat <axis = 1> (c, d)
    """,
    "a residual waits": f"a = Conv <{SAME}> (x, u)\n b = Add (a, x)\n y = Conv <{SAME}> (b, z)",
    "strides": f"a = Conv <{SAME}, strides = [2]> (x, v)\n y = Conv <{SAME}> (a, w)",
    "a crop of the first columns, which then are padded": f"""
        a = Conv <{SAME}> (x, v)
        b = Slice (a, one, cut, axis)
        y = Conv <{SAME}> (b, w)
    """,
}


@pytest.mark.parametrize("length", [12, 13])
@pytest.mark.parametrize("case", LOOKING_AHEAD)
def test_what_looks_ahead_gives_its_columns_late(case: str, length: int) -> None:
    shapes = {"v": (3, 2, 3), "w": (2, 3, 3), "u": (2, 2, 3), "z": (3, 2, 3)}
    weights = shapes | {"o": (2, 3, 4), "s": (2, 3, 5), "k": (3, 2, 5), "t": (3, 2, 4)} | LISTS
    body = LOOKING_AHEAD[case]
    used = {name: given for name, given in weights.items() if re.search(rf"\b{name}\)|\b{name},", body)}
    found = forms(model(f"float[1,2,{length}] x", "float[] y", body, **used), 2)
    check_columns(found, "y")
    assert found.form.results["y"].late > 0
    assert any(f"y comes {found.form.results['y'].late} columns late" in note.text for note in found.form.notes)


def test_a_branch_that_only_sums_need_does_not_mask_and_keeps_no_position() -> None:
    body = f"a = Conv <{SAME}> (x, v)\n b = Conv <{SAME}> (a, w)\n y = ReduceSum <keepdims = 1> (b, axis)"
    found = forms(model("float[1,2,12] x", "float[] y", body, v=(3, 2, 3), w=(2, 3, 3), axis=LISTS["axis"]), 2)
    assert states(found).keys() == {"x/past", "a/past", "b/past"}


def test_a_window_that_is_padding_through_and_through_is_computed_as_one() -> None:
    body = "a = Conv (x, v)\n b = Conv <pads = [9, 9], dilations = [9]> (a, w)\n y = ReduceSum <keepdims = 1> (b, axis)"
    found = forms(model("float[1,2,12] x", "float[] y", body, v=(3, 2, 3), w=(2, 3, 3), axis=LISTS["axis"]), 2)
    check_windows(found, "y")


REFUSED = {
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


def test_padding_between_layers_that_do_not_pad_is_zeros_where_a_stream_has_columns() -> None:
    """Before its first column, the middle layer's input has columns in a stream."""
    body = "a = Conv (x, v)\n b = Conv <pads = [2, 0]> (a, w)\n y = Relu (b)"
    found = forms(model("float[1,2,9] x", "float[] y", body, v=(3, 2, 3), w=(2, 3, 3)), 2)
    check_columns(found, "y")
    assert "position/past" in states(found)


@pytest.mark.long
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
