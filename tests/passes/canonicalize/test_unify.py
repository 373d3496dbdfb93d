"""One spelling for each operator, whatever the exporter wrote."""

import numpy as np
import pytest

from bevel.calib.errors import UserError
from bevel.passes.canonicalize.unify_clip import UnifyClip
from bevel.passes.canonicalize.unify_conv import UnifyConv
from bevel.passes.canonicalize.unify_gemm import UnifyGemm
from bevel.passes.canonicalize.unify_pool import UnifyPool
from bevel.passes.canonicalize.unify_reshape import UnifyReshape

GEMM = "float[5,4] w, float[4] b, float[4,5] wt, float[1,4] row, float[2,1] column, float s, float[2,5,4] batch"
GEMM += ", float[2,4] whole, float[1] single, int64[1] zero, int64[1] four, int64[1] one, float[4] unread"
WINDOW = {"zero": [0], "four": [4], "one": [1], "unread": [np.nan] * 4}


@pytest.mark.parametrize(
    ("body", "inputs", "expected"),
    [
        ("y = MatMul(x, w)", "float[2,5] x", ["Gemm"]),
        ("m = MatMul(x, w)\n y = Add(m, b)", "float[2,5] x", ["Gemm"]),
        ("m = MatMul(x, w)\n y = Add(row, m)", "float[2,5] x", ["Gemm"]),
        ("y = Gemm(x, w)", "float[2,5] x", ["Gemm"]),
        ("y = Gemm <transB = 1, alpha = 0.5, beta = 3.0> (x, wt, row)", "float[2,5] x", ["Gemm"]),
        ("y = Gemm <transA = 1> (x, w, s)", "float[5,2] x", ["Transpose", "Gemm"]),
        ("m = MatMul(x, w)\n y = Add(m, b)", "float[1,3,2,5] x", ["Reshape", "Gemm", "Reshape"]),
        ("m = MatMul(x, w)\n y = Add(m, column)", "float[2,5] x", ["Gemm", "Add"]),
        ("y = Gemm(x, w, column)", "float[2,5] x", ["Gemm", "Add"]),
        ("y = Gemm <beta = 0.0> (x, w, unread)", "float[2,5] x", ["Gemm"]),
        ("y = Gemm <beta = 0.5> (x, w, whole)", "float[2,5] x", ["Gemm", "Add"]),
        ("y = Gemm <transA = 1, transB = 1, alpha = 2.0> (x, wt, whole)", "float[5,2] x", ["Transpose", "Gemm", "Add"]),
        ("y = Gemm(x, w, single)", "float[2,5] x", ["Gemm"]),
        (
            "r = Relu(x)\n c = Slice(r, zero, four, one)\n y = Gemm <beta = 0.5> (x, w, c)",
            "float[2,5] x",
            ["Relu", "Gemm", "Slice", "Mul", "Add"],
        ),
    ],
)
def test_a_product_by_constant_weights_is_a_gemm(model, apply, operators, body, inputs, expected) -> None:
    result = apply(model(body, inputs, weights=GEMM, values=WINDOW), UnifyGemm())
    assert operators(result) == expected
    gemm = next(node for node in result.graph.nodes if node.op == "Gemm")
    assert not gemm.attrs
    assert [tuple(tensor.shape) for tensor in gemm.inputs[1:]] == [(5, 4), (4,)]
    assert not UnifyGemm()(result.work).modified


@pytest.mark.parametrize(
    ("body", "inputs", "reason"),
    [
        ("y = MatMul(wt, x)", "float[5,2] x", "its constant is on the left"),
        ("y = MatMul(x, batch)", "float[2,3,5] x", "a batch of matrices"),
        ("y = MatMul(x, w)", "float[5] x", "rank 1"),
    ],
)
def test_other_products_stay_and_say_why(model, apply, body, inputs, reason) -> None:
    result = apply(model(body, inputs, weights=GEMM), UnifyGemm())
    assert not result.modified
    assert reason in result.notes[0].text


@pytest.mark.parametrize(
    ("attributes", "inputs", "expected"),
    [
        ("", "float[2,5] x, float[5,4] z, float[4] c", ["MatMul", "Add"]),
        (
            "<transA = 1, transB = 1>",
            "float[5,2] x, float[4,5] z, float[2,1] c",
            ["MatMul", "Transpose", "Transpose", "Add"],
        ),
        ("<alpha = 0.5, beta = 2.0>", "float[2,5] x, float[5,4] z, float[2,4] c", ["MatMul", "Mul", "Mul", "Add"]),
    ],
)
def test_a_gemm_of_two_activations_is_a_matmul_and_what_else_it_does(
    model, apply, operators, attributes, inputs, expected
) -> None:
    result = apply(model(f"y = Gemm {attributes} (x, z, c)", inputs), UnifyGemm())
    assert sorted(operators(result)) == sorted(expected)
    assert not UnifyGemm()(result.work).modified


def test_a_gemm_of_two_activations_without_a_third_input_is_a_matmul(model, apply, operators) -> None:
    assert operators(apply(model("y = Gemm(x, z)", "float[2,5] x, float[5,4] z"), UnifyGemm())) == ["MatMul"]


def test_a_product_of_two_activations_stays_a_matmul(model, apply) -> None:
    result = apply(model("t = Transpose(x)\n y = MatMul(x, t)", "float[2,5] x"), UnifyGemm())
    assert not result.modified and not result.notes


def test_a_product_that_is_also_an_output_keeps_its_add(model, apply, operators) -> None:
    subject = model("m = MatMul(x, w)\n y = Add(m, b)", "float[2,5] x", "float[] y, float[] m", GEMM)
    assert operators(apply(subject, UnifyGemm())) == ["Gemm", "Add"]


@pytest.mark.parametrize(("weights", "axis"), [("float s, int8 z", 0), ("float[4] s, int8[4] z", 0)])
def test_the_stored_integers_of_a_transposed_gemm_are_transposed_with_their_scales(
    model, apply, operators, weights, axis
) -> None:
    values = {"q": np.arange(20).reshape(4, 5), "z": np.zeros(4 if "[4]" in weights else ()), "b": np.arange(4)}
    subject = model(
        f"w = DequantizeLinear <axis = {axis}> (q, s, z)\n y = Gemm <transB = 1> (x, w, b)",
        "float[2,5] x",
        weights=f"int8[4,5] q, {weights}, float[4] b",
        values=values,
    )
    result = apply(subject, UnifyGemm())
    assert operators(result) == ["DequantizeLinear", "Gemm"]
    codes = result.graph.nodes[0].inputs[0]
    assert codes.dtype == np.int8 and np.array_equal(codes.values, values["q"].T)


@pytest.mark.parametrize(
    ("attributes", "size", "pads"),
    [
        ('auto_pad = "SAME_UPPER", strides = [2,2]', "8,8", [0, 0, 1, 1]),
        ('auto_pad = "SAME_LOWER", strides = [2,2]', "8,8", [1, 1, 0, 0]),
        ('auto_pad = "SAME_UPPER", strides = [2,2]', "7,8", [1, 0, 1, 1]),
        ('auto_pad = "VALID"', "8,8", [0, 0, 0, 0]),
        ("pads = [1,0,2,1]", "8,8", [1, 0, 2, 1]),
        ("", "8,8", [0, 0, 0, 0]),
    ],
)
def test_a_convolution_spells_out_its_window(model, apply, attributes, size, pads) -> None:
    braces = f"<{attributes}>" if attributes else ""
    result = apply(model(f"y = Conv {braces} (x, w)", f"float[1,3,{size}] x", weights="float[4,3,3,3] w"), UnifyConv())
    (conv,) = result.graph.nodes
    assert conv.attrs["pads"] == pads
    assert set(conv.attrs) == {"kernel_shape", "strides", "dilations", "pads", "group"}
    assert len(conv.inputs) == 3
    assert not UnifyConv()(result.work).modified


@pytest.mark.parametrize(
    "attributes",
    [
        'auto_pad = "SAME_UPPER", strides = [2,2]',
        'auto_pad = "SAME_LOWER", strides = [2,2]',
        "output_shape = [10,9]",
        "strides = [2,2], output_padding = [1,0]",
        'auto_pad = "VALID", strides = [3,2]',
    ],
)
def test_a_transposed_convolution_spells_out_its_window(model, apply, attributes) -> None:
    result = apply(model(f"y = ConvTranspose <{attributes}> (x, w)", weights="float[3,4,3,3] w"), UnifyConv())
    (conv,) = result.graph.nodes
    assert "auto_pad" not in conv.attrs and "output_shape" not in conv.attrs
    assert len(conv.inputs) == 3


def test_a_convolution_over_one_axis_keeps_its_rank(model, apply) -> None:
    result = apply(
        model('y = Conv <auto_pad = "SAME_UPPER"> (x, w)', "float[1,3,9] x", weights="float[4,3,5] w"), UnifyConv()
    )
    assert result.graph.nodes[0].attrs["pads"] == [2, 2]
    assert len(result.graph.outputs[0].shape) == 3


@pytest.mark.parametrize(
    ("pool", "pads"),
    [
        ("MaxPool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1>", [0, 0, 1, 1]),
        ("MaxPool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1>", [0, 0, 0, 0]),
        ("MaxPool <kernel_shape = [3,3], dilations = [4,4], strides = [2,2]>", [0, 0, 1, 1]),
        ('MaxPool <kernel_shape = [3,3], strides = [2,2], auto_pad = "SAME_LOWER">', [1, 1, 0, 0]),
        ('MaxPool <kernel_shape = [3,1], dilations = [1,2], auto_pad = "SAME_UPPER">', [1, 0, 1, 0]),
        ("AveragePool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1>", [0, 0, 1, 1]),
        ('AveragePool <kernel_shape = [3,3], auto_pad = "SAME_UPPER", strides = [2,2]>', [0, 0, 1, 1]),
        ("AveragePool <kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1>", [1, 1, 1, 1]),
    ],
)
def test_a_pool_spells_out_its_window(model, apply, pool, pads) -> None:
    result = apply(model(f"y = {pool} (x)"), UnifyPool())
    (node,) = result.graph.nodes
    assert node.attrs["pads"] == pads
    assert not {"auto_pad", "ceil_mode"} & set(node.attrs)
    assert not UnifyPool()(result.work).modified


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_auto_pad_that_onnx_and_onnxruntime_size_differently_is_refused(model, apply, op) -> None:
    pool = f'{op} <kernel_shape = [3,3], dilations = [2,2], strides = [2,2], auto_pad = "SAME_UPPER">'
    with pytest.raises(UserError, match=r"\(" + op + r"\): auto_pad SAME with dilations .* give it pads"):
        apply(model(f"y = {pool} (x)"), UnifyPool())


def test_ceil_mode_that_counts_its_padding_stays_and_says_why(model, apply) -> None:
    pool = "AveragePool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1, count_include_pad = 1, pads = [0,0,0,0]>"
    result = apply(model(f"y = {pool} (x)"), UnifyPool())
    assert not result.modified
    assert "count_include_pad" in result.notes[0].text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = AveragePool <kernel_shape = [8,8]> (x)", ["GlobalAveragePool"]),
        ("y = ReduceMean(x, axes)", ["GlobalAveragePool"]),
        ("y = ReduceMean <keepdims = 0> (x, negative)", ["GlobalAveragePool", "Reshape"]),
        ("y = ReduceMean(x, channel)", ["ReduceMean"]),
        ("y = ReduceMean(x)", ["ReduceMean"]),
        ("y = AveragePool <kernel_shape = [7,8]> (x)", ["AveragePool"]),
        ("y = AveragePool <kernel_shape = [8,8], pads = [1,1,1,1]> (x)", ["AveragePool"]),
    ],
)
def test_only_the_mean_over_all_positions_is_a_global_average_pool(model, apply, operators, body, expected) -> None:
    values = {"axes": [2, 3], "negative": [-1, -2], "channel": [1]}
    subject = model(body, weights="int64[2] axes, int64[2] negative, int64[1] channel", values=values)
    assert operators(apply(subject, UnifyPool())) == expected


BOUNDS = {"lo": -0.5, "hi": 1.0, "zero": 0.0, "six": 6.0, "inf": np.inf, "vector": [0.0] * 8, "one": [0.25]}
CLIP = "float lo, float hi, float zero, float six, float inf, float[8] vector, float[1] one"


@pytest.mark.parametrize(
    ("body", "expected", "bounds"),
    [
        ("y = Min(x, hi)", ["Clip"], (-np.inf, 1.0)),
        ("y = Max(one, x)", ["Clip"], (0.25, np.inf)),
        ("y = Max(x, zero)", ["Relu"], None),
        ("y = Clip(x, zero, inf)", ["Relu"], None),
        ("y = Clip(x, , hi)", ["Clip"], (-np.inf, 1.0)),
        ("a = Relu(x)\n y = Min(a, six)", ["Clip"], (0.0, 6.0)),
        ("a = Relu(x)\n y = Relu(a)", ["Relu"], None),
        ("a = Clip(x, lo, hi)\n y = Relu(a)", ["Clip"], (0.0, 1.0)),
        ("a = Clip(x, hi, six)\n y = Clip(a, lo, zero)", ["Clip"], (0.0, 0.0)),
        ("a = Max(x, lo)\n b = Min(a, six)\n y = Clip(b, zero, hi)", ["Clip"], (0.0, 1.0)),
    ],
)
def test_clamps_become_one_relu_or_clip(model, apply, operators, body, expected, bounds) -> None:
    result = apply(model(body, weights=CLIP, values=BOUNDS), UnifyClip())
    assert operators(result) == expected
    if bounds is not None:
        assert tuple(float(tensor.values) for tensor in result.graph.nodes[0].inputs[1:]) == bounds
    assert not UnifyClip()(result.work).modified


@pytest.mark.parametrize(
    ("body", "inputs", "outputs"),
    [
        ("y = Max(x, vector)", "float[1,3,8,8] x", "float[] y"),
        ("y = Max(x, one)", "float x", "float[] y"),
        ("y = Clip(x, six, hi)", "float[2] x", "float[] y"),
        ("a = Relu(x)\n y = Clip(a, lo, hi)", "float[2] x", "float[] y, float[] a"),
        ("y = PRelu(x, vector)", "float[2,8] x", "float[] y"),
        ("y = Max(x, limit)", "int32[2] x", "int32[] y"),
    ],
)
def test_what_is_no_clamp_by_numbers_stays(model, apply, body, inputs, outputs) -> None:
    subject = model(body, inputs, outputs, CLIP + ", int32 limit", BOUNDS)
    assert not apply(subject, UnifyClip()).modified


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Flatten(x)", ["Reshape"]),
        ("y = Reshape(x, minus)", ["Reshape"]),
        ("a = Unsqueeze(x, first)\n y = Squeeze(a)", ["Reshape"]),
        ("a = Flatten(x)\n b = Relu(a)\n y = Flatten(b)", ["Reshape", "Relu", "Reshape"]),
        ("y = Transpose <perm = [0,2,3,1]> (x)", ["Transpose"]),
    ],
)
def test_a_change_of_shape_is_one_reshape(model, apply, operators, body, expected) -> None:
    subject = model(body, weights="int64[2] minus, int64[1] first", values={"minus": [-1, 8], "first": [0]})
    result = apply(subject, UnifyReshape(transposes=True))
    assert operators(result) == expected
    assert not UnifyReshape(transposes=True)(result.work).modified


@pytest.mark.parametrize(
    ("shape", "perm", "expected"),
    [("1,49,10,1", "[0,3,1,2]", "Reshape"), ("1,4,1,1", "[0,2,3,1]", "Reshape"), ("1,3,2,1", "[0,2,1,3]", "Transpose")],
)
def test_a_transpose_that_moves_only_ones_is_a_reshape(model, apply, operators, shape, perm, expected) -> None:
    subject = model(f"y = Transpose <perm = {perm}> (x)", f"float[{shape}] x")
    assert operators(apply(subject, UnifyReshape(transposes=True))) == [expected]
    assert operators(apply(subject, UnifyReshape())) == ["Transpose"]


@pytest.mark.parametrize("shape", [[10, 8], [9, 7], [8, 6]])
def test_an_output_shape_becomes_pads_or_output_padding(model, apply, shape) -> None:
    body = f"y = ConvTranspose <strides = [3,2], output_shape = {shape}> (x, w)"
    result = apply(model(body, "float[1,1,3,3] x", weights="float[1,2,3,3] w"), UnifyConv())
    (node,) = result.graph.nodes
    assert "output_shape" not in node.attrs
    assert node.attrs["output_padding"] == [max(size - full, 0) for size, full in zip(shape, (9, 7), strict=True)]
