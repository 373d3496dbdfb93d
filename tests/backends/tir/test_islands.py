"""Float islands compute what onnxruntime computes, up to float rounding, by calls that need no TVM runtime."""

import ctypes
import gc
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from bevel.backends.program.island import Island, run_island
from bevel.backends.program.op import Role
from bevel.backends.program.program import Buffer, Port, Program
from bevel.backends.tir.islands import Float, import_island
from bevel.backends.tir.raw_abi import llvm_object
from bevel.calib.errors import UserError

Arrays = dict[str, np.ndarray[Any, Any]]

ATTENTION = """agraph (float[1,6,8] x, float[8,8] a, float[8,8] b, float[8,8] c) => (float[1,6,8] y)
<int64[4] heads = {1, 6, 2, 4}, int64[3] joined = {1, 6, 8}, float root = {0.5}> {
    q0 = MatMul(x, a)  k0 = MatMul(x, b)  v0 = MatMul(x, c)
    q1 = Reshape(q0, heads)  k1 = Reshape(k0, heads)  v1 = Reshape(v0, heads)
    q = Transpose<perm=[0, 2, 1, 3]>(q1)  k = Transpose<perm=[0, 2, 3, 1]>(k1)  v = Transpose<perm=[0, 2, 1, 3]>(v1)
    s0 = MatMul(q, k)  s1 = Mul(s0, root)  s = Softmax<axis=-1>(s1)
    o0 = MatMul(s, v)  o1 = Transpose<perm=[0, 2, 1, 3]>(o0)  y = Reshape(o1, joined)
}"""
LAYER_NORM = """agraph (float[2,3,4] x) => (float[2,3,4] y)
<float[4] g = {1.0, 2.0, 0.5, -1.0}, float[4] b = {0.5, 0.0, 0.25, 1.0}> { y = LayerNormalization<axis=-1>(x, g, b) }"""
INSTANCE_NORM = """agraph (float[2,3,5,4] x) => (float[2,3,5,4] y)
<float[3] g = {1.0, 2.0, 3.0}, float[3] b = {0.5, 0.1, 0.2}> { y = InstanceNormalization(x, g, b) }"""
GRAPHS = {
    operator: f"agraph (float[2,3,4] x) => (float[2,3,4] y) {{ y = {operator}(x) }}"
    for operator in ("Exp", "Log", "Sin", "Erf", "Gelu", "Tanh", "Sqrt", "Softplus", "Softmax", "Mish", "Elu")
} | {
    "Pow": "agraph (float[2,3,4] x, float[3,1] w) => (float[2,3,4] y) { y = Pow(x, w) }",
    "Div": "agraph (float[2,3,4] x, float[4] w) => (float[2,3,4] y) { y = Div(x, w) }",
    "MatMul": "agraph (float[2,3,4] x, float[2,4,5] w) => (float[2,3,5] y) { y = MatMul(x, w) }",
    "Square": "agraph (float[2,3] x) => (float[2,3] y) { y = Mul(x, x) }",
    "ReduceL2": "agraph (float[2,3,4] x) => (float[2,3,1] y) <int64[1] a = {-1}> { y = ReduceL2(x, a) }",
    "ReduceLogSumExp": "agraph (float[2,3] x) => (float[2,1] y) <int64[1] a = {1}> { y = ReduceLogSumExp(x, a) }",
    "LayerNormalization": LAYER_NORM,
    "InstanceNormalization": INSTANCE_NORM,
    "attention": ATTENTION,
    "Split": """agraph (float[2,6] x) => (float[2,2] y, float[2,4] z)
        <int64[2] s = {2, 4}> { y, z = Split<axis=1>(x, s) }""",
    "ScatterElements": """agraph (float[1,4,3] x, float[1,4,2] u) => (float[1,4,3] y)
        <int64[1,4,2] i = {0, 2, 1, 0, -1, 1, 2, 0}> { y = ScatterElements<axis=2>(x, i, u) }""",
    "ScatterND": """agraph (float[4,3] x, float[2,3] u) => (float[4,3] y)
        <int64[2,1] i = {2, 2}> { y = ScatterND<reduction="add">(x, i, u) }""",
    "MaxUnpool": """agraph (float[1,1,2,2] x) => (float[1,1,4,4] y)
        <int64[1,1,2,2] i = {5, 7, 13, 15}> { y = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(x, i) }""",
    "scalar constant": "agraph (float[3] x) => (float[3] y) <float c = {0.25}> { y = Add(x, c) }",
}
# Values stay below 16 and sums below 30 terms: a few units in the last place of float32, from another order of
# summation, fused multiply-adds, and onnxruntime's own exp and erf.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def parsed(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]>\n{text}')


def feeds_of(model: onnx.ModelProto) -> Arrays:
    rng = np.random.default_rng(0)
    shapes = {v.name: [axis.dim_value for axis in v.type.tensor_type.shape.dim] for v in model.graph.input}
    return {name: rng.uniform(0.1, 0.9, shape).astype(np.float32) for name, shape in shapes.items()}


def expected_of(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    names = [value.name for value in model.graph.output]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return dict(zip(names, session.run(names, feeds), strict=True))


def program_of(island: Island, feeds: Arrays, expected: Arrays) -> Program:
    inputs, outputs = (
        tuple(Port(name, name, array.shape, str(array.dtype)) for name, array in arrays.items())
        for arrays in (feeds, expected)
    )
    buffers = {port.buffer: Buffer(port.buffer, port.shape, port.dtype) for port in inputs}
    buffers |= {buffer.name: buffer for buffer in island.buffers}
    return Program("island", inputs, outputs, buffers, island.calls, island.constants)


def compiled_result(island: Island, feeds: Arrays, folder: Path) -> Arrays:
    """Every call, compiled ahead of time to one object with a plain C ABI, in order."""
    names = [f"call_{index}" for index in range(len(island.calls))]
    built = {name: call.kernel.build(name) for name, call in zip(names, island.calls, strict=True)}
    target = {"kind": "llvm", "mtriple": f"{platform.machine()}-linux-gnu"}
    (folder / "island.o").write_bytes(llvm_object(built, target))
    compiler = ["gcc"] if shutil.which("gcc") else [sys.executable, "-m", "ziglang", "cc"]
    subprocess.run([*compiler, "-shared", "island.o", "-o", "island.so", "-lm"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "island.so"))
    values = island.constants | feeds
    for name, call in zip(names, island.calls, strict=True):
        inputs, constants, outputs = iter(call.inputs), iter(call.constants), iter(call.outputs)
        memory = []
        for operand in call.kernel.operands():
            match operand.role:
                case Role.INPUT:
                    memory.append(values[next(inputs)])
                case Role.CONSTANT:
                    memory.append(next(constants))
                case _:
                    memory.append(np.full(operand.shape, 77, operand.dtype))
            if operand.role is Role.OUTPUT:
                values[next(outputs)] = memory[-1]
        getattr(library, name)(*(array.ctypes.data_as(ctypes.c_void_p) for array in memory))
    return values


@pytest.mark.parametrize("name", GRAPHS)
def test_an_island_is_onnxruntimes_result_up_to_float_rounding(name: str, tmp_path: Path) -> None:
    model = parsed(GRAPHS[name])
    feeds = feeds_of(model)
    expected = expected_of(model, feeds)
    island = import_island(model, "island_")
    interpreted = program_of(island, feeds, expected).run(feeds)
    compiled = compiled_result(island, feeds, tmp_path)
    for output, array in expected.items():
        np.testing.assert_allclose(interpreted[output], array, **TOLERANCE)
        np.testing.assert_allclose(compiled[output].reshape(array.shape), array, **TOLERANCE)


def test_a_result_that_is_constant_has_a_buffer() -> None:
    model = parsed("agraph (float[3] x) => (float[3] y, bool z) { y = Exp(x) z = OptionalHasElement(x) }")
    island = import_island(model, "p/")
    assert set(island.constants) <= {buffer.name for buffer in island.buffers}
    assert run_island(island, {"x": np.ones(3, np.float32)}, ["z"])["z"].all()


def test_an_import_that_fails_half_way_says_nothing_itself(capfd: pytest.CaptureFixture[str]) -> None:
    model = parsed("""agraph (float[3,4] x) => (float[3,2] y, int64[3,2] i) <int64[1] k = {2}>
        { h = Exp(x) y, i = TopK<sorted=0>(h, k) }""")
    with pytest.raises(UserError, match="TVM cannot import this use of it"):
        import_island(model, "p/")
    gc.collect()
    assert capfd.readouterr().err == ""


def test_buffers_carry_the_models_names_outside_and_the_prefix_inside() -> None:
    island = import_island(parsed("agraph (float[3] a) => (float[3] c) { b = Exp(a) c = Sin(b) }"), "part7_")
    first, second = island.calls
    assert first.inputs == ("a",)
    assert first.output.startswith("part7_")
    assert second.inputs == (first.output,)
    assert second.output == "c"
    assert {buffer.name for buffer in island.buffers} == {first.output, "c"}


def test_names_that_are_no_identifiers_survive_the_importer() -> None:
    model = parsed("agraph (float[3] a) => (float[3] c) { c = Exp(a) }")
    model.graph.input[0].name = model.graph.node[0].input[0] = "in/put:0"
    model.graph.output[0].name = model.graph.node[0].output[0] = "out;put"
    (call,) = import_island(model, "p_").calls
    assert (call.inputs, call.output) == (("in/put:0",), "out;put")


def test_what_a_function_allocates_is_a_scratch_operand() -> None:
    (call,) = import_island(parsed(GRAPHS["Softmax"]), "p_").calls
    assert call.kernel.roles(Role.SCRATCH)
    assert isinstance(call.kernel, Float)
    assert not call.kernel.function.body.block.alloc_buffers


def test_equal_operators_are_equal_kernels_and_different_shapes_are_not() -> None:
    calls = import_island(
        parsed("agraph (float[3] a, float[4] d) => (float[3] c, float[4] e) { b = Exp(a) c = Exp(b) e = Exp(d) }"), "p_"
    ).calls
    first, second, other = (call.kernel for call in calls)
    assert first == second
    assert hash(first) == hash(second)
    assert first != other


def test_caches_find_an_imported_operator_again_and_no_other_shape_or_operator() -> None:
    def contents(text: str) -> set[str]:
        return {call.kernel.content for call in import_island(parsed(text), "p_").calls}

    four = contents("agraph (float[4] a) => (float[4] b) { b = Exp(a) }")
    assert contents("agraph (float[4] a) => (float[4] b) { b = Exp(a) }") == four
    assert contents("agraph (float[5] a) => (float[5] b) { b = Exp(a) }").isdisjoint(four)
    assert contents("agraph (float[4] a) => (float[4] b) { b = Sin(a) }").isdisjoint(four)


def test_the_number_relax_appends_to_a_name_does_not_part_equal_kernels() -> None:
    (alone,) = import_island(parsed("agraph (float[4] a) => (float[4] b) { b = Exp(a) }"), "p_").calls
    both = import_island(
        parsed("agraph (float[3] a, float[4] c) => (float[3] b, float[4] d) { b = Exp(a) d = Exp(c) }"), "q_"
    )
    assert isinstance(alone.kernel, Float)
    assert isinstance(both.calls[1].kernel, Float)
    assert alone.kernel.operation != both.calls[1].kernel.operation
    assert alone.kernel == both.calls[1].kernel


def test_an_operator_with_two_results_is_computed_once() -> None:
    (split,) = import_island(parsed(GRAPHS["Split"]), "p_").calls
    assert split.outputs == ("y", "z")
    assert [operand.shape for operand in split.kernel.roles(Role.OUTPUT)] == [(2, 2), (2, 4)]
    assert not split.kernel.roles(Role.SCRATCH)


def test_outputs_that_no_operator_makes_are_copied() -> None:
    model = parsed("""agraph (float[2] x) => (float[2] y, float[2] z, float[2] k)
        <float[2] c = {3.0, 4.0}> { y = Identity(x) z = Identity(y) k = Identity(c) }""")
    feeds = feeds_of(model)
    expected = expected_of(model, feeds)
    got = program_of(import_island(model, "p_"), feeds, expected).run(feeds)
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array)


def test_one_result_under_two_output_names_is_written_twice() -> None:
    model = parsed("agraph (float[2] x) => (float[2] y, float[2] z) { y = Exp(x) z = Identity(y) }")
    feeds = feeds_of(model)
    got = program_of(import_island(model, "p_"), feeds, expected_of(model, feeds)).run(feeds)
    np.testing.assert_array_equal(got["y"], got["z"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agraph (float[2,3] x) => (float[2,3] y) { y = Bernoulli(x) }", "no importer for Bernoulli"),
        ("agraph (float[N,3] x) => (float[N,3] y) { y = Exp(x) }", "x: a float island needs a static shape"),
        ("agraph (float[2,3] x) => (int64[2,N] y) { y = NonZero(x) }", "y: a float island needs a static shape"),
        ("agraph (float[2,3] x) => (float[2,3] y) <int64 a = {1}> { y = CumSum(x, a) }", "relax.cumsum needs TVM"),
    ],
)
def test_what_cannot_be_an_island_is_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        import_island(parsed(text), "p_")
