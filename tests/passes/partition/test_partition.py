"""Integer graphs as programs: what costs a kernel and what does not, and where floats are allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from bevel.backends.program.op import Role
from bevel.calib.data.dataset import open_dataset
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import model_inputs
from bevel.models import data, names, path
from bevel.passes.exchange.load import fix_batch, load_model
from bevel.passes.partition.partition import dequantize_constants

CONV = "float[4,3,3,3] w, float[4] b"
LAST = "t = Transpose <perm = [0,3,1,2]> (x)\n"
FIRST = "y = Transpose <perm = [0,2,3,1]>"


HEADS = """
q = MatMul (x, wq)
k = MatMul (x, wk)
v = MatMul (x, wv)
q4 = Reshape (q, heads)
k4 = Reshape (k, heads)
v4 = Reshape (v, heads)
qh = Transpose <perm = [0,2,1,3]> (q4)
kh = Transpose <perm = [0,2,3,1]> (k4)
vh = Transpose <perm = [0,2,1,3]> (v4)
scores = MatMul (qh, kh)
shares = Softmax (scores)
o = MatMul (shares, vh)
oh = Transpose <perm = [0,2,1,3]> (o)
o3 = Reshape (oh, tokens)
y = MatMul (o3, wo)
"""
SHAPES = {"pixels": [1, 4, -1], "heads": [1, 5, 2, 4], "tokens": [1, 5, 8]}
IMAGE, LAST_IMAGE = "float[1,3,4,4] x", "float[1,6,6,3] x"
MOVED = {
    "images channels last": (f"{LAST}y = Conv (t, w, b)", LAST_IMAGE, CONV, "Conv Transpose"),
    "images channels last at both ends": (f"{LAST}c = Conv (t, w, b)\n{FIRST} (c)", LAST_IMAGE, CONV, "Conv"),
    "mean of an image": (
        f"{LAST}c = Conv (t, w, b)\n g = GlobalAveragePool (c)\n y = Flatten (g)",
        LAST_IMAGE,
        CONV,
        "Conv ReduceMean",
    ),
    "one pixel flattened": ("c = Conv (x, w, b)\n y = Flatten (c)", "float[1,3,3,3] x", CONV, "Transpose Conv"),
    "pixels flattened": (
        "c = Conv (x, w, b)\n f = Flatten (c)\n y = Gemm (f, m)",
        IMAGE,
        f"{CONV}, float[16,5] m",
        "Transpose Conv Gemm",
    ),
    "pixels of two images flattened": (
        "c = Conv (x, w, b)\n f = Flatten (c)\n y = Gemm (f, m)",
        "float[2,3,5,4] x",
        f"{CONV}, float[24,5] m",
        "Transpose Conv Gemm",
    ),
    "pixels flattened for a product and a sum": (
        "c = Conv (x, w, b)\n f = Flatten (c)\n g = Gemm (f, m)\n y = Add (f, g)",
        IMAGE,
        f"{CONV}, float[16,16] m",
        "Transpose Conv Gemm Transpose Add",
    ),
    "one channel": ("y = Conv (x, w)", "float[1,1,6,6] x", "float[1,1,3,3] w", "Conv"),
    "one row transposed": ("y = Transpose <perm = [0,3,1,2]> (x)", "float[1,1,6,1] x", "", "Copy"),
    "an input reshaped": ("y = Flatten (x)", "float[2,3,4] x", "", "Copy"),
    "pooled and joined": (
        f"{LAST}p = MaxPool <kernel_shape = [2,2]> (t)\n c = Concat <axis = 1> (p, p)\n{FIRST} (c)",
        LAST_IMAGE,
        "",
        "MaxPool Concat",
    ),
    "pixels that become tokens": (
        "c = Conv (x, w, b)\n r = Reshape (c, pixels)\n t = Transpose <perm = [0,2,1]> (r)\n y = MatMul (t, m)",
        IMAGE,
        f"{CONV}, int64[3] pixels, float[4,5] m",
        "Transpose Conv Gemm",
    ),
    "heads of attention": (
        HEADS,
        "float[1,5,8] x",
        "float[8,8] wq, float[8,8] wk, float[8,8] wv, float[8,3] wo, int64[4] heads, int64[3] tokens",
        "Gemm Gemm Gemm MatMul Softmax MatMul Gemm",
    ),
}


@pytest.mark.parametrize(("body", "inputs", "weights", "calls"), MOVED.values(), ids=MOVED)
def test_bytes_move_only_where_they_have_to(
    text: Any, stages: Any, body: str, inputs: str, weights: str, calls: str
) -> None:
    made = stages(text(body, inputs, weights=weights, values=SHAPES))
    assert made.calls == calls.split()
    for sample in made.extremes():
        made.run(sample)


def test_constants_are_reordered_when_compiling_and_lie_in_flash(text: Any, stages: Any) -> None:
    body = f"{LAST}c = Conv (t, w, b)\n s = Sub (v, c)\n y = Transpose <perm = [0,2,3,1]> (s)"
    made = stages(text(body, "float[1,6,6,3] x", weights=f"{CONV}, float[1,4,4,4] v"))
    assert made.calls == ["Conv", "Add"]
    (stored,) = made.program.constants.values()
    assert stored.shape == (1, 4, 4, 4) and not np.array_equal(stored, stored.transpose(0, 3, 1, 2))
    for sample in made.extremes():
        made.run(sample)


def test_outputs_have_buffers_of_their_own(text: Any, stages: Any) -> None:
    made = stages(
        text("y = Flatten (x)\n z = Reshape (x, s)", "float[2,3,4] x", "float[] y, float[] z", "int64[1] s", {"s": -1})
    )
    ports = (*made.program.inputs, *made.program.outputs)
    assert len({port.buffer for port in ports}) == 3
    assert not {port.buffer for port in made.program.outputs} & set(made.program.constants)


def test_every_buffer_is_written_once_before_it_is_read(text: Any, stages: Any) -> None:
    body = "c = Conv <pads = [1,1,1,1]> (x, w, b)\n r = Relu (c)\n s = Conv <pads = [1,1,1,1]> (r, v)\n y = Add (r, s)"
    program = stages(text(body, weights=f"{CONV}, float[4,4,3,3] v")).program
    written = {port.buffer for port in program.inputs} | set(program.constants)
    for call in program.calls:
        assert set(call.inputs) <= written and call.output not in written
        written.add(call.output)
        (result,) = call.kernel.roles(Role.OUTPUT)
        assert program.buffers[call.output].bytes == result.bytes
    assert written == set(program.buffers)


def test_microcontroller_is_refused_the_float_nodes_by_name(text: Any, stages: Any) -> None:
    body = 'm = Resize <mode = "cubic"> (x, , , n)\n y = Trilu (m)'
    with pytest.raises(UserError, match=r"m \(Resize\): .* mode cubic; .*; y \(Trilu\); replace them"):
        stages(text(body, "float[1,1,4,4] x", weights="int64[4] n", values={"n": [1, 1, 8, 8]}))


def test_long_lists_of_refused_nodes_are_cut(text: Any, stages: Any) -> None:
    body = "\n".join(f"a{i + 1} = Trilu (a{i})" for i in range(11))
    with pytest.raises(UserError, match=r"a4 \(Trilu\); and 7 more; replace"):
        stages(text(body, "float[3,4] a0", "float[] a11"))


REFUSED = {
    "computed indices": (
        "i = Cast <to = 7> (j)\n y = Gather (x, i)",
        "float[3,4] x, float[2] j",
        r"y \(Gather\): its indices are computed",
    ),
    "a mode": (
        'y = Resize <mode = "cubic"> (x, , n)',
        "float[1,1,4,4] x",
        r"y \(Resize\): it interpolates in mode cubic",
    ),
    "a rank": (
        "y = ConvTranspose (x, k)",
        "float[1,1,4,4,4] x",
        r"y \(ConvTranspose\): only 1-D and 2-D transposed convolutions",
    ),
}


@pytest.mark.parametrize(("body", "inputs", "reason"), REFUSED.values(), ids=REFUSED)
def test_refusal_gives_the_reason_that_the_code_knows(
    body: str, inputs: str, reason: str, text: Any, stages: Any
) -> None:
    with pytest.raises(UserError, match=reason):
        stages(text(body, inputs, weights="float[4] n, float[1,1,2,2,2] k", values={"n": [1, 1, 2, 2]}))


def test_refusal_of_a_tail_names_the_tensor_to_cut_at(text: Any, stages: Any) -> None:
    with pytest.raises(UserError, match=r"--outputs-at r$"):
        stages(text("r = Relu (x)\n y = Trilu (r)", "float[3,4] x"))


def test_refusal_in_the_middle_leaves_the_cut_open(text: Any, stages: Any) -> None:
    with pytest.raises(UserError, match=r"--outputs-at NAME$"):
        stages(text("n = Trilu (x)\n y = Gemm (n, w)", "float[3,4] x", weights="float[4,2] w"))


ISLANDS = {
    "in the middle": ("g = Gemm (x, w)\n m = CumSum (g, a)\n y = Gemm (m, v)", "float[5,6] w, float[6,2] v, int64 a"),
    "first": ("m = CumSum (x, a)\n y = Gemm (m, v)", "float[5,2] v, int64 a"),
    "last": ("g = Gemm (x, w)\n y = CumSum (g, a)", "float[5,6] w, int64 a"),
    "after an image": (
        "i = Reshape (x, n)\n c = Conv (i, k)\n f = Reshape (c, o)\n y = CumSum (f, a)",
        "int64[4] n, float[2,1,2,2] k, int64[2] o, int64 a",
    ),
    "with stored weights": ('m = CumSum (x, a)\n y = Einsum <equation = "ij,jk->ijk"> (v, m)', "float[2,3] v, int64 a"),
}


@pytest.mark.parametrize(("body", "weights"), ISLANDS.values(), ids=ISLANDS)
def test_float_island_on_a_cpu_computes_what_onnxruntime_computes(
    text: Any, stages: Any, body: str, weights: str
) -> None:
    model = text(body, "float[3,5] x", weights=weights, values={"n": [1, 1, 3, 5], "o": [2, 8], "a": 1})
    made = stages(model, islands=True)
    assert any("runs in float, compiled by TVM's importer" in note.text for note in made.notes)
    for sample in list(made.extremes())[2:]:
        found, expected = made.program.run(sample)["y"], made.sessions[1].run(None, sample)[0]
        if found.dtype == np.int8:  # a sum in another order may tip one rounding of the last quantizer
            assert np.abs(found.astype(int) - expected).max() <= 1
        else:
            peak = float(np.abs(expected).max())
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * peak)


@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceMax", "ReduceSum", "ReduceL2"])
def test_a_reduction_of_a_scalar_reduces_one_element(text: Any, stages: Any, operator: str) -> None:
    made = stages(text(f"y = {operator} (x)", "float x"), inputs="float", outputs="float")
    sample = {"x": np.array(0.75, np.float32)}
    np.testing.assert_array_equal(made.program.run(sample)["y"], made.sessions[1].run(None, sample)[0])


@pytest.mark.parametrize("size", [2, 3])
def test_weights_with_a_scale_for_each_block_are_the_same_floats(text: Any, stages: Any, size: int) -> None:
    blocks = -(-5 // size)
    body = f"d = DequantizeLinear <axis = 0, block_size = {size}> (q, s, z)\n y = MatMul (x, d)"
    rng = np.random.default_rng(size)
    values = {
        "q": rng.integers(-100, 100, (5, 4)),
        "s": rng.uniform(0.01, 0.1, (blocks, 4)),
        "z": np.zeros((blocks, 4)),
    }
    weights = f"int8[5,4] q, float[{blocks},4] s, int8[{blocks},4] z"
    made = stages(text(body, "float[3,5] x", weights=weights, values=values), islands=True)
    sample = {"x": rng.standard_normal((3, 5)).astype(np.float32)}
    np.testing.assert_allclose(made.program.run(sample)["y"], made.sessions[1].run(None, sample)[0], rtol=1e-5)


def test_integers_between_quantizers_may_be_read_by_float_operators(text: Any, stages: Any) -> None:
    body = "q = QuantizeLinear (x, s, z)\n c = Cast <to = 6> (q)\n a = Add (c, c)\n y = Cast <to = 1> (a)"
    made = stages(
        text(body, "float[5] x", weights="float s, uint8 z", values={"s": 0.1, "z": 100}), islands=True, inputs="float"
    )
    sample = {"x": np.array([-20.0, -1.0, 0.0, 3.0, 50.0], np.float32)}
    found = made.program.run(sample)["y"]
    np.testing.assert_array_equal(found, made.sessions[1].run(None, sample)[0])
    np.testing.assert_array_equal(found, [0, 180, 200, 260, 510])


@pytest.mark.parametrize("name", names())
def test_reference_network_is_the_same_on_the_device_as_in_onnxruntime(stages: Any, floats: Any, name: str) -> None:
    model = fix_batch(load_model(path(name)))
    inputs = model_inputs(onnx.shape_inference.infer_shapes(model))
    made = stages(model, list(open_dataset(data("calib"), inputs, 32)), inputs="float", outputs="float")
    assert floats(made.integer) == set()
    for sample in open_dataset(data("eval"), inputs, 4):
        made.run(sample)


def test_a_stored_scalar_that_a_float_node_reads_becomes_a_constant() -> None:
    codes, scale, zero = np.array(-100, np.int8), np.array(0.5, np.float32), np.array(2, np.int8)
    stored = [gs.Constant(name, values) for name, values in (("c", codes), ("s", scale), ("z", zero))]
    real, x, y = (gs.Variable(name, np.float32, []) for name in ("r", "x", "y"))
    nodes = [gs.Node("DequantizeLinear", "d", {}, stored, [real]), gs.Node("Add", "a", {}, [real, x], [y])]
    graph = gs.Graph(nodes, [x], [y], opset=21)
    dequantize_constants(graph)
    (node,) = graph.nodes
    np.testing.assert_array_equal(node.inputs[0].values, np.float32(-51.0))
