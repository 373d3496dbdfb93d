import numpy as np
import pytest

from bevel.passes.canonicalize.absorb_transposes import AbsorbTransposes
from bevel.passes.canonicalize.merge_transposes import MergeTransposes
from bevel.passes.canonicalize.remove_identity import RemoveIdentity

PASSES = (MergeTransposes(), AbsorbTransposes(), RemoveIdentity())
LAST, FIRST = "Transpose <perm = [0,2,3,1]>", "Transpose <perm = [0,3,1,2]>"  # to channels last, to channels first
VALUES = {
    "axes": [1, 2],
    "channel": [3],
    "starts": [1],
    "ends": [3],
    "pads": [0, 1, 0, 0, 0, 2, 0, 0],
    "z": 3,
    "zs": [1] * 3,
}
WEIGHTS = (
    "float[3] row, float[8,3] plane, float s, int64[2] axes, int64[1] channel, int64[1] starts, int64[1] ends,"
    " int64[8] pads, int8 z, float[3] scales, int8[3] zs, float[3,8,8] whole"
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"a = {LAST} (x)\n y = {FIRST} (a)", []),
        (f"a = {LAST} (x)\n b = Relu(a)\n y = {FIRST} (b)", ["Relu"]),
        (f"a = {LAST} (x)\n b = Add(a, row)\n y = {FIRST} (b)", ["Add"]),
        (f"a = {LAST} (x)\n b = Mul(plane, a)\n y = {FIRST} (b)", ["Mul"]),
        (f"a = {LAST} (x)\n b = Sub(s, a)\n y = {FIRST} (b)", ["Sub"]),
        (f"a = {LAST} (x)\n b = Softmax(a)\n y = {FIRST} (b)", ["Softmax"]),
        (f"a = {LAST} (x)\n b = Concat <axis = 3> (a, a)\n y = {FIRST} (b)", ["Concat"]),
        (f"a = {LAST} (x)\n b = ReduceMean(a, axes)\n y = {FIRST} (b)", ["ReduceMean"]),
        (f"a = {LAST} (x)\n b = Pad(a, pads)\n y = {FIRST} (b)", ["Pad"]),
        (f"a = {LAST} (x)\n b = Slice(a, starts, ends, axes1)\n y = {FIRST} (b)", ["Slice"]),
        (
            f"a = {LAST} (x)\n b, c = Split <axis = 2, num_outputs = 2> (a)\n d = Add(b, c)\n y = {FIRST} (d)",
            ["Split", "Add"],
        ),
        (
            f"a = {LAST} (x)\n b = QuantizeLinear(a, s, z)\n c = DequantizeLinear(b, s, z)\n y = {FIRST} (c)",
            ["QuantizeLinear", "DequantizeLinear"],
        ),
        (
            f"a = {LAST} (x)\n b = QuantizeLinear <axis = 3> (a, scales, zs)\n"
            f" c = DequantizeLinear <axis = -1> (b, scales, zs)\n y = {FIRST} (c)",
            ["QuantizeLinear", "DequantizeLinear"],
        ),
        (
            f"a = {LAST} (x)\n b = Relu(x)\n c = {LAST} (b)\n d = Add(a, c)\n e = Sigmoid(d)\n f = {FIRST} (d)\n"
            f" g = {FIRST} (e)\n y = Mul(f, g)",
            ["Relu", "Add", "Sigmoid", "Mul"],
        ),
        (f"a = {LAST} (x)\n y = ReduceMean <keepdims = 0> (a, axes)", ["ReduceMean"]),
    ],
)
def test_transposes_meet_across_operators_that_work_in_any_layout(model, apply, operators, body, expected) -> None:
    if "axes1" in body:
        values, weights = {**VALUES, "axes1": [1]}, WEIGHTS + ", int64[1] axes1"
    else:
        values, weights = VALUES, WEIGHTS
    if not expected:  # nothing may come between a graph input and a graph output but an Identity
        body, expected = body.replace("(x)", "(r)") and "r = Abs(x)\n " + body.replace("(x)", "(r)"), ["Abs"]
    result = apply(model(body, weights=weights, values=values), *PASSES)
    assert sorted(operators(result)) == sorted(expected)


@pytest.mark.parametrize(
    "body",
    [
        f"a = {LAST} (x)\n b = Relu(a)\n y = MatMul(b, v)",
        f"a = {LAST} (x)\n y = Relu(a)",
        f"a = {LAST} (x)\n b = Reshape(a, shape)\n y = {FIRST} (b)",
        f"a = {LAST} (x)\n y = ReduceMean <keepdims = 0> (a, second)",
    ],
)
def test_a_transpose_that_gains_nothing_by_moving_stays(model, apply, operators, body) -> None:
    values = {"shape": [1, 8, 3, 8], "second": [1]}
    subject = model(body, weights="float[3,5] v, int64[4] shape, int64[1] second", values=values)
    result = apply(subject, *PASSES)
    assert not result.modified
    assert "Transpose" in operators(result)


def test_two_transposes_behind_each_other_are_one(model, apply) -> None:
    body = "a = Transpose <perm = [0,2,3,1]> (x)\n y = Transpose <perm = [2,1,0,3]> (a)"
    (node,) = apply(model(body), *PASSES).graph.nodes
    assert node.attrs["perm"] == [3, 2, 0, 1]


def test_a_sum_of_two_transposed_tensors_needs_one_transpose(model, apply, operators) -> None:
    body = f"r = Relu(x)\n a = {LAST} (x)\n b = {LAST} (r)\n c = Add(a, b)\n y = MatMul(c, v)"
    result = apply(model(body, weights="float[3,5] v"), *PASSES)
    assert operators(result).count("Transpose") == 1


def test_a_graph_output_inside_a_region_keeps_its_name_and_layout(model, apply, operators) -> None:
    body = f"r = Abs(x)\n a = {LAST} (x)\n b = {LAST} (r)\n y = Add(a, b)\n c = Relu(y)\n z = {FIRST} (c)"
    result = apply(model(body, outputs="float[] y, float[] z"), *PASSES)
    assert operators(result).count("Transpose") == 1
    assert [tensor.name for tensor in result.graph.outputs] == ["y", "z"]


def test_the_transpose_of_stored_weights_moves_into_the_integers(model, apply, operators) -> None:
    values = {"q": np.arange(-54, 54).reshape(3, 3, 3, 4), "s": [0.1, 0.2, 0.3, 0.4]}
    body = "d = DequantizeLinear <axis = 3> (q, s)\n w = Transpose <perm = [3,2,0,1]> (d)\n y = Conv(x, w)"
    result = apply(model(body, weights="int8[3,3,3,4] q, float[4] s", values=values), *PASSES)
    assert operators(result) == ["DequantizeLinear", "Conv"]
    dequantize = result.graph.nodes[0]
    assert dequantize.attrs["axis"] == 0
    assert dequantize.inputs[0].values.shape == (4, 3, 3, 3)
