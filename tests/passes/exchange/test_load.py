"""Each way a file can be wrong ends in one line that names it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bevel.calib.errors import UserError
from bevel.passes.exchange.load import fix_batch, load, load_model

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
GOOD = HEADER + "g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }"


def written(folder: Path, model: onnx.ModelProto) -> Path:
    file = folder / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def with_weights() -> onnx.ModelProto:
    model = onnx.parser.parse_model(HEADER + "g (float[1,4] x, float[4,4] w) => (float[1,4] y) { y = MatMul(x, w) }")
    model.graph.initializer.append(numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"))
    return model


def external(location: str, offset: int = 0, length: int = 64) -> onnx.ModelProto:
    model = with_weights()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": str(offset), "length": str(length)}.items():
        tensor.external_data.add(key=key, value=value)
    return model


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 a zip file of some kind", "not an ONNX file"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'}", "not an ONNX file"),
        (onnx.parser.parse_model(GOOD).SerializeToString()[:-9], "cut short or damaged"),
        (onnx.parser.parse_model(GOOD).SerializeToString()[:2], "cut short or damaged"),
    ],
)
def test_a_file_that_is_no_whole_model_is_refused(tmp_path, data, reason) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(data)
    with pytest.raises(UserError, match=reason) as caught:
        load_model(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_model(tmp_path / "none.onnx")
    with pytest.raises(UserError, match="cannot be read"):
        load_model(tmp_path)


def test_a_file_beyond_two_gigabytes_is_refused_unread(tmp_path) -> None:
    file = tmp_path / "model.onnx"
    with file.open("wb") as stream:
        stream.truncate(2**31)  # sparse: no disk is used
    with pytest.raises(UserError, match="2 GB"):
        load_model(file)


def test_external_data_beside_the_model_is_brought_in(tmp_path) -> None:
    (tmp_path / "w.bin").write_bytes(np.eye(4, dtype=np.float32).tobytes())
    model = load_model(written(tmp_path, external("w.bin")))
    assert np.array_equal(numpy_helper.to_array(model.graph.initializer[0]), np.eye(4))


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/etc/hostname", "outside the model's folder"),
        ("../w.bin", "outside the model's folder"),
        ("a/../../w.bin", "outside the model's folder"),
        ("link.bin", "outside the model's folder"),
        ("none.bin", "is missing"),
        ("", "is missing"),
        ("short.bin", "is cut short"),
    ],
)
def test_external_data_elsewhere_missing_or_short_is_refused(tmp_path, location, reason) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(64))
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    (folder / "short.bin").write_bytes(bytes(60))
    with pytest.raises(UserError, match=reason):
        load_model(written(folder, external(location)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("g (float[1,3] x) => () { y = Relu(x) }", "has no outputs"),
        ("g (float[1,3] x) => (float[1,3] y) { y = NoSuchOperator(x) }", "onnxruntime cannot load it"),
        ("g (float[1,3] x) => (float[1,3] y) { y = Relu(z) }", "onnxruntime cannot load it"),
        ("g () => (float[1] y) { y = Constant <value_floats = [1.0]> () }", "the model has no inputs"),
        ("g (string[1] x) => (string[1] y) { y = Identity(x) }", "no tensor of numbers"),
        ("g (seq(float[1]) x) => (float[1] y) { i = Constant <value_int = 0> ()\n y = SequenceAt(x, i) }", "no tensor"),
        (
            "g (float[4] x) => (float[4] y) { q, s, z = DynamicQuantizeLinear (x)\n y = DequantizeLinear (q, s, z) }",
            r"\(DynamicQuantizeLinear\) takes its scale from each input's own values; give the float model",
        ),
        (
            """g (float[4] x) => (float[4] y) <float s = {0.5}, int4 z = {0}>
            { q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z) }""",
            r"node q \(QuantizeLinear\) makes int4; .*: give the float model, with --activations int4",
        ),
        ("g (float[1] x) => (seq(float[1]) y) { y = SequenceConstruct(x) }", "output y is no tensor"),
        ("g (float[1] x) => (float[1] y) { o = Optional(x)\n y = OptionalGetElement(o) }", "gives an optional value"),
        ("g (float[1] x) => (optional(float[1]) y) { y = Optional(x) }", "output y is no tensor"),
    ],
)
def test_a_graph_that_cannot_be_compiled_is_refused(tmp_path, text, reason) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        load_model(written(tmp_path, onnx.parser.parse_model(HEADER + text)))
    assert "\n" not in str(caught.value)


def test_weights_listed_among_the_inputs_are_no_inputs(tmp_path) -> None:
    model = with_weights()
    model.ir_version = 3
    loaded = load_model(written(tmp_path, model))
    assert [value.name for value in loaded.graph.input] == ["x"]


def test_an_opset_before_onnxruntime_s_oldest_says_so(tmp_path) -> None:
    text = '<ir_version: 3, opset_import: ["" : 1]> g (float[1,3] x) => (float[1,3] y) { y = Relu (x) }'
    with pytest.raises(UserError, match="it runs opset 7 and newer"):
        load_model(written(tmp_path, onnx.parser.parse_model(text)))


def test_of_weights_that_are_there_twice_the_last_count(tmp_path) -> None:
    model = with_weights()
    model.graph.initializer.append(numpy_helper.from_array(2 * np.eye(4, dtype=np.float32), "w"))
    (tensor,) = load_model(written(tmp_path, model)).graph.initializer
    assert numpy_helper.to_array(tensor)[0, 0] == 2


def test_a_newer_form_of_the_file_is_read(tmp_path) -> None:
    model = onnx.parser.parse_model(GOOD)
    model.ir_version = 99
    assert load_model(written(tmp_path, model)).ir_version == 10


def test_local_functions_are_opened(tmp_path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[1,4] x) => (float[1,4] y) { y = local.twice (x) }
        <domain: "local", opset_import: ["" : 17]> twice (a) => (b) { b = Add (a, a) }"""
    model = load_model(written(tmp_path, onnx.parser.parse_model(text)))
    assert [node.op_type for node in model.graph.node] == ["Add"] and not model.functions


@pytest.mark.parametrize("kind", ["FLOAT8E5M2", "FLOAT8E4M3FNUZ", "FLOAT8E5M2FNUZ"])
def test_small_floats_that_would_be_read_as_others_are_refused(tmp_path, kind) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[1,4] x) => (float[1,4] y) <float s = {0.5}> { d = DequantizeLinear (w, s) y = Mul (x, d) }"""
    )
    model.graph.initializer.append(
        onnx.helper.make_tensor("w", getattr(onnx.TensorProto, kind), [4], [1.0, 2.0, 0.5, 1.0])
    )
    with pytest.raises(UserError, match=f"tensor w is of {kind.lower()}, which cannot be read"):
        load_model(written(tmp_path, model))


def test_the_long_name_of_the_standard_domain_is_read(tmp_path) -> None:
    model = with_weights()
    model.opset_import[0].domain = "ai.onnx"
    model.graph.node[0].domain = "ai.onnx"
    loaded = load_model(written(tmp_path, model))
    assert [entry.domain for entry in loaded.opset_import] == [""]
    assert all(not node.domain for node in loaded.graph.node)


def test_a_local_function_in_the_standard_domain_is_refused(tmp_path) -> None:
    model = with_weights()
    body = [onnx.helper.make_node("Neg", ["a"], ["b"])]
    model.functions.append(onnx.helper.make_function("", "Relu", ["a"], ["b"], body, model.opset_import))
    with pytest.raises(UserError, match="its local function Relu stands in ONNX's own domain"):
        load_model(written(tmp_path, model))


def test_half_precision_comes_as_float32_with_notes(tmp_path) -> None:
    text = HEADER + "g (float16[1,4] x) => (float16[1,4] y) { y = Relu (x) }"
    loaded = load(written(tmp_path, onnx.parser.parse_model(text)))
    assert loaded.model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [note.node for note in loaded.notes] == ["model", "x", "y"]


def test_the_file_stays_as_it_is(tmp_path) -> None:
    file = written(tmp_path, with_weights())
    before = file.read_bytes()
    load_model(file)
    assert file.read_bytes() == before


def sizes(model: onnx.ModelProto) -> list[list[int]]:
    return [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.input]


@pytest.mark.parametrize(
    ("inputs", "dims", "expected"),
    [
        ("float[N,3] x", {}, [[2, 3]]),
        ("float[?,3] x", {}, [[2, 3]]),
        ("float[4,3] x", {}, [[4, 3]]),
        ("float x", {}, [[]]),
        ("float[N,3] x, float[1,N,8] h", {}, [[2, 3], [1, 2, 8]]),
        ("float[N,T] x, float[N,T,4] z", {"T": 7}, [[2, 7], [2, 7, 4]]),
        ("float[N,3] x", {"N": 5}, [[5, 3]]),
        ("float[N,?] x", {"x:1": 9}, [[2, 9]]),
        ("float[N,?,?] x", {"x:1": 9, "x:2": 7}, [[2, 9, 7]]),
        ("float[N,T,T] x", {"T": 9, "x:2": 7}, [[2, 9, 7]]),
    ],
)
def test_dynamic_dimensions_get_their_size(inputs, dims, expected) -> None:
    model = onnx.parser.parse_model(f"{HEADER}g ({inputs}) => (float y) {{ y = Relu(x) }}")
    before = model.SerializeToString()
    assert sizes(fix_batch(model, 2, dims)) == expected
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("inputs", "batch", "dims", "reason"),
    [
        ("float[N,T] x", 1, {}, "dimension 1 .T. is dynamic.*--dim T=N .--batch N"),
        ("float[N,0] x", 1, {}, "dimension 1 is 0"),
        ("float[0,3] x", 1, {}, "dimension 0 is 0"),
        ("float[N,?] x", 1, {}, "x:1=N"),
        ("float[N,3] x", 1, {"T": 3}, "no dynamic dimension T; the model has: N"),
        ("float[1,3] x", 1, {"T": 3}, "the model has: none"),
        ("float[N,3] x", 0, {}, "must be 1 or more, not 0"),
        ("float[N,T] x", 1, {"T": -4}, "must be 1 or more, not -4"),
        ("float[] x", 1, {}, "its rank is unknown"),
    ],
)
def test_dimensions_that_cannot_be_fixed_are_named(inputs, batch, dims, reason) -> None:
    model = onnx.parser.parse_model(f"{HEADER}g ({inputs}) => (float y) {{ y = Relu(x) }}")
    if "rank" in reason:
        model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(UserError, match=reason):
        fix_batch(model, batch, dims)


def test_shapes_of_another_batch_are_forgotten() -> None:
    model = onnx.parser.parse_model(HEADER + "g (float[N,3] x) => (float[9,3] y) { y = Relu(x) }")
    assert not fix_batch(model, 2).graph.output[0].type.tensor_type.HasField("shape")


@pytest.mark.parametrize("opset", [17, 22])
def test_outputs_that_leave_their_type_open_get_what_onnxruntime_infers(tmp_path, opset) -> None:
    text = f'<ir_version: 10, opset_import: ["" : {opset}]>\n'
    text += "g (float[2,3] x) => (y, float[2,3] z, i) { y = Relu (x) z = Neg (x) i = ArgMax (x) }"
    model = onnx.parser.parse_model(text)
    assert not model.graph.output[0].type.tensor_type.elem_type  # the parser leaves it open, too
    model.graph.output[2].ClearField("type")
    found = load_model(written(tmp_path, model)).graph.output
    assert [value.type.tensor_type.elem_type for value in found] == [
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.INT64,
    ]
