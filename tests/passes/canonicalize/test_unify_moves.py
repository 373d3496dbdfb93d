"""One spelling for what only moves elements: gathers, expansions, crops, pixel shuffles, resizing of any rank."""

import numpy as np
import pytest

from bevel.passes.canonicalize.crop_by_slice import CropBySlice
from bevel.passes.canonicalize.flatten_pool import FlattenPool
from bevel.passes.canonicalize.pair_operands import PairOperands
from bevel.passes.canonicalize.remove_identity import RemoveIdentity
from bevel.passes.canonicalize.spell_depth_to_space import SpellDepthToSpace
from bevel.passes.canonicalize.spell_reductions import SpellReductions
from bevel.passes.canonicalize.unify_expand import UnifyExpand
from bevel.passes.canonicalize.unify_gather import UnifyGather
from bevel.passes.canonicalize.unify_pool import UnifyPool
from bevel.passes.canonicalize.unify_resize import UnifyResize

SHUFFLE = ["Reshape", "Transpose", "Reshape"]


@pytest.mark.parametrize(
    "body",
    [
        "y = DepthToSpace <blocksize = 2> (x)",
        'y = DepthToSpace <blocksize = 2, mode = "CRD"> (x)',
        "y = SpaceToDepth <blocksize = 2> (x)",
    ],
)
def test_a_pixel_shuffle_is_a_transpose_between_reshapes(model, apply, operators, body) -> None:
    assert operators(apply(model(body, "float[2,8,4,6] x"), SpellDepthToSpace())) == SHUFFLE


@pytest.mark.parametrize(
    ("indices", "shape", "expected"),
    [
        ([1, 2, 3], "[3]", ["Slice"]),
        ([6, 3, 0], "[3]", ["Slice"]),
        (-1, "", ["Slice", "Reshape"]),
        ([[0, 1], [5, 2]], "[2,2]", ["Gather", "Reshape"]),
        ([0, -1, 2], "[3]", ["Gather"]),
    ],
)
def test_a_gather_is_a_slice_or_lists_its_indices_from_the_front(model, apply, operators, indices, shape, expected):
    subject = model("y = Gather <axis = 1> (x, i)", "float[2,7,3] x", weights=f"int64{shape} i", values={"i": indices})
    result = apply(subject, UnifyGather())
    assert operators(result) == expected
    assert all(min(node.inputs[1].values) >= 0 for node in result.graph.nodes if node.op == "Gather")
    assert not UnifyGather()(result.work).modified


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("y = Gather <axis = 1> (x, i)", "float[2,7] x, int64[2] i"),  # computed indices
        ("y = Gather <axis = 0> (w, i)", "int64[2] i"),  # of a constant
        ("y = Gather <axis = 0> (n, j)", "int64[5] n"),  # of integers
        ("y = Gather <axis = 1> (x, k)", "float[2,7] x"),  # unevenly spaced already
    ],
)
def test_other_gathers_stay(model, apply, body, inputs) -> None:
    weights, values = "float[4,2] w, int64[2] j, int64[3] k", {"j": [1, 2], "k": [0, 1, 3]}
    outputs = "int64[] y" if inputs == "int64[5] n" else "float[] y"
    assert not apply(model(body, inputs, outputs, weights, values), UnifyGather()).modified


def test_an_expand_that_adds_axes_leaves_that_to_a_reshape(model, apply, operators) -> None:
    subject = model("y = Expand (x, n)", "float[3,1] x", weights="int64[4] n", values={"n": [2, 1, 1, 5]})
    assert operators(apply(subject, UnifyExpand())) == ["Reshape", "Expand"]
    subject = model("y = Expand (x, n)", "float[3,1] x", weights="int64[2] n", values={"n": [1, 5]})
    assert not apply(subject, UnifyExpand()).modified


@pytest.mark.parametrize(
    ("body", "pads", "expected"),
    [
        ("y = Pad (x, p)", [0, -1, 2, 0, -2, 0], ["Slice", "Pad"]),
        ('y = Pad <mode = "edge"> (x, p)', [0, -1, 2, 0, 0, 1], ["Slice", "Pad"]),
        ("y = Pad (x, p)", [0, 0, 2, 0, 0, 0], ["Pad"]),
        ('y = Pad <mode = "reflect"> (x, p)', [0, -1, 0, 0, 2, 0], ["Pad"]),  # picks from what it crops
    ],
)
def test_a_pad_crops_by_a_slice(model, apply, operators, body, pads, expected) -> None:
    subject = model(body, "float[2,5,6] x", weights="int64[6] p", values={"p": pads})
    assert operators(apply(subject, CropBySlice())) == expected


def test_a_fourth_input_that_is_infinite_is_no_list_of_axes(model, apply) -> None:
    subject = model("y = Min (x, x, x, c)", "float[2,5] x", weights="float[1] c", values={"c": np.inf})
    assert not apply(subject, CropBySlice()).modified


def test_a_maximum_over_all_positions_is_a_global_pool(model, apply, operators) -> None:
    subject = model("y = ReduceMax <keepdims = 0> (x, a)", "float[2,3,8] x", weights="int64[1] a", values={"a": [-1]})
    assert operators(apply(subject, UnifyPool())) == ["GlobalMaxPool", "Reshape"]
    subject = model("y = ReduceMax (x, a)", "float[2,3,8] x", weights="int64[1] a", values={"a": [1]})
    assert not apply(subject, UnifyPool()).modified


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("MaxPool <kernel_shape = [2,1,3], pads = [1,0,1,0,0,1], strides = [1,2,1]>", ["MaxPool", "MaxPool"]),
        ("MaxPool <kernel_shape = [2,2,2], dilations = [1,2,1]>", ["MaxPool", "MaxPool"]),
        ("GlobalMaxPool", ["GlobalMaxPool"]),
    ],
)
def test_a_maximum_over_boxes_is_one_of_maxima_over_planes(model, apply, operators, pool, expected) -> None:
    result = apply(model(f"y = {pool} (x)", "float[2,3,4,5,6] x"), FlattenPool())
    assert [op for op in operators(result) if op != "Reshape"] == expected


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("y = MaxPool <kernel_shape = [2,2]> (x)", "float[2,3,4,5] x"),
        ("y = GlobalMaxPool (x)", "float[2,3,4,5] x"),
        ("y = AveragePool <kernel_shape = [2,2,2]> (x)", "float[2,3,4,5,6] x"),  # roundings of two means are two
        ("y = MaxPool <kernel_shape = [2,2,2], ceil_mode = 1> (x)", "float[2,3,4,5,6] x"),
        ('y = MaxPool <kernel_shape = [2,2,2], auto_pad = "SAME_UPPER"> (x)', "float[2,3,4,5,6] x"),
        ("y, places = MaxPool <kernel_shape = [2,2,2]> (x)", "float[2,3,4,5,6] x"),
    ],
)
def test_other_pools_stay(model, apply, body, inputs) -> None:
    outputs = "float[] y, int64[] places" if "places" in body else "float[] y"
    assert not apply(model(body, inputs, outputs), FlattenPool()).modified


def test_a_reduction_over_no_axes_goes(model, apply, operators) -> None:
    subject = model("r = Relu (x)\n s = ReduceSum <noop_with_empty_axes = 1> (r)\n y = Abs (s)", "float[2,3] x")
    assert operators(apply(subject, RemoveIdentity())) == ["Relu", "Abs"]
    subject = model("r = Relu (x)\n s = ReduceSum (r)\n y = Abs (s)", "float[2,3] x")
    assert not apply(subject, RemoveIdentity()).modified


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("ReduceL1", ["Abs", "ReduceSum"]),
        ("ReduceSumSquare", ["Mul", "ReduceSum"]),
        ("ReduceLogSum", ["ReduceSum", "Log"]),
        ("ReduceL2", ["ReduceL2"]),
    ],
)
def test_a_reduction_is_a_sum_with_functions(model, apply, operators, op, expected) -> None:
    subject = model(
        f"e = Exp (x)\n y = {op} <keepdims = 0> (e, a)", "float[2,3] x", "float[] y", "int64[1] a", {"a": [1]}
    )
    assert operators(apply(subject, SpellReductions())) == ["Exp", *expected]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Sum (x, z)", ["Add"]),
        ("y = Sum (x, z, row)", ["Add", "Add"]),
        ("y = Mean (x, z)", ["Add", "Mul"]),
        ("y = Max (x, z, x)", ["Max", "Max"]),
        ("y = Min (x, z)", ["Min"]),
    ],
)
def test_what_takes_many_tensors_is_a_chain_of_pairs(model, apply, operators, body, expected) -> None:
    subject = model(body, "float[2,3] x, float[2,3] z", weights="float[3] row")
    assert operators(apply(subject, PairOperands())) == expected


LINEAR = 'mode = "linear", coordinate_transformation_mode'


@pytest.mark.parametrize(
    ("attributes", "shape", "scales", "resizes"),
    [
        (f'{LINEAR} = "half_pixel"', "2,3,8", [1, 1, 2], 1),
        (f'{LINEAR} = "asymmetric"', "1,2,3,4,5", [1, 1, 2, 1.5, 3], 2),
        (f'{LINEAR} = "align_corners"', "1,4,5,3", [1, 2, 2, 1], 2),
        (f'{LINEAR} = "half_pixel"', "4,5", [2, 3], 1),
    ],
)
def test_a_linear_resize_of_any_rank_is_one_of_images(
    model, apply, operators, attributes, shape, scales, resizes
) -> None:
    weights = f"float[{len(scales)}] s"
    subject = model(f"y = Resize <{attributes}> (x, , s)", f"float[{shape}] x", weights=weights, values={"s": scales})
    result = apply(subject, UnifyResize())
    assert operators(result).count("Resize") == resizes
    assert {len(node.inputs[0].shape) for node in result.graph.nodes if node.op == "Resize"} == {4}
    assert not UnifyResize()(result.work).modified


@pytest.mark.parametrize(
    ("attributes", "shape", "scales"),
    [
        (f'{LINEAR} = "half_pixel"', "1,2,4,5", [1, 1, 2, 3]),  # an image already
        ('mode = "nearest"', "1,2,4", [1, 1, 2]),
        ('mode = "linear", antialias = 1', "4,5", [0.5, 0.5]),
    ],
)
def test_other_resizes_stay(model, apply, attributes, shape, scales) -> None:
    weights = f"float[{len(scales)}] s"
    subject = model(f"y = Resize <{attributes}> (x, , s)", f"float[{shape}] x", weights=weights, values={"s": scales})
    assert not apply(subject, UnifyResize()).modified


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("s = ReduceSum (x, a)\n y = Div (s, n)", ["ReduceMean"]),
        ("s = ReduceSum <keepdims = 0> (x, a)\n y = Mul (s, share)", ["ReduceMean"]),
        ("s = ReduceSum (x, a)\n y = Mul (s, n)", ["ReduceSum", "Mul"]),  # another factor
        ("s = ReduceSum (x, a)\n y = Div (n, s)", ["ReduceSum", "Div"]),
        ("s = ReduceMax (x, a)\n y = Div (s, n)", ["ReduceMax", "Div"]),
    ],
)
def test_a_sum_over_its_count_is_a_mean(model, apply, operators, body, expected) -> None:
    values = {"a": np.array([1, 2]), "n": np.array(12.0), "share": np.array(1 / 12)}
    subject = model(body, "float[2,3,4] x", "float[] y", "int64[2] a, float n, float share", values)
    assert operators(apply(subject, SpellReductions())) == expected
