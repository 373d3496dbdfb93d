"""Weights that lie in other files, and sparse ones, brought into the model.

Only files in the model's folder are read, and only whole ones: where a tensor lies is checked before a byte is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from bevel.calib.errors import UserError, reason_of

MAX_BYTES = 2**31 - 1  # protobuf's limit for one message


def load_external_data(model: onnx.ModelProto, file: Path) -> None:
    """Bring tensors stored in other files into the model, after checking where those files are."""
    external = [one for one in stored_tensors(model) if one.data_location == onnx.TensorProto.EXTERNAL]
    places = [place_of(tensor, file) for tensor in external]
    total = model.ByteSize() + sum(length for _, _, length in places)
    if total > MAX_BYTES:
        raise UserError(f"{file}: {total} bytes with its external data; models of 2 GB and more are not supported")
    for tensor, (path, offset, length) in zip(external, places, strict=True):
        try:
            with path.open("rb") as stream:
                stream.seek(offset)
                tensor.raw_data = stream.read(length)
        except OSError as error:
            raise UserError(f"{file}: the weights of {tensor.name} in {path.name}: {error.strerror}") from error
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def stored_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor with values, those inside of branches and loops included."""
    yield from tensors_of(model.graph)
    for function in model.functions:
        yield from attribute_tensors(function.node)


def tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    yield from attribute_tensors(graph.node)


def attribute_tensors(nodes: list[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from tensors_of(graph)


def place_of(tensor: onnx.TensorProto, file: Path) -> tuple[Path, int, int]:
    """(file, offset, bytes) of one external tensor."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if "\0" in location or "\\x00" in location:
        raise UserError(f"{file}: the file with the weights of {tensor.name} has no valid name ({location!r})")
    folder = file.parent.resolve()
    target = (folder / location).resolve()
    if Path(location).is_absolute() or ".." in Path(location).parts or not target.is_relative_to(folder):
        raise UserError(f"{file}: weights of {tensor.name} lie outside the model's folder ({location}); refused")
    if not location or not target.is_file():
        raise UserError(f"{file}: the file with the weights of {tensor.name} is missing ({location})")
    size = target.stat().st_size
    offset = number(entries, "offset", 0, tensor, file)
    length = number(entries, "length", max(size - offset, 0), tensor, file)
    if offset + length > size:
        raise UserError(f"{file}: {location} is cut short: {tensor.name} ends at {offset + length}, the file at {size}")
    return target, offset, length


def check_stored(model: onnx.ModelProto) -> None:
    """Raises UserError for weights whose bytes are not those of their shape and type."""
    for tensor in stored_tensors(model):
        try:
            numpy_helper.to_array(tensor)
        except Exception as error:  # numpy's and onnx's, for a shape, a type, or bytes that do not fit
            raise UserError(f"the weights {tensor.name} cannot be read ({reason_of(error)})") from error


def number(entries: dict[str, str], key: str, default: int, tensor: onnx.TensorProto, file: Path) -> int:
    text = entries.get(key, str(default))
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{file}: the weights of {tensor.name} have the {key} {text!r}; a number of bytes would work")
    return int(text)


def densify(model: onnx.ModelProto, file: Path) -> None:
    """Store sparse weights like all others."""
    densify_graph(model.graph, file)
    for function in model.functions:
        densify_nodes(function.node, file)


def densify_graph(graph: onnx.GraphProto, file: Path) -> None:
    graph.initializer.extend(dense(sparse, file) for sparse in graph.sparse_initializer)
    del graph.sparse_initializer[:]
    densify_nodes(graph.node, file)


def densify_nodes(nodes: list[onnx.NodeProto], file: Path) -> None:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.HasField("sparse_tensor"):
            tensor = dense(attribute.sparse_tensor, file)
            attribute.Clear()
            attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR
            attribute.t.CopyFrom(tensor)
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            densify_graph(graph, file)


def dense(sparse: onnx.SparseTensorProto, file: Path) -> onnx.TensorProto:
    """The same values with the zeros between them. Indices are flat, or one row a value."""
    name, shape = sparse.values.name, tuple(sparse.dims)
    try:
        values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
        if prod(shape) * values.itemsize > MAX_BYTES:
            raise UserError(
                f"{file}: sparse weights {name} of shape {list(shape)} take 2 GB and more when stored dense"
            )
        if indices.min(initial=0) < 0:
            raise ValueError("an index is negative")
        result = np.zeros(shape, values.dtype)
        if indices.ndim == 2:
            result[tuple(indices.T)] = values
        else:
            result.reshape(-1)[indices] = values
    except (ValueError, IndexError, TypeError) as error:
        raise UserError(f"{file}: sparse weights {name} cannot be read ({reason_of(error)})") from error
    return numpy_helper.from_array(result, name)
