"""Read an ONNX model from disk and pin its shapes, or say in one line why that cannot be.

Nothing outside the model's folder is read, and no operator of ours ever sees a model that onnxruntime refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from bevel.calib.errors import UserError
from bevel.calib.files import check_plain
from bevel.passes.cut_outputs import cut_outputs, declare_outputs
from bevel.passes.qonnx.import_qonnx import import_qonnx

MAX_BYTES = 2**31 - 1  # protobuf's limit for one message
IR_VERSION = 8  # the oldest we write: initializers need not be inputs (since 4), functions allowed
FIRST_BYTE = b"\x08"  # the tag of ModelProto.ir_version, which every ONNX file begins with
ERROR_ONLY = 3


def load_model(path: str | Path, outputs_at: Sequence[str] = ()) -> onnx.ModelProto:
    """The model with its external data inside it, only true inputs among its inputs, and QONNX's quantizers in ONNX.

    Where `outputs_at` names tensors or nodes, these are the outputs, and what is behind them is not looked at.
    Older opsets stay (canonicalization converts them, and proves it). Raises UserError, one line that names the file.
    """
    file = Path(path)
    model = parse(file)
    if outputs_at:
        cut_outputs(model, outputs_at)
    load_external_data(model, file)
    check_graph(model, file)
    drop_initialized_inputs(model)
    model.ir_version = max(model.ir_version, IR_VERSION)
    model = import_qonnx(model)
    check_loads(model, file)
    if outputs_at:
        declare_outputs(model)
    return model


def parse(file: Path) -> onnx.ModelProto:
    try:
        check_plain(file)
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"{file}: {size} bytes; models of 2 GB and more are not supported")
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error
    if not data:
        raise UserError(f"{file}: the file is empty")
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        found = "cut short or damaged" if data.startswith(FIRST_BYTE) else "not an ONNX file"
        raise UserError(f"{file}: {found} ({size} bytes)") from error
    if not model.HasField("graph") or not model.opset_import:
        found = "cut short or damaged" if data.startswith(FIRST_BYTE) else "not an ONNX file"
        raise UserError(f"{file}: {found} (no graph in it)")
    return model


def load_external_data(model: onnx.ModelProto, file: Path) -> None:
    """Bring tensors stored in other files into the model, after checking where those files are."""
    total = model.ByteSize()
    for tensor in stored_tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            total += check_external(tensor, file)
    if total > MAX_BYTES:
        raise UserError(f"{file}: {total} bytes with its external data; models of 2 GB and more are not supported")
    onnx.load_external_data_for_model(model, str(file.parent))


def stored_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    for node in (node for body in bodies for node in body):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def check_external(tensor: onnx.TensorProto, file: Path) -> int:
    """The stored size of one external tensor in bytes."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    folder = file.parent.resolve()
    target = (folder / location).resolve()
    if Path(location).is_absolute() or ".." in Path(location).parts or not target.is_relative_to(folder):
        raise UserError(f"{file}: weights of {tensor.name} lie outside the model's folder ({location}); refused")
    if not location or not target.is_file():
        raise UserError(f"{file}: the file with the weights of {tensor.name} is missing ({location})")
    size, offset = target.stat().st_size, int(entries.get("offset", 0))
    length = int(entries.get("length", size - offset))
    if offset < 0 or length < 0 or offset + length > size:
        raise UserError(f"{file}: {location} is cut short: {tensor.name} ends at {offset + length}, the file at {size}")
    return length


def check_graph(model: onnx.ModelProto, file: Path) -> None:
    """Refuse what has no static dataflow."""
    graph = model.graph
    if not graph.output:
        raise UserError(f"{file}: the graph has no outputs")
    if graph.sparse_initializer:
        raise UserError(f"{file}: sparse weights ({graph.sparse_initializer[0].values.name}); store them dense")
    for node in (*graph.node, *(node for function in model.functions for node in function.node)):
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise UserError(
                f"{file}: node {node.name or node.output[0]} is a {node.op_type}; control flow is not supported"
            )
    for value in graph.input:
        elem_type = value.type.tensor_type.elem_type
        if not elem_type or elem_type == onnx.TensorProto.STRING:
            raise UserError(f"{file}: input {value.name} is no tensor of numbers")


def drop_initialized_inputs(model: onnx.ModelProto) -> None:
    """Old exporters list each weight among the inputs too; only what has no value is an input."""
    known = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in known]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def check_loads(model: onnx.ModelProto, file: Path) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = ERROR_ONLY
    try:
        ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{file}: onnxruntime cannot load it: {reason}") from error


def fix_batch(model: onnx.ModelProto, batch: int = 1, dims: Mapping[str, int] | None = None) -> onnx.ModelProto:
    """A copy of the model whose inputs have static shapes.

    An unknown first dimension becomes `batch`, wherever its name appears. Other unknown dimensions are looked up in
    `dims` by name, or as `input:axis` where they have none; `dims` also overrides `batch`.
    Raises UserError for a dimension that is not given and a name that does not exist.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    sizes = dict(dims or {})
    check_sizes(model, batch, sizes)
    for value in fixed.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if is_dynamic(dim) and axis == 0:
                sizes.setdefault(label(value.name, axis, dim), batch)
    for value in fixed.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not is_dynamic(dim):
                continue
            name = label(value.name, axis, dim)
            if name not in sizes:
                raise UserError(
                    f"input {value.name}: dimension {axis} ({name}) is dynamic; give its size by name ({name}=N)"
                )
            dim.dim_value = sizes[name]  # a oneof: the name goes
    forget_shapes(fixed)
    return fixed


def check_sizes(model: onnx.ModelProto, batch: int, sizes: dict[str, int]) -> None:
    known = []
    for value in model.graph.input:
        if not value.type.tensor_type.HasField("shape"):
            raise UserError(f"input {value.name}: its rank is unknown; export the model with shapes")
        dims = enumerate(value.type.tensor_type.shape.dim)
        known += [label(value.name, axis, dim) for axis, dim in dims if is_dynamic(dim)]
    for name, size in {"batch": batch, **sizes}.items():
        if size < 1:
            raise UserError(f"dimension {name}: a size must be 1 or more, not {size}")
    for name in sizes:
        if name not in known:
            raise UserError(f"no dynamic dimension {name}; the model has: {', '.join(dict.fromkeys(known)) or 'none'}")


def is_dynamic(dim: onnx.TensorShapeProto.Dimension) -> bool:
    return not dim.HasField("dim_value") or dim.dim_value < 0


def label(value: str, axis: int, dim: onnx.TensorShapeProto.Dimension) -> str:
    return dim.dim_param or f"{value}:{axis}"


def forget_shapes(model: onnx.ModelProto) -> None:
    """Drop what the model says of its other tensors: those sizes may belong to another batch."""
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
