"""What is quantized, what stays float and why, and which tensors share a scale."""

from __future__ import annotations

from typing import Any

import onnx_graphsurgeon as gs
import pytest

from bevel.passes.base import FLOAT_KINDS
from bevel.passes.canonicalize import canonicalize
from bevel.passes.quantize.plan import QuantizationPlan, make_plan

MODE = "coordinate_transformation_mode"
CONV = "float[4,3,3,3] w, float[4] b"


@pytest.fixture
def plan(text: Any) -> Any:
    def planned(*arguments: Any, **rest: Any) -> QuantizationPlan:
        graph: gs.Graph = canonicalize(text(*arguments, **rest))[0]
        return make_plan(graph)

    return planned


def ties(plan: QuantizationPlan) -> list[list[str]]:
    return [group for group in plan.ties if len(group) > 1]


def notes(plan: QuantizationPlan, node: str) -> str:
    return "; ".join(note.text for note in plan.notes if note.node == node)


def test_inputs_and_results_of_operators_are_quantized(plan: Any) -> None:
    found = plan("c = Conv (x, w, b)\n y = Conv (c, v)", weights=f"{CONV}, float[2,4,1,1] v")
    assert list(found.points) == ["x", "c", "y"]
    assert ties(found) == []


def test_no_quantizer_stands_between_a_conv_and_its_relu(plan: Any) -> None:
    found = plan("c = Conv (x, w, b)\n r = Relu (c)\n y = Conv (r, v)", weights=f"{CONV}, float[2,4,1,1] v")
    assert list(found.points) == ["x", "r", "y"]
    assert notes(found, "r") == "fused into c"


def test_a_clip_behind_a_scaled_product_of_two_is_fused_into_it(plan: Any) -> None:
    body = "m = MatMul (x, z)\n s = Mul (m, c)\n k = Relu (s)\n y = Softmax (k)"
    found = plan(body, "float[3,5] x, float[5,4] z", weights="float c")
    assert list(found.points) == ["x", "z", "k", "y"]
    assert notes(found, "k") == "fused into s"


def test_relu_is_not_fused_where_another_node_reads_the_conv(plan: Any) -> None:
    found = plan(
        "c = Conv (x, w, b)\n r = Relu (c)\n y = Conv (c, v)",
        "float[1,3,8,8] x",
        "float[] y, float[] r",
        f"{CONV}, float[2,4,1,1] v",
    )
    assert list(found.points) == ["x", "c", "r", "y"]
    assert notes(found, "r") == ""


def test_relu_is_not_fused_where_the_conv_is_an_output(plan: Any) -> None:
    found = plan("c = Conv (x, w, b)\n y = Relu (c)", outputs="float[] c, float[] y", weights=CONV)
    assert list(found.points) == ["x", "c", "y"]


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("y = MaxPool <kernel_shape = [2,2]> (x)", ""),
        ("y = Flatten (x)", ""),
        ("y = Transpose <perm = [0,2,3,1]> (x)", ""),
        ("y = Pad (x, p)", "int64[8] p"),
        ('y = Resize <mode = "linear"> (x, , f)', "float[4] f"),
        ("y = Slice (x, s, e)", "int64[1] s, int64[1] e"),
    ],
)
def test_moved_integers_keep_their_scale(plan: Any, body: str, weights: str) -> None:
    values = {"p": [0, 0, 1, 1, 0, 0, 1, 1], "f": [1, 1, 2, 2], "s": 0, "e": 1}
    found = plan(body, "float[2,3,6,6] x", weights=weights, values=values)
    assert ties(found) == [["x", "y"]]


def test_ties_reach_through_chains_of_operators(plan: Any) -> None:
    body = "m = MaxPool <kernel_shape = [2,2]> (x)\n s = Sigmoid (m)\n c = Concat <axis = 1> (m, s)\n y = Flatten (c)"
    assert ties(plan(body)) == [["x", "m", "s", "c", "y"]]


def test_concat_ties_what_stands_behind_fused_activations(plan: Any) -> None:
    body = "c = Conv (x, w, b)\n r = Relu (c)\n d = Conv (x, v)\n y = Concat <axis = 1> (r, d)"
    assert ties(plan(body, weights=f"{CONV}, float[2,3,3,3] v")) == [["d", "r", "y"]]


def test_outputs_of_a_split_share_its_scale(plan: Any) -> None:
    found = plan("y, z = Split <num_outputs = 2> (x)", "float[4,3] x", "float[] y, float[] z")
    assert ties(found) == [["x", "y", "z"]]


def test_chain_of_functions_of_one_tensor_has_quantizers_at_its_ends_only(plan: Any) -> None:
    found = plan("s = Sigmoid (x)\n m = Mul (x, s)\n y = Tanh (m)")
    assert list(found.points) == ["x", "y"]
    assert found.taken == {}


def test_function_that_is_read_outside_its_chain_ends_there(plan: Any) -> None:
    found = plan("s = Sigmoid (x)\n t = Tanh (s)\n y = Conv (s, w, b)", outputs="float[] y, float[] t", weights=CONV)
    assert list(found.points) == ["x", "s", "t", "y"]


def test_softmax_fixes_its_scale(plan: Any) -> None:
    assert plan("y = Softmax (x)").fixed == {"y": (1 / 256, -128)}


def test_operator_without_integers_stays_float_and_says_why(plan: Any) -> None:
    found = plan("l = Trilu (x)\n y = Conv (l, w, b)", weights=CONV)
    assert notes(found, "l") == "Trilu has no integer kernel"
    assert "x" not in found.points and "l" in found.points


def test_sum_between_float_operators_is_not_quantized(plan: Any) -> None:
    found = plan("a = Trilu (x)\n b = Trilu <upper = 0> (x)\n s = Add (a, b)\n y = Trilu (s)")
    assert list(found.points) == []
    assert "stands between float operators" in notes(found, "s")


def test_conv_between_float_operators_is_quantized_for_its_weights(plan: Any) -> None:
    found = plan("a = Trilu (x)\n c = Conv (a, w, b)\n y = Trilu (c)", weights=CONV)
    assert list(found.points) == ["a", "c"]


INPUTS = "float[3,4] x, float[4,5] z"


def test_number_behind_a_product_of_two_is_part_of_it(plan: Any) -> None:
    found = plan("m = MatMul (x, z)\n y = Mul (m, s)", INPUTS, weights="float s", values={"s": 0.5})
    assert list(found.points) == ["x", "z", "y"]
    assert "part of the operator that ends in y" in notes(found, "m")


@pytest.mark.parametrize(
    ("behind", "outputs", "factor"),
    [
        ("y = Mul (m, s)\n z1 = Relu (m)", "float[] y, float[] z1", 0.5),
        ("y = Mul (m, s)", "float[] y, float[] m", 0.5),
        ("y = Mul (m, s)", "float[] y", -0.5),
        ("y = Mul (m, s)", "float[] y", 0.0),
        ("y = Add (m, s)", "float[] y", 0.5),
    ],
)
def test_product_that_is_read_as_it_is_stands_alone(plan: Any, behind: str, outputs: str, factor: float) -> None:
    found = plan(f"m = MatMul (x, z)\n {behind}", INPUTS, outputs, "float s", {"s": factor})
    assert "m" in found.points and "m" in found.taken


def test_larger_number_behind_a_product_stands_alone(plan: Any) -> None:
    found = plan("m = MatMul (x, z)\n y = Mul (m, s)", INPUTS, weights="float[1,1,1] s", values={"s": 0.5})
    assert list(found.points) == ["x", "z", "m", "y"]


@pytest.mark.parametrize(
    ("body", "weights", "reason"),
    [
        (f'y = Resize <{MODE} = "tf_crop_and_resize"> (x, r, , n)', "float[8] r, int64[4] n", "extrapolates"),
        ('y = Resize <mode = "linear", antialias = 1> (x, , , n)', "int64[4] n", "it antialiases"),
        ('y = Resize <mode = "cubic"> (x, , , n)', "int64[4] n", "in mode cubic"),
        ('y = Pad <mode = "wrap"> (x, p)', "int64[8] p", "it pads axis 3 by more elements"),
        ('y = Pad <mode = "reflect"> (x, c)', "int64[8] c", "it pads and crops at once"),
        ("y = Gather <axis = 2> (z, i)", "", "its indices are computed"),
        ("y = AveragePool <kernel_shape = [2,2], dilations = [2,2]> (x)", "", "dilated average pooling"),
        ("y = Mod <fmod = 1> (x, z)", "", "Mod has no integer kernel"),
    ],
)  # fmt: skip
def test_variant_without_integers_says_which_it_is(plan: Any, body: str, weights: str, reason: str) -> None:
    values = {"r": [0, 0, 0, 0, 1, 1, 1, 1], "n": [1, 3, 4, 5], "p": [0] * 7 + [9], "c": [0, 0, 0, 2, 0, 0, 0, -1]}
    found = plan(body, "float[1,3,8,8] x, float[1,3,8,8] z, int64[2] i", weights=weights, values=values)
    assert reason in "; ".join(note.text for note in found.notes if note.kind in FLOAT_KINDS)
