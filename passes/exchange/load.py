"""Read an ONNX model from disk and pin its shapes, or say in one line why that cannot be.

Nothing outside the model's folder is read, and no operator of ours ever sees a model that onnxruntime refuses.
What other tools and older or newer exporters write otherwise is brought to one form by `bevel.passes.exchange`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import inliner

from bevel.calib.data.files import check_plain
from bevel.calib.errors import UserError, reason_of
from bevel.passes.base import Note
from bevel.passes.canonicalize.convert_opset import IR_VERSION, OPSET, opset_of
from bevel.passes.exchange.check_types import check_types
from bevel.passes.exchange.cut_outputs import cut_outputs, declare_outputs
from bevel.passes.exchange.external_data import MAX_BYTES, check_stored, densify, load_external_data
from bevel.passes.exchange.fix_inputs import fix_inputs
from bevel.passes.exchange.legible_text import make_legible
from bevel.passes.exchange.lower_opset import STANDARD, all_nodes, lower_opset
from bevel.passes.exchange.put_steps_first import put_steps_first
from bevel.passes.exchange.qonnx.import_qonnx import import_qonnx
from bevel.passes.exchange.qoperator.forms import DYNAMIC, WAY_OUT
from bevel.passes.exchange.spell_gates import spell_gates
from bevel.passes.exchange.widen_floats import widen_floats
from bevel.passes.operators.base import DOMAIN

ONNX_DOMAIN = "ai.onnx"
OLDEST_OPSET = 7  # of onnxruntime's promise; it runs some operators of older ones
OLDEST_IR = 8  # the oldest we write: initializers need not be inputs (since 4), functions allowed
FIRST_BYTE = b"\x08"  # the tag of ModelProto.ir_version, which every ONNX file begins with
FATAL_ONLY = 4  # errors are raised, too


@dataclass(frozen=True)
class Loaded:
    """A model as every later stage takes it, and what was changed on the way."""

    model: onnx.ModelProto
    notes: tuple[Note, ...]


def load_model(path: str | Path, outputs_at: Sequence[str] = ()) -> onnx.ModelProto:
    """The model of `load`, for those who need no notes."""
    return load(path, outputs_at).model


def load(path: str | Path, outputs_at: Sequence[str] = (), constants: Mapping[str, Any] | None = None) -> Loaded:
    """The model with its external data inside it, only true inputs among its inputs, floats of 32 bits, without local
    functions, and QONNX's quantizers in ONNX.

    Where `outputs_at` names tensors or nodes, these are the outputs, and what is behind them is not looked at.
    `constants`: values of inputs that are none (`bevel.passes.exchange.fix_inputs`).
    Older opsets stay (canonicalization converts them, and proves it). Raises UserError, one line that names the file.
    """
    file = Path(path)
    model = parse(file)
    escaped = make_legible(model, file)
    drop_domain_name(model)
    try:
        if outputs_at:
            cut_outputs(model, outputs_at)
        load_external_data(model, file)
        densify(model, file)
        check_stored(model)
        check_graph(model)
        check_types(model)
        chosen = fix_inputs(model, constants or {})
        drop_initialized_inputs(model)
        lower_opset(model, OPSET)
        model.ir_version = min(max(model.ir_version, OLDEST_IR), IR_VERSION)
        model = without_functions(model)
        notes = [Note("load", "model", "changed", f"its name {name} is written with escapes here") for name in escaped]
        notes += [*chosen, *widen_floats(model), *put_steps_first(model), *spell_gates(model)]
        model = import_qonnx(model)
        check_loads(model)
        declare_outputs(model)
    except UserError as error:
        raise error if str(error).startswith(f"{file}: ") else UserError(f"{file}: {error}") from error
    return Loaded(model, tuple(notes))


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


def drop_domain_name(model: onnx.ModelProto) -> None:
    """The standard operators' domain has two names, and what is appended later uses the empty one."""
    for entry in (*model.opset_import, *(one for function in model.functions for one in function.opset_import)):
        if entry.domain == ONNX_DOMAIN:
            entry.domain = ""
    for node in all_nodes(model):
        if node.domain == ONNX_DOMAIN:
            node.domain = ""


def check_graph(model: onnx.ModelProto) -> None:
    """Refuse what is no graph of tensors of numbers, and what is quantized anew for each input."""
    graph = model.graph
    if not graph.output:
        raise UserError("the graph has no outputs")
    for kind, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            held = value.type.WhichOneof("value") or "tensor_type"
            if held != "tensor_type":
                raise UserError(f"{kind} {value.name} is no tensor of numbers but a {held.removesuffix('_type')}")
            if value.type.tensor_type.elem_type == onnx.TensorProto.STRING:
                raise UserError(f"{kind} {value.name} is no tensor of numbers but of strings")
    for value in graph.input:
        if not value.type.tensor_type.elem_type:
            raise UserError(f"input {value.name} is no tensor of numbers: it has no type")
    for node in all_nodes(model):
        name = f"node {node.name or node.output[0]} ({node.op_type})" if node.output else ""
        if node.op_type == "Optional":
            raise UserError(f"{name} gives an optional value; only tensors can be compiled")
        if node.op_type in DYNAMIC:
            raise UserError(f"{name} takes its scale from each input's own values; {WAY_OUT}")


def drop_initialized_inputs(model: onnx.ModelProto) -> None:
    """Old exporters list each weight among the inputs too; only what has no value is an input. Of weights that are
    there twice, the last ones count, as in onnxruntime."""
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    if len(known) < len(model.graph.initializer):
        kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in known.values()]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
    inputs = [value for value in model.graph.input if value.name not in known]
    if not inputs:
        raise UserError("the model has no inputs: what it computes is a constant")
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without local functions but Bevel's own."""
    kept = [(one.domain, one.name) for one in model.functions if one.domain == DOMAIN]
    for one in model.functions:
        if one.domain in STANDARD:
            raise UserError(f"its local function {one.name} stands in ONNX's own domain; give it a domain of its own")
    if len(kept) == len(model.functions):
        return model
    try:
        return inliner.inline_selected_functions(model, kept, exclude=True)
    except Exception as error:  # its errors share no base class but Exception
        raise UserError(f"its local functions cannot be inlined ({reason_of(error)})") from error


def check_loads(model: onnx.ModelProto) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = FATAL_ONLY
    try:
        ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        way_out = (
            "" if opset_of(model) >= OLDEST_OPSET else f"; it runs opset {OLDEST_OPSET} and newer: export it again"
        )
        raise UserError(f"onnxruntime cannot load it: {reason_of(error)}{way_out}") from error


def fix_batch(model: onnx.ModelProto, batch: int = 1, dims: Mapping[str, int] | None = None) -> onnx.ModelProto:
    """A copy of the model whose inputs have static shapes.

    An unknown first dimension becomes `batch`, wherever its name appears. Other unknown dimensions are looked up in
    `dims` as `input:axis`, or by name where they have one; `dims` also overrides `batch`.
    Raises UserError for a dimension that is not given or 0, and a name that does not exist.
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
            size = sizes.get(place(value.name, axis), sizes.get(name))
            if size is None:
                raise UserError(
                    f"input {value.name}: dimension {axis} ({name}) is dynamic; give its size with --dim {name}=N "
                    "(--batch N is for the first dimension alone), or samples that have it"
                )
            dim.dim_value = size  # a oneof: the name goes
    forget_shapes(fixed)
    return fixed


def check_sizes(model: onnx.ModelProto, batch: int, sizes: dict[str, int]) -> None:
    known, places = [], []
    for value in model.graph.input:
        if not value.type.tensor_type.HasField("shape"):
            raise UserError(f"input {value.name}: its rank is unknown; export the model with shapes")
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if is_dynamic(dim):
                known.append(label(value.name, axis, dim))
                places.append(place(value.name, axis))
            elif dim.dim_value == 0:
                raise UserError(f"input {value.name}: dimension {axis} is 0; what has no elements cannot be compiled")
    for name, size in {"batch": batch, **sizes}.items():
        if size < 1:
            raise UserError(f"dimension {name}: a size must be 1 or more, not {size}")
    for name in sizes:
        if name not in (*known, *places):
            raise UserError(f"no dynamic dimension {name}; the model has: {', '.join(dict.fromkeys(known)) or 'none'}")


def is_dynamic(dim: onnx.TensorShapeProto.Dimension) -> bool:
    return not dim.HasField("dim_value") or dim.dim_value < 0


def label(value: str, axis: int, dim: onnx.TensorShapeProto.Dimension) -> str:
    """The dimension's name; exporters write a question mark where they have none."""
    name: str = dim.dim_param.strip("?")
    return name or place(value, axis)


def place(value: str, axis: int) -> str:
    return f"{value}:{axis}"


def forget_shapes(model: onnx.ModelProto) -> None:
    """Drop what the model says of its other tensors: those sizes may belong to another batch."""
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
