"""The whole way, on graphs as exporters write them."""

import sys

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.errors import UserError
from bevel.passes.canonicalize import canonicalize, check_equivalence, random_inputs
from bevel.passes.canonicalize.convert_opset import OPSET, convert_opset
from bevel.passes.canonicalize.evaluate import Tolerance, excess

WEIGHTS = "float[4,3,3,3] w, float[4] g, float[4] b, float[4] m, float[4] v, float[4,5] dense, float[5] bias"


def operators(graph: gs.Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def test_a_channels_last_network_keeps_one_transpose_at_its_input(model) -> None:
    body = """
        a = Transpose <perm = [0,3,1,2]> (x)
        c = Conv <auto_pad = "SAME_UPPER", strides = [2,2]> (a, w)
        d = Transpose <perm = [0,2,3,1]> (c)
        e = Mul(d, g)
        f = Add(e, b)
        r = Relu(f)
        s = Min(r, six)
        p = ReduceMean <keepdims = 0> (s, axes)
        q = MatMul(p, dense)
        y = Add(q, bias)
    """
    values = {"axes": [1, 2], "six": 6.0}
    subject = model(body, "float[1,8,8,3] x", weights=f"{WEIGHTS}, float six, int64[2] axes", values=values)
    graph, notes = canonicalize(subject)
    assert operators(graph) == ["Transpose", "Conv", "Clip", "GlobalAveragePool", "Reshape", "Gemm"]
    assert "absorbed" in " ".join(note.text for note in notes)


def test_a_torch_export_loses_its_shape_arithmetic(model) -> None:
    body = """
        c = Conv(x, w)
        n = BatchNormalization(c, g, b, m, v)
        r = Relu(n)
        p = GlobalAveragePool(r)
        s = Shape(p)
        zero = Constant <value = int64 {0}> ()
        i = Gather(s, zero)
        axes = Constant <value_ints = [0]> ()
        u = Unsqueeze(i, axes)
        minus = Constant <value_ints = [-1]> ()
        t = Concat <axis = 0> (u, minus)
        f = Reshape(p, t)
        d = Dropout(f)
        y = Gemm <transB = 1> (d, dense, bias)
    """
    subject = model(body, weights=WEIGHTS.replace("float[4,5] dense", "float[5,4] dense"))
    graph, _ = canonicalize(subject)
    assert operators(graph) == ["Conv", "Relu", "GlobalAveragePool", "Reshape", "Gemm"]
    assert all(not node.attrs for node in graph.nodes if node.op == "Gemm")


def test_what_is_promised_of_every_graph_holds(model) -> None:
    body = "h = MatMul(x, dense)\n i = Add(h, bias)\n j = Relu(i)\n k = MatMul(j, back)\n y = Add(k, x)"
    subject = model(body, "float[1,6,4] x", weights=WEIGHTS + ", float[5,4] back")
    graph, _ = canonicalize(subject)
    assert operators(graph) == ["Reshape", "Gemm", "Relu", "Gemm", "Reshape", "Add"]
    tensors = [tensor for node in graph.nodes for tensor in (*node.inputs, *node.outputs)]
    assert all(isinstance(size, int) for tensor in tensors for size in tensor.shape)
    assert all(tensor.dtype is not None for tensor in tensors)
    names = [node.name for node in graph.nodes]
    assert all(names) and len(set(names)) == len(names)
    onnx.checker.check_model(gs.export_onnx(graph), full_check=True)


def test_a_second_run_finds_nothing(model) -> None:
    once, _ = canonicalize(
        model("c = Conv(x, w)\n r = Relu(c)\n y = MaxPool <kernel_shape = [2,2]> (r)", weights=WEIGHTS)
    )
    twice, _ = canonicalize(gs.export_onnx(once))
    assert gs.export_onnx(once).SerializeToString() == gs.export_onnx(twice).SerializeToString()


def test_a_quantized_model_keeps_its_scales_and_integers(model) -> None:
    body = """
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        f = DequantizeLinear <axis = 0> (w, ws)
        c = Conv(d, f)
        r = Relu(c)
        p = QuantizeLinear(r, s, z)
        y = DequantizeLinear(p, s, z)
    """
    values = {"w": np.arange(-54, 54), "s": 0.05, "z": 3, "ws": [0.01, 0.02, 0.03, 0.04]}
    subject = model(body, weights="int8[4,3,3,3] w, float s, int8 z, float[4] ws", values=values)
    graph, _ = canonicalize(subject)
    assert sorted(operators(graph)) == sorted(node.op_type for node in subject.graph.node)
    stored = {tensor.name: tensor.values for tensor in graph.tensors().values() if isinstance(tensor, gs.Constant)}
    assert stored["w"].dtype == np.int8 and np.array_equal(stored["w"].ravel(), values["w"])


def test_two_runs_give_the_same_bytes(model) -> None:
    subject = model("c = Conv(x, w)\n n = BatchNormalization(c, g, b, m, v)\n y = Relu(n)", weights=WEIGHTS)
    one, other = (gs.export_onnx(canonicalize(subject)[0]).SerializeToString() for _ in range(2))
    assert one == other


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_old_opsets_are_converted_and_compute_the_same(model, opset) -> None:
    body = "c = Conv(x, w)\n r = Clip <min = 0.0, max = 6.0> (c)\n f = Flatten(r)\n y = Softmax(f)"
    if opset > 10:
        body = body.replace("Clip <min = 0.0, max = 6.0> (c)", "Clip(c, low, high)")
    values = {"low": 0.0, "high": 6.0}
    subject = model(body, weights="float[4,3,3,3] w, float low, float high", values=values, opset=opset)
    graph, _ = canonicalize(subject)
    assert operators(graph) == ["Conv", "Clip", "Reshape", "Softmax"]
    assert graph.opset == OPSET


def test_weights_survive_the_conversion(model) -> None:
    subject = model("y = Conv(x, w)", weights="float[4,3,3,3] w", opset=11)
    assert convert_opset(subject).graph.initializer[0].raw_data == subject.graph.initializer[0].raw_data


def test_a_newer_opset_comes_down_as_far_as_its_operators_allow(model) -> None:
    assert convert_opset(model("y = Relu(x)", opset=22)).opset_import[0].version == OPSET
    assert convert_opset(model("y = Relu(x)", opset=23)).opset_import[0].version == OPSET
    body = "y = RMSNormalization(x, s)"
    assert convert_opset(model(body, weights="float[8] s", opset=23)).opset_import[0].version == 23


def test_the_converter_s_own_mistake_is_named_as_one(model, monkeypatch) -> None:
    """Resize of opset 10 without what `old_spellings` puts right."""
    module = sys.modules["bevel.passes.canonicalize.convert_opset"]  # the package has a function of that name
    monkeypatch.setattr(module, "correct", lambda converted, version: None)
    subject = model('y = Resize <mode = "linear"> (x, s)', weights="float[4] s", values={"s": [1, 1, 2, 2]}, opset=10)
    with pytest.raises(UserError, match="converts it from opset 10 to another function"):
        canonicalize(subject)


def test_a_model_local_function_is_inlined() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[1,4] x) => (float[1,4] y) { y = local.twice(x) }
        <domain: "local", opset_import: ["" : 17]>
        twice (a) => (b) { c = Relu(a)
        b = Add(c, c) }
    """
    graph, _ = canonicalize(onnx.parser.parse_model(text))
    assert operators(graph) == ["Relu", "Add"]


def test_a_wrong_rewrite_is_caught_and_names_the_output(model) -> None:
    right = model("y = Conv(x, w)", weights="float[4,3,3,3] w")
    wrong = model("y = Conv(x, w)", weights="float[4,3,3,3] w", values={"w": np.full(108, 1.001)})
    with pytest.raises(AssertionError, match="changed output y"):
        check_equivalence(right, wrong, [random_inputs(right)])


@pytest.mark.parametrize(("shift", "equal"), [(1, True), (2, False)])
def test_one_rounding_that_tips_is_no_other_function(model, shift, equal) -> None:
    """However little of its range a quantized output uses."""
    body = "q = QuantizeLinear (x, s, z)\n y = DequantizeLinear (q, s, z)"
    one, other = (
        model(
            body if not by else f"h = Add (x, b)\n {body.replace('x', 'h')}",
            "float[1,4] x",
            weights=weights,
            values=values,
        )
        for by in (0, shift)
        for weights in ["float s, int8 z, float b"]
        for values in [{"s": 0.5, "z": 0, "b": 0.5 * by}]
    )
    sample = {"x": np.array([[0.0, 0.5, -0.5, 1.0]], np.float32)}
    if equal:
        check_equivalence(one, other, [sample])
        return
    with pytest.raises(AssertionError, match="changed output y"):
        check_equivalence(one, other, [sample])


def test_a_model_that_does_not_run_is_the_users_to_put_right(model) -> None:
    subject = model('y = Conv <auto_pad = "SAME_UPPER", dilations = [2,1]> (x, w)', weights="float[4,3,3,3] w")
    with pytest.raises(UserError, match="cannot run the model as it was given"):
        canonicalize(subject)


@pytest.mark.parametrize(
    ("expected", "found", "equal"),
    [
        ([1.0, np.nan], [1.0, np.nan], True),
        ([1.0, np.nan], [np.nan, 1.0], False),
        ([1.0, np.inf], [1.0, -np.inf], False),
        ([1.0, 2.0], [1.0, np.inf], False),
        ([1.0, 100.0], [1.05, 100.0], True),
        ([1.0, 100.0], [1.2, 100.0], False),
    ],
)
def test_excess_is_measured_against_the_peak(expected, found, equal) -> None:
    tolerance = Tolerance(relative=1e-3, absolute=0)
    assert (excess(np.array(expected), np.array(found), tolerance) <= 1) == equal


def test_integers_are_equal_or_within_the_steps_allowed() -> None:
    one, other = np.array([3, 4], np.int8), np.array([3, 5], np.int8)
    assert excess(one, one, Tolerance(0, 0)) == 0
    assert excess(one, other, Tolerance(1, 1)) == float("inf")
    assert excess(one, other, Tolerance(0, 0, steps=1)) == 1
