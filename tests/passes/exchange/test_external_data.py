"""Weights from other files and sparse ones end as they would have been stored, or in one line."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bevel.calib.errors import UserError
from bevel.passes.exchange.load import load_model

HEADER = '<ir_version: 8, opset_import: ["" : 17]> '
WEIGHTS = np.arange(16, dtype=np.float32).reshape(4, 4)


def external(folder: Path, **entries: str) -> Path:
    model = onnx.parser.parse_model(HEADER + "g (float[1,4] x) => (float[1,4] y) { y = MatMul(x, w) }")
    tensor = model.graph.initializer.add(name="w", dims=[4, 4], data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "w.bin", **entries}.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "w.bin").write_bytes(b"head" + WEIGHTS.tobytes())
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def weights(model: onnx.ModelProto) -> np.ndarray:
    return numpy_helper.to_array(model.graph.initializer[0])


@pytest.mark.parametrize("entries", [{"offset": "4", "length": "64"}, {"offset": "4"}])
def test_weights_are_read_from_where_they_lie(tmp_path, entries) -> None:
    assert np.array_equal(weights(load_model(external(tmp_path, **entries))), WEIGHTS)


def test_a_second_name_of_the_file_is_the_file(tmp_path) -> None:
    file = external(tmp_path, location="other.bin", offset="4")
    os.link(tmp_path / "w.bin", tmp_path / "other.bin")
    assert np.array_equal(weights(load_model(file)), WEIGHTS)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"offset": "abc"}, "offset 'abc'"),
        ({"offset": "-4"}, "offset '-4'"),
        ({"offset": "4.0"}, "offset '4.0'"),
        ({"offset": "²"}, "offset"),
        ({"offset": "9" * 30}, "is cut short"),
        ({"length": "many"}, "length 'many'"),
        ({"length": "65"}, "."),
        ({"offset": "68", "length": "4"}, "is cut short"),
        ({"offset": "4", "length": "60"}, "."),
        ({"location": "w\0.bin"}, "has no valid name"),
        ({"location": "."}, "is missing"),
    ],
)
def test_where_no_whole_weights_lie_is_said_in_one_line(tmp_path, entries, reason) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        load_model(external(tmp_path, **entries))
    assert "\n" not in str(caught.value) and "m.onnx" in str(caught.value)


def sparse(indices: np.ndarray, dims: list[int]) -> onnx.SparseTensorProto:
    values = numpy_helper.from_array(np.array([2.0, 3.0], np.float32), "w")
    return onnx.helper.make_sparse_tensor(values, numpy_helper.from_array(indices, "i"), dims)


def with_sparse(folder: Path, weight: onnx.SparseTensorProto) -> Path:
    model = onnx.parser.parse_model(HEADER + "g (float[1,4] x) => (float[1,4] y) { y = MatMul(x, w) }")
    model.graph.sparse_initializer.append(weight)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


@pytest.mark.parametrize("indices", [np.array([1, 14]), np.array([[0, 1], [3, 2]])])
def test_sparse_weights_are_stored_dense(tmp_path, indices) -> None:
    model = load_model(with_sparse(tmp_path, sparse(indices, [4, 4])))
    expected = np.zeros((4, 4), np.float32)
    expected[0, 1], expected[3, 2] = 2, 3
    assert np.array_equal(weights(model), expected) and not model.graph.sparse_initializer


@pytest.mark.parametrize(
    ("indices", "dims"),
    [([1, 16], [4, 4]), ([-1, 2], [4, 4]), ([1, 2], [1 << 20, 1 << 20]), ([[0, 1, 2], [0, 1, 3]], [4, 4])],
)
def test_sparse_weights_outside_their_shape_are_refused(tmp_path, indices, dims) -> None:
    with pytest.raises(UserError, match="sparse weights w"):
        load_model(with_sparse(tmp_path, sparse(np.array(indices), dims)))


@pytest.mark.parametrize(("dims", "kind"), [([4, 5], 1), ([], 1), ([4, 4], 7), ([-4, -4], 1), ([4, 4], 99)])
def test_weights_whose_bytes_do_not_fit_their_shape_are_refused(tmp_path, dims, kind) -> None:
    model = onnx.parser.parse_model(HEADER + "g (float[1,4] x) => (float[1,4] y) { y = MatMul(x, w) }")
    model.graph.initializer.add(name="w", dims=dims, data_type=kind, raw_data=WEIGHTS.tobytes())
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="the weights w cannot be read"):
        load_model(tmp_path / "m.onnx")
