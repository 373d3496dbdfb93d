"""A float graph as ONNX text through every stage, and what device and onnxruntime make of the result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from bevel.backends import target as targets
from bevel.backends.program.program import Port, Program
from bevel.backends.tir import importer
from bevel.calib.observe.observe import observe
from bevel.passes.base import Note
from bevel.passes.canonicalize import canonicalize
from bevel.passes.graph.quantizers import is_dequantize, is_quantize
from bevel.passes.integerize.integerize import Format, integerize
from bevel.passes.partition.partition import partition
from bevel.passes.quantize import QuantizeOptions, export, export_quantized, quantize

settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")

Array = NDArray[Any]
Sample = Mapping[str, Array]
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
CALIBRATION_RUNS = 4


def parse(
    body: str,
    inputs: str = "float[1,3,8,8] x",
    outputs: str = "float[] y",
    weights: str = "",
    values: Mapping[str, Any] | None = None,
    opset: int = 21,
) -> onnx.ModelProto:
    """A model from the text of its body. `weights` become initializers: `values`, or seeded normal numbers."""
    arguments = ", ".join(filter(None, (inputs, weights)))
    header = f'<ir_version: 10, opset_import: ["" : {opset}]>'
    model = onnx.parser.parse_model(f"{header}\ng ({arguments}) => ({outputs}) {{\n{body}\n}}")
    count = inputs.count(", ") + 1
    rng = np.random.default_rng(0)
    for value in list(model.graph.input)[count:]:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        array = np.asarray((values or {}).get(value.name, 0.5 * rng.standard_normal(shape)), dtype).reshape(shape)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    del model.graph.input[count:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


@dataclass(frozen=True)
class Samples:
    """Calibration runs as a dataset."""

    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Any:
        return iter(self.samples)


def session(model: onnx.ModelProto, optimized: bool = False) -> ort.InferenceSession:
    """`optimized`: stock onnxruntime, graph optimizations at their default; else every node as it is written."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def run(opened: ort.InferenceSession, sample: Sample) -> dict[str, Array]:
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(names, dict(sample)), strict=True))


@dataclass(frozen=True)
class Compiled:
    """What the stages made of one model. shipped: the quantized model as its file has it."""

    quantized: onnx.ModelProto
    shipped: onnx.ModelProto
    integer: onnx.ModelProto
    program: Program
    notes: tuple[Note, ...]

    @cached_property
    def sessions(self) -> tuple[ort.InferenceSession, ort.InferenceSession]:
        return session(self.integer, optimized=True), session(self.integer)

    @cached_property
    def reference(self) -> ort.InferenceSession:
        return session(self.quantized)

    @property
    def ops(self) -> list[str]:
        return [node.op_type for node in self.integer.graph.node]

    @property
    def calls(self) -> list[str]:
        return [type(call.kernel).__name__ for call in self.program.calls]

    def node_notes(self, node: str) -> str:
        return "; ".join(note.text for note in self.notes if note.node == node)

    def extremes(self, seed: int = 0) -> Iterable[dict[str, Array]]:
        """Inputs at every port: all lowest, all highest, all zero, and random over the whole range."""
        rng = np.random.default_rng(seed)
        yield {port.name: low(port) for port in self.program.inputs}
        yield {port.name: high(port) for port in self.program.inputs}
        yield {port.name: np.full(port.shape, port.zero_point or 0, port.dtype) for port in self.program.inputs}
        yield {port.name: uniform(port, rng) for port in self.program.inputs}
        yield {port.name: uniform(port, rng) for port in self.program.inputs}

    def run(self, sample: Sample) -> dict[str, Array]:
        """The device's outputs, after proving that they are onnxruntime's at both settings, bit for bit."""
        found = self.program.run(dict(sample))
        for opened in self.sessions:
            expected = run(opened, sample)
            assert list(expected) == list(found)
            for name, array in expected.items():
                assert (array.shape, array.dtype) == (found[name].shape, found[name].dtype)
                np.testing.assert_array_equal(found[name], array, strict=True)
        return found

    def error(self, sample: Sample) -> int:
        """How many steps of the output's scale lie between the device and the QDQ model, at most, at one sample."""
        found = self.run(sample)
        reals = {port.name: real(sample[port.name], port) for port in self.program.inputs}
        expected = run(self.reference, reals)
        return max(steps_apart(found[port.name], expected[port.name], port) for port in self.program.outputs)


def low(port: Port) -> Array:
    dtype = np.dtype(port.dtype)
    return np.full(port.shape, -1e4 if dtype.kind == "f" else np.iinfo(dtype).min, dtype)


def high(port: Port) -> Array:
    dtype = np.dtype(port.dtype)
    return np.full(port.shape, 1e4 if dtype.kind == "f" else np.iinfo(dtype).max, dtype)


def uniform(port: Port, rng: np.random.Generator) -> Array:
    dtype = np.dtype(port.dtype)
    if dtype.kind == "f":
        return np.asarray(3 * rng.standard_normal(port.shape), dtype)  # of rank 0, too
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, port.shape, dtype, endpoint=True)


def real(codes: Array, port: Port) -> Array:
    if port.scale is None or port.zero_point is None:
        return codes
    scale, zero_point = port.parameters
    return ((codes.astype(np.int32) - zero_point) * scale).astype(np.float32)


def steps_apart(found: Array, expected: Array, port: Port) -> int:
    if port.scale is None or port.zero_point is None:
        kind = found.dtype.kind
        assert kind in "iu", f"{port.name} is {found.dtype}: steps are counted between integers"
        return int(np.abs(found.astype(np.int64) - expected).max(initial=0))
    scale, zero_point = port.parameters
    codes = np.rint(expected / scale).astype(np.int64) + zero_point
    return int(np.abs(found.astype(np.int64) - codes).max(initial=0))


def float_tensors(model: onnx.ModelProto) -> set[str]:
    """The float tensors of the model, functions opened: all but scales of quantizers and of Resize (its geometry), and
    what lies outside the first and last quantizer."""
    flat = gs.import_onnx(
        onnx.shape_inference.infer_shapes(onnx.inliner.inline_local_functions(model), strict_mode=True)
    )
    found = set()
    ends = {tensor.name for tensor in (*flat.inputs, *flat.outputs)}
    for name, tensor in flat.tensors().items():
        quantizer_only = tensor.outputs and all(is_quantize(node) or is_dequantize(node) for node in tensor.outputs)
        outside = name in ends and (quantizer_only or (tensor.inputs and is_dequantize(tensor.inputs[0])))
        scale = isinstance(tensor, gs.Constant) and (quantizer_only or all(n.op == "Resize" for n in tensor.outputs))
        if tensor.dtype is None or np.dtype(tensor.dtype).kind == "f":
            found |= set() if outside or scale else {name}
    return found


def calibration(model: onnx.ModelProto, shift: float = 0.0, spread: float = 1.0) -> tuple[Sample, ...]:
    """Seeded normal floats around `shift`, of standard deviation `spread`."""
    rng = np.random.default_rng(1)
    types = {one.name: one.type.tensor_type for one in model.graph.input}
    shapes = {
        name: [dim.dim_value for dim in one.shape.dim]
        for name, one in types.items()
        if one.elem_type == onnx.TensorProto.FLOAT
    }
    return tuple(
        {name: np.asarray(shift + spread * rng.standard_normal(shape), np.float32) for name, shape in shapes.items()}
        for _ in range(CALIBRATION_RUNS if shapes else 0)
    )


def compiled(
    model: onnx.ModelProto,
    samples: Iterable[Sample] | None = None,
    options: QuantizeOptions | None = None,
    inputs: Format = "quantized",
    outputs: Format = "quantized",
    islands: bool = False,
) -> Compiled:
    """All stages of `bevel.tools.compile` up to the program; models that come quantized keep their scales."""
    graph, notes = canonicalize(model)
    if not any(map(is_quantize, graph.nodes)):
        given = tuple(samples) if samples is not None else calibration(model)
        result = quantize(
            graph,
            observe(gs.export_onnx(graph), Samples(given), QuantizeOptions().wants(graph)),
            options or QuantizeOptions(),
        )
        graph, notes = result.graph, notes + result.notes
    quantized, shipped = export(graph), export_quantized(graph)
    integer, more = integerize(graph, inputs, outputs, targets.load("cortex-m7"))
    program, last = partition(integer, "m", islands, importer, [*notes, *more])
    return Compiled(quantized, shipped, integer, program, (*notes, *more, *last))


@pytest.fixture(autouse=True)
def by_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """graphsurgeon compares nodes with all they read and make, and tensors by name: slow, and seldom what is meant."""

    def guarded(equal: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
        def compare(one: Any, other: Any) -> bool:
            caller = sys._getframe(1).f_code
            if "onnx_graphsurgeon" not in caller.co_filename:
                raise AssertionError(f"{caller.co_filename}:{caller.co_qualname} compares what it should know by `is`")
            return equal(one, other)

        return compare

    for kind in (gs.Node, gs.Tensor):
        monkeypatch.setattr(kind, "__eq__", guarded(kind.__eq__))


@pytest.fixture(scope="session")
def text() -> Callable[..., onnx.ModelProto]:
    return parse


@pytest.fixture(scope="session")
def stages() -> Callable[..., Compiled]:
    return compiled


@pytest.fixture(scope="session")
def floats() -> Callable[[onnx.ModelProto], set[str]]:
    return float_tensors


@pytest.fixture(scope="session")
def around() -> Callable[..., tuple[Sample, ...]]:
    return calibration
