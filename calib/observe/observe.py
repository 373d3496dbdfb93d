"""One pass of samples through the float model, and the statistics of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from bevel.calib.data.dataset import InputType, Runs
from bevel.calib.errors import UserError
from bevel.calib.observe.statistics import NotFiniteError, Statistics

Progress = Callable[[int, int], None]

LAST_AXIS_OPERATORS = frozenset({"MatMul", "Gemm", "LayerNormalization", "RMSNormalization"})


def model_inputs(model: onnx.ModelProto) -> dict[str, InputType]:
    """{name: shape and element type} of the inputs that are not initializers, for `open_dataset`.

    Raises UserError for inputs that are no tensors of static shape.
    """
    initializers = {tensor.name for tensor in model.graph.initializer}
    return {value.name: input_type(value) for value in model.graph.input if value.name not in initializers}


def input_type(value: onnx.ValueInfoProto) -> InputType:
    if value.type.WhichOneof("value") != "tensor_type":
        raise UserError(f"model input {value.name!r} is not a tensor; only tensors can be calibrated")
    tensor = value.type.tensor_type
    dims = [dim.dim_value or dim.dim_param or "?" for dim in tensor.shape.dim]
    if not tensor.HasField("shape") or any(isinstance(dim, str) for dim in dims):
        raise UserError(f"model input {value.name!r} has shape {dims}; fix every dimension, such as with --batch")
    return InputType(tuple(map(int, dims)), onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def observe(
    model: onnx.ModelProto,
    dataset: Runs,
    tensors: Sequence[str] | None = None,
    progress: Progress | None = None,
    channel_axes: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Statistics]:
    """{tensor name: statistics} of the float tensors that `model` reads or computes at its top level, in graph order.

    `tensors` asks for these only. `progress(done, total)` is called after each model run. `channel_axes` overrides the
    axes along which a tensor's channel means are kept (`read_axes` says the default). Runs are one at a time on one
    thread without graph optimization, so that the result depends on nothing but model and samples.

    Raises UserError for NaN or infinity, naming tensor, node and sample, and for samples the model cannot run;
    ValueError for names in `tensors` that the model has not.
    """
    names = observable(model) if tensors is None else list(tensors)
    if unknown := set(names) - set(observable(model)):
        raise ValueError(f"the model computes no tensor {sorted(unknown)}")
    axes = {**read_axes(model, names), **(channel_axes or {})}
    session, outputs = session_with_outputs(model, names)
    statistics: dict[str, Statistics] = {}
    for run, sample in enumerate(dataset):
        for name, array in run_model(session, outputs, sample, run).items():
            if name in axes and is_float(array):
                found = statistics_of(model, name, array, axes[name], run)
                statistics[name] = statistics.get(name, Statistics.empty()).merge(found)
        if progress is not None:
            progress(run + 1, len(dataset))
    return {name: statistics[name] for name in names if name in statistics}


def always_zero(statistics: Mapping[str, Statistics]) -> dict[str, str]:
    """{tensor name: sentence for the report} of the tensors that never held anything but 0; their scale is 1."""
    return {
        name: f"was 0 in all {one.count} elements of the calibration data: its scale of 1 is arbitrary"
        for name, one in statistics.items()
        if one.always_zero
    }


def observable(model: onnx.ModelProto) -> list[str]:
    """Graph inputs, then node outputs, in graph order."""
    computed = [name for node in model.graph.node if node.op_type != "Constant" for name in node.output if name]
    return [*model_inputs_names(model), *computed]


def model_inputs_names(model: onnx.ModelProto) -> list[str]:
    initializers = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in initializers]


def read_axes(model: onnx.ModelProto, tensors: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The axes of channels that the readers of each tensor mean: -1 for matrix products and layer normalizations, 1
    for everything else. A tensor may have readers of both kinds."""
    axes: dict[str, set[int]] = {name: set() for name in tensors}
    for node in model.graph.node:
        for name in node.input:
            if name in axes:
                axes[name].add(-1 if node.op_type in LAST_AXIS_OPERATORS else 1)
    return {name: tuple(sorted(found)) or (1,) for name, found in axes.items()}


def session_with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> tuple[ort.InferenceSession, list[str]]:
    """A session whose outputs include every computed tensor in `names`, and the outputs to ask for."""
    inputs = set(model_inputs_names(model))
    outputs = [name for name in dict.fromkeys(names) if name not in inputs]
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    present = {value.name for value in model.graph.output}
    # onnxruntime infers the types of outputs that declare none.
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in present)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, too
    session = ort.InferenceSession(extended.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session, outputs


def run_model(
    session: ort.InferenceSession, outputs: list[str], sample: Mapping[str, NDArray[Any]], run: int
) -> dict[str, NDArray[Any]]:
    """{name: array} of one run, the sample's own arrays included. Raises UserError where the values do not run."""
    try:
        results = session.run(outputs, dict(sample)) if outputs else []
    except (ort.capi.onnxruntime_pybind11_state.InvalidArgument, ort.capi.onnxruntime_pybind11_state.Fail) as error:
        raise UserError(f"the model cannot run sample {run}: {str(error).splitlines()[0]}") from error
    return {**sample, **dict(zip(outputs, results, strict=True))}


def is_float(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"


def statistics_of(model: onnx.ModelProto, name: str, array: NDArray[Any], axes: Sequence[int], run: int) -> Statistics:
    """Statistics of one tensor of one run. Raises UserError naming tensor, node and sample for NaN and infinity."""
    try:
        return Statistics.of(array, [axis if -array.ndim <= axis < array.ndim else -1 for axis in axes])
    except NotFiniteError as error:
        raise UserError(f"tensor {name!r} {made_by(model, name)} holds {error.value} in sample {run}") from error


def made_by(model: onnx.ModelProto, tensor: str) -> str:
    for node in model.graph.node:
        if tensor in node.output:
            return f"({node.op_type} node {node.name!r})" if node.name else f"({node.op_type} node)"
    return "(graph input)"
