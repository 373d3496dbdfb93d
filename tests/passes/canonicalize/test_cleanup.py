"""Constants, shapes, identities, duplicates, names."""

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.errors import UserError
from bevel.passes.base import PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.canonicalize.fold_constants import FoldConstants
from bevel.passes.canonicalize.infer_shapes import InferShapes
from bevel.passes.canonicalize.merge_duplicates import MergeDuplicates
from bevel.passes.canonicalize.name_nodes import NameNodes
from bevel.passes.canonicalize.remove_identity import RemoveIdentity
from bevel.passes.canonicalize.separate_outputs import SeparateOutputs
from bevel.passes.canonicalize.sink_reshape import SinkReshape


def test_arithmetic_on_shapes_disappears(model, apply, operators) -> None:
    body = """
        s = Shape(x)
        zero = Constant <value_ints = [0]> ()
        n = Gather(s, zero)
        minus = Constant <value = int64[1] {-1}> ()
        target = Concat <axis = 0> (n, minus)
        ones = ConstantOfShape(target1)
        big = Expand(ones, target1)
        flat = Reshape(x, target)
        y = Add(flat, big)
    """
    subject = model(body, weights="int64[2] target1", values={"target1": [1, 192]})
    assert operators(apply(subject, FoldConstants())) == ["Reshape", "Add"]


def test_a_slice_of_a_shape_is_its_slice(model, apply) -> None:
    result = apply(
        model("s = Shape <start = 1, end = -1> (x)\n y = Add(s, one)", outputs="int64[] y", weights="int64 one")
    )
    FoldConstants()(result.work)
    assert result.graph.nodes[0].op == "Identity"
    assert result.graph.nodes[0].inputs[0].values.tolist() == [4, 9]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("big = Expand(v, shape)\n y = Add(x, big)", "it would store"),
    ],
)
def test_constants_that_must_not_fold_stay_and_say_why(model, apply, operators, body, reason) -> None:
    outputs = "float[] y, float[] z" if "z =" in body else "float[] y"
    subject = model(body, outputs=outputs, weights="float[1] v, int64[4] shape", values={"shape": [1, 3, 8, 8]})
    result = apply(subject, FoldConstants(max_bytes=64))
    assert not result.modified
    assert reason in result.notes[0].text


@pytest.mark.parametrize("body", ["y = Relu(v)\n z = Relu(x)", "y = Add(v, v)\n z = Add(x, y)"])
def test_an_output_that_reads_constants_only_is_handed_on(model, apply, operators, body) -> None:
    result = apply(model(body, outputs="float[] y, float[] z", weights="float[1] v"), FoldConstants())
    assert sorted(operators(result)) == sorted(["Identity", body.split("z = ")[1].split("(")[0]])
    assert not FoldConstants()(result.work).modified


def test_a_weight_that_is_an_output_is_handed_on(model, operators) -> None:
    subject = model("y = Add(x, v)", outputs="float[] y, float[] v", weights="float[1] v")
    graph, _ = canonicalize(subject)
    assert sorted(operators(PassResult(Work(graph), True))) == ["Add", "Identity"]
    assert [output.name for output in graph.outputs] == ["y", "v"]


def test_an_input_that_is_an_output_stays(model, apply, operators) -> None:
    result = apply(model("y = Relu(x)", outputs="float[] y, float[] x"), SeparateOutputs())
    assert not result.modified and result.graph.outputs[1] is result.graph.inputs[0]


@pytest.mark.parametrize("body", ["y = Dropout(x)", "y = Add(x, zero)", "y = Cast <to = 1> (x)", "y = Identity(x)"])
def test_between_an_input_and_an_output_only_identity_stays(model, apply, operators, body) -> None:
    subject = model(body, weights="float zero", values={"zero": 0.0})
    assert operators(apply(subject, RemoveIdentity())) == ["Identity"]


def test_an_identity_matrix_is_a_constant(model, apply, operators) -> None:
    result = apply(model("e = EyeLike <k = 1> (x)\n y = Add (x, e)", "float[3,4] x"), FoldConstants())
    assert operators(result) == ["Add"]
    np.testing.assert_array_equal(result.graph.nodes[0].inputs[1].values, np.eye(3, 4, 1, np.float32))


def test_a_type_that_a_tensor_names_is_named(model, apply, operators) -> None:
    result = apply(model("h = Shape (x)\n y = CastLike (h, x)", outputs="float[] y"), RemoveIdentity())
    assert operators(result) == ["Shape", "Cast"]


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("y = Reshape (x, n)", "float[1,3,8,8] x, int64[2] n"),
        ("c = Cast <to = 7> (x)\n m = ReduceMax <keepdims = 0> (c)\n y = Range (zero, m, one)", "float[2] x"),
        ("h = Relu (x)\n y = Unique (h)", "float[2,4] x"),
        ("m = Greater (x, x)\n y = Compress (x, m)", "float[4] x"),
        ("two = Add (n, n)\n y = Unsqueeze (x, two)", "float[3,4] x, int64[1] n"),
    ],
)
def test_a_size_that_an_input_gives_is_refused(model, body, inputs) -> None:
    weights = "int64 zero, int64 one"
    subject = model(body, inputs, weights=weights, values={"zero": 0, "one": 1})
    with pytest.raises(UserError, match="depends on the values of input"):
        canonicalize(subject)


def test_a_size_from_a_shape_is_no_input_s_value(model) -> None:
    body = "s = Shape (x)\n f = Cast <to = 1> (s)\n h = Add (f, f)\n n = Cast <to = 7> (h)\n y = Expand (x, n)"
    canonicalize(model(body, "float[1,1] x"))


def test_stored_integers_are_not_turned_back_into_floats(model, apply, operators) -> None:
    body = "w = DequantizeLinear(q, s)\n y = Conv(x, w)"
    assert not apply(model(body, weights="int8[4,3,3,3] q, float s"), FoldConstants()).modified


def test_weights_that_are_quantized_in_the_graph_are_stored_as_integers(model, apply, operators) -> None:
    body = "q = QuantizeLinear(w, s, z)\n v = DequantizeLinear(q, s, z)\n y = Conv(x, v)"
    result = apply(
        model(body, weights="float[4,3,3,3] w, float s, int8 z", values={"s": 0.0125, "z": 0}), FoldConstants()
    )
    assert operators(result) == ["DequantizeLinear", "Conv"]
    assert result.graph.nodes[0].inputs[0].dtype == np.int8


@pytest.mark.parametrize(
    "body",
    [
        "y = Identity(a)",
        "y = Dropout(a)",
        "y = Dropout(a, half)",
        "y = Cast <to = 1> (a)",
        "y = Transpose <perm = [0,1,2,3]> (a)",
        "y = Pad(a, none)",
        "y = Reshape(a, shape)",
        "y = Expand(a, shape)",
        "y = Tile(a, ones)",
        "y = Slice(a, first, last)",
        "y = Concat <axis = 1> (a)",
        "y = Sum(a)",
        "y = Clip(a)",
        "y = Add(a, zero)",
        "y = Mul(one, a)",
        "b = Sub(a, zero)\n c = Identity(b)\n y = Div(c, one)",
    ],
)
def test_what_changes_nothing_goes_and_the_output_keeps_its_name(model, apply, operators, body) -> None:
    values = {
        "half": 0.5,
        "none": [0] * 8,
        "shape": [1, 3, 8, 8],
        "ones": [1] * 4,
        "first": [0],
        "last": [100],
        "zero": 0,
        "one": 1,
    }
    weights = (
        "float half, int64[8] none, int64[4] shape, int64[4] ones, int64[1] first, int64[1] last, float zero, float one"
    )
    result = apply(model("a = Relu(x)\n " + body, weights=weights, values=values), RemoveIdentity())
    assert operators(result) == ["Relu"]
    assert result.graph.outputs[0].name == "y"


def test_a_cast_to_another_type_stays(model, apply) -> None:
    subject = model("b = Cast <to = 10> (x)\n y = Cast <to = 1> (b)")
    assert not apply(subject, RemoveIdentity()).modified


@pytest.mark.parametrize(
    "body",
    [
        "y = Transpose <perm = [0,1,3,2]> (a)",
        "y = Slice(a, end, begin, axis, backwards)",
        "y = Add(a, wide)",
        "y = Sub(zero, a)",
        "y = Div(one, a)",
        "y = Clip(a, zero)",
        "y = Reshape(a, other)",
        "y = Dropout(a, half, train)",
    ],
)
def test_what_looks_like_an_identity_and_is_none_stays(model, apply, body) -> None:
    values = {"end": [-1], "begin": [-9], "axis": [2], "backwards": [-1], "wide": [0, 0], "other": [1, 8, 3, 8]}
    values |= {"zero": 0, "one": 1, "half": 0.0, "train": True}
    weights = "int64[1] end, int64[1] begin, int64[1] axis, int64[1] backwards, float[2,1,1,1] wide, int64[4] other"
    subject = model(
        "a = Relu(x)\n " + body, weights=weights + ", float zero, float one, float half, bool train", values=values
    )
    assert not apply(subject, RemoveIdentity()).modified


def test_an_identity_from_input_to_output_stays_and_says_why(model, apply, operators) -> None:
    result = apply(model("y = Identity(x)"), RemoveIdentity())
    assert operators(result) == ["Identity"]
    assert "a graph input" in result.notes[0].text


def test_an_identity_between_two_outputs_stays(model, apply, operators) -> None:
    result = apply(model("a = Relu(x)\n y = Identity(a)", outputs="float[] a, float[] y"), RemoveIdentity())
    assert operators(result) == ["Relu", "Identity"]


def test_the_readers_of_an_identity_that_is_an_output_read_the_output(model, apply, operators) -> None:
    subject = model("a = Relu(x)\n y = Identity(a)\n b = Neg(a)\n z = Add(b, y)", outputs="float[] y, float[] z")
    result = apply(subject, RemoveIdentity())
    assert operators(result) == ["Relu", "Neg", "Add"]
    assert [tensor.name for tensor in result.graph.outputs] == ["y", "z"]


def test_shapes_that_inference_cannot_follow_are_read_off_a_run(model) -> None:
    subject = model(
        'f = com.microsoft.FusedGemm <activation = "Relu"> (x, w, b)\n y = Relu(f)',
        "float[2,5] x",
        weights="float[5,4] w, float[4] b",
    )
    graph = InferShapes()(Work(gs.import_onnx(subject))).graph
    assert graph.outputs[0].shape == (2, 4)


def test_a_squeeze_of_an_empty_list_of_axes_is_what_onnxruntime_makes_of_it(model) -> None:
    subject = model("y = Squeeze(x, axes)", inputs="float[1,2,1,3] x", weights="int64[0] axes")
    graph, _ = canonicalize(subject)
    assert tuple(graph.outputs[0].shape) == (2, 3)


def test_a_shape_that_depends_on_the_data_names_its_node(model) -> None:
    graph = gs.import_onnx(model("p = Relu(x)\n n = NonZero(p)\n y = Cast <to = 1> (n)", "float[2,5] x"))
    graph.nodes[1].name = "found"
    with pytest.raises(
        UserError, match=r"node found \(NonZero\): the shape of its result depends on the values of input x"
    ):
        InferShapes()(Work(graph))


def test_a_stale_shape_is_replaced(model) -> None:
    graph = gs.import_onnx(model("a = Relu(x)\n y = Neg(a)"))
    graph.nodes[0].outputs[0].shape = (7, 3, 8, 8)
    assert InferShapes()(Work(graph)).modified
    assert graph.nodes[0].outputs[0].shape == (1, 3, 8, 8)
    assert not InferShapes()(Work(graph)).modified


def test_equal_nodes_are_computed_once(model, apply, operators) -> None:
    body = "a = Reshape(x, s)\n b = Reshape(x, t)\n c = Relu(a)\n d = Relu(b)\n y = Add(c, d)"
    subject = model(body, weights="int64[2] s, int64[2] t", values={"s": [3, 64], "t": [3, 64]})
    assert operators(apply(subject, MergeDuplicates())) == ["Reshape", "Relu", "Add"]


@pytest.mark.parametrize(
    "body",
    [
        "a = Reshape(x, s)\n b = Reshape(x, t)\n y = MatMul(a, b)",
        "a = LeakyRelu <alpha = 0.1> (x)\n b = LeakyRelu <alpha = 0.2> (x)\n y = Add(a, b)",
        "q = QuantizeLinear(x, c)\n a = DequantizeLinear(q, c)\n b = DequantizeLinear(q, c)\n y = Add(a, b)",
        "y = Relu(x)\n z = Relu(x)",
    ],
)
def test_nodes_that_differ_or_have_a_name_to_keep_stay_apart(model, apply, body) -> None:
    outputs = "float[] y, float[] z" if " z =" in body else "float[] y"
    subject = model(
        body, outputs=outputs, weights="int64[2] s, int64[2] t, float c", values={"s": [3, 64], "t": [64, 3]}
    )
    assert not apply(subject, MergeDuplicates()).modified


@pytest.mark.parametrize(
    ("body", "expected"), [("y = Relu(r)", True), ("y = Mul(r, s)", True), ("y = Add(r, v)", False)]
)
def test_a_reshape_behind_a_gemm_sinks_below_what_works_on_each_element(
    model, apply, operators, body, expected
) -> None:
    subject = model(
        f"g = Gemm(x, w)\n r = Reshape(g, shape)\n {body}",
        "float[6,5] x",
        weights="float[5,4] w, int64[3] shape, float s, float[4] v",
        values={"shape": [2, 3, 4]},
    )
    assert (operators(apply(subject, SinkReshape()))[-1] == "Reshape") == expected


def test_names_are_there_and_unique_and_outputs_keep_theirs(model) -> None:
    graph = gs.import_onnx(model("a = Relu(x)\n b = Relu(a)\n y = Relu(b)"))
    graph.nodes[0].name = graph.nodes[1].name = "relu"
    graph.nodes[0].outputs[0].name = "y"
    assert NameNodes()(Work(graph)).modified
    assert [node.name for node in graph.nodes] == ["relu", "relu_1", "y"]
    names = [tensor.name for node in graph.nodes for tensor in node.outputs]
    assert len(set(names)) == 3 and names[2] == "y"
    assert not NameNodes()(Work(graph)).modified


def test_a_node_whose_first_output_is_left_out_is_named_for_the_next(model) -> None:
    outputs = [gs.Variable.empty(), gs.Variable("h", np.float32, [1, 2, 3])]
    graph = gs.import_onnx(model("y = Relu(x)"))
    graph.nodes.append(gs.Node("RNN", "", {"hidden_size": 3}, [graph.inputs[0]], outputs))
    graph.outputs.append(outputs[1])
    assert NameNodes()(Work(graph)).modified
    assert graph.nodes[-1].name == "h"
