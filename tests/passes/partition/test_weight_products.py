"""Float products by stored weights keep them as codes; what is none of these is computed with float weights."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from bevel.backends.program.ops.mat_mul_n_bits import MatMulNBits
from bevel.backends.tir import importer
from bevel.calib.errors import UserError
from bevel.passes.partition.partition import partition

X, Y = "float[2,8] x", "float[2,6] y"


def program_of(body: str, weights: str, outputs: str = Y, inputs: str = X):
    """Of stored weights `q`, random, of any shape."""
    text = f'<ir_version: 10, opset_import: ["" : 21]> m ({inputs}, {weights}) => ({outputs}) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    count, rng = inputs.count(", ") + 1, np.random.default_rng(0)
    for value in list(model.graph.input)[count:]:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        array = rng.integers(-7, 8, shape) if dtype == np.int8 else rng.random(shape) + 0.1
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array, dtype), value.name))
    del model.graph.input[count:]
    for place, node in enumerate(model.graph.node):
        node.name = f"n{place}"
    return partition(onnx.shape_inference.infer_shapes(model), "m", True, importer)[0]


def products(program) -> list[MatMulNBits]:
    return [call.kernel for call in program.calls if isinstance(call.kernel, MatMulNBits)]


def test_a_scale_for_each_output_is_one_group_of_all_inputs() -> None:
    (op,) = products(
        program_of("w = DequantizeLinear <axis = 1> (q, s, z) y = MatMul (x, w)", "int8[8,6] q, float[6] s, int8[6] z")
    )
    assert (op.rows, op.k, op.n, op.group, op.bias) == (2, 8, 6, 8, False)


def test_blocks_along_the_inputs_are_groups_and_the_last_may_be_shorter() -> None:
    body = "w = DequantizeLinear <axis = 0, block_size = 3> (q, s) y = MatMul (x, w)"
    (op,) = products(program_of(body, "int8[8,6] q, float[3,6] s"))
    assert (op.group, op.groups, op.bits, op.zero) == (3, 3, 4, 8)


def test_a_constant_row_behind_the_product_is_its_bias() -> None:
    body = "w = DequantizeLinear <axis = 1> (q, s) p = MatMul (x, w) y = Add (b, p)"
    program = program_of(body, "int8[8,6] q, float[6] s, float[6] b")
    assert [type(call.kernel).__name__ for call in program.calls] == ["MatMulNBits"]
    assert products(program)[0].bias


@pytest.mark.parametrize(
    ("body", "weights", "outputs"),
    [
        ("p = MatMul (x, w) y = Add (p, b)", "float[2,1] b", Y),  # of each row another
        ("p = MatMul (x, w) y = Add (p, b)", "float[1,2,6] b", "float[1,2,6] y"),
        ("p = MatMul (x, w) y = Add (p, b)", "float[6] b", f"{Y}, float[2,6] p"),  # read outside, too
        ("p = MatMul (x, w) y = Sub (p, b)", "float[6] b", Y),
    ],
)
def test_other_sums_stay_behind_it(body: str, weights: str, outputs: str) -> None:
    program = program_of(
        f"w = DequantizeLinear <axis = 1> (q, s) {body}", f"int8[8,6] q, float[6] s, {weights}", outputs
    )
    assert [op.bias for op in products(program)] == [False]
    assert len(program.calls) > 1


@pytest.mark.parametrize(
    ("body", "weights", "inputs"),
    [
        ("w = DequantizeLinear <axis = 0> (q, s) y = MatMul (x, w)", "int8[8,6] q, float[8] s", X),
        ("w = DequantizeLinear <axis = 1, block_size = 3> (q, s) y = MatMul (x, w)", "int8[8,6] q, float[8,2] s", X),
        (
            "w = DequantizeLinear <axis = 1> (q, s) y = Gemm <transA = 1> (x, w)",
            "int8[8,6] q, float[6] s",
            "float[8,2] x",
        ),
        ("w = DequantizeLinear <axis = 1> (q, s) y = Gemm <alpha = 2.0> (x, w)", "int8[8,6] q, float[6] s", X),
        ("w = DequantizeLinear (q, s) y = MatMul (w, x)", "int8[2,8] q, float s", "float[8,6] x"),
        ("w = DequantizeLinear (q, s) y = MatMul (x, w)", "int8[1,8,6] q, float s", "float[1,2,8] x"),
    ],
)
def test_other_products_have_float_weights(body: str, weights: str, inputs: str) -> None:
    outputs = "float[1,2,6] y" if "1,2,8" in inputs else Y
    program = program_of(body, weights, outputs, inputs)
    assert not products(program) and program.calls


def test_a_microcontroller_refuses_them() -> None:
    text = '<ir_version: 10, opset_import: ["" : 21]> m (float[2,8] x, int8[8,6] q, float s) => (float[2,6] y) '
    model = onnx.parser.parse_model(text + "{ w = DequantizeLinear (q, s) y = MatMul (x, w) }")
    arrays = {"q": np.ones((8, 6), np.int8), "s": np.array(0.5, np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    del model.graph.input[1:]
    model.graph.node[1].name = "product"
    with pytest.raises(UserError, match=r"product \(MatMul\).*choose a CPU target"):
        partition(onnx.shape_inference.infer_shapes(model), "m", False, importer)
