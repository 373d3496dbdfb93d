"""What quantization cost: the float, the quantized and the integer model on the same samples in onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from bevel.backends.program.program import Port
from bevel.calib.observe.observe import workers
from bevel.passes.graph.quantizers import DEQUANTIZERS, QUANTIZERS, ROUNDINGS
from bevel.passes.states.pairs import results_of, states_of
from bevel.tools.accuracy.metrics.meters import Meters
from bevel.tools.accuracy.outputs import Described
from bevel.tools.accuracy.quality import Totals, power, sqnr_db
from bevel.tools.accuracy.stepper import Stepper
from bevel.tools.run.data import Data
from bevel.tools.run.stages import Advance

Array = NDArray[Any]
Sample = Mapping[str, Array]

NODE_SAMPLES = 32  # per-node error is an average over elements already; more samples do not change its order


@dataclass(frozen=True)
class Runner:
    """A model in onnxruntime. Where a port is quantized, `run` takes and gives the real values all the same."""

    session: ort.InferenceSession
    ports: Mapping[str, Port] = field(default_factory=dict)

    def run(self, sample: Sample) -> dict[str, Array]:
        outputs = self.run_raw(encode(sample, self.ports))
        return {name: decode(value, self.ports.get(name)) for name, value in outputs.items()}

    def run_raw(self, sample: Sample) -> dict[str, Array]:
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, dict(sample)), strict=True))


# It rounds the weights of a float Conv or Gemm between quantizers to int8: a float node is no float node then.
REWRITES = ["WeightBiasQuantization"]
# Of stored weights and a float product it makes a MatMulNBits, which rounds activations to int8 unless told not to.
FLOAT_PRODUCTS = ("session.qdq_matmulnbits_accuracy_level", "1")  # float32


def runner(model: onnx.ModelProto, ports: Sequence[Port] = (), optimized: bool = False) -> Runner:
    """`optimized`: onnxruntime's default settings, but for `REWRITES`; otherwise every node runs as it is written."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are raised, too
    options.intra_op_num_threads = 1  # sessions take turns: idle threads of one would spin against the next
    options.add_session_config_entry(*FLOAT_PRODUCTS)
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"], disabled_optimizers=REWRITES
    )
    return Runner(session, {port.name: port for port in ports if port.scale is not None})


def encode(sample: Sample, ports: Mapping[str, Port]) -> dict[str, Array]:
    """The sample as the ports take it: ONNX QuantizeLinear where a port is quantized."""
    return {name: _quantize(value, ports[name]) if name in ports else value for name, value in sample.items()}


def _quantize(value: Array, port: Port) -> Array:
    bounds = np.iinfo(port.dtype)
    scale, zero_point = port.parameters
    codes = np.rint(value / scale) + zero_point
    return np.asarray(np.clip(codes, bounds.min, bounds.max), port.dtype)


def decode(value: Array, port: Port | None) -> Array:
    if port is None:
        return value
    scale, zero_point = port.parameters
    reals: Array = (value.astype(np.int32) - zero_point).astype(np.float32) * scale
    return reals


@dataclass(frozen=True)
class Models:
    """One network three times. `ports` are those of the integer one, whose edges may be quantized; `outputs`: what its
    outputs are."""

    exact: onnx.ModelProto
    quantized: onnx.ModelProto
    integer: onnx.ModelProto
    ports: tuple[Port, ...]
    outputs: Mapping[str, Described] = field(default_factory=dict)

    def runners(self) -> tuple[Runner, Runner, Runner]:
        quantized = dequantize_weights(self.quantized)
        return runner(self.exact), runner(quantized), runner(self.integer, self.ports, optimized=True)

    def steppers(self) -> list[Stepper]:
        """Runners that keep their states."""
        states, results = states_of(self.integer), results_of(self.integer)
        return [Stepper(one, states, results) for one in self.runners()]


def measured(models: Models, data: Data, advance: Advance, meters: Meters | None = None) -> Totals:
    """The three models on all of --eval, or without it on the first of the other samples: the integer against float.
    `meters`, of the three, count along.

    The integer model runs at onnxruntime's default settings, where it answers the same (see `vectors.make_vectors`).
    """
    totals, labels = Totals(models.outputs), labels_of(data)
    count = len(data.vectors) if data.evaluation else min(len(data.vectors), NODE_SAMPLES)
    runs = ((sample, data.vectors.begins(run)) for run, sample in enumerate(islice(data.vectors, count)))
    for done, (sample, found) in enumerate(answered(models.steppers(), runs)):
        totals.add(found, labels)
        if meters is not None:
            meters.add(sample, found)
        advance(done + 1, count)
    return totals


def answered(
    steppers: Sequence[Stepper], runs: Iterable[tuple[Sample, bool]]
) -> Iterator[tuple[Sample, list[dict[str, Array]]]]:
    """Each sample with what the models make of it, in order; runs: samples, and whether a sequence begins with each.

    As many runs at a time as there are processors: of models without states each is on its own, of others those of
    unlike models are. A run has one thread, so that what it gives does not depend on the others.
    """
    apart = not any(one.states for one in steppers)
    left = iter(runs)
    with ThreadPoolExecutor(workers()) as pool:
        while part := list(islice(left, workers() if apart else 1)):
            asked = [[pool.submit(one.run, sample, begins) for one in steppers] for sample, begins in part]
            for (sample, _), futures in zip(part, asked, strict=True):
                yield sample, [one.result() for one in futures]


def labels_of(data: Data) -> Array | None:
    """Of --eval, where there is a row for each sample."""
    found = data.evaluation
    return found.labels if found is not None and found.group == 1 else None


def dequantize_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with its constant weights unpacked and dequantized once, by onnxruntime, and not in every run.

    onnxruntime packs constant weights for its float products, whose sums may then round differently in the last bit.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    ready: list[onnx.NodeProto] = []
    known = set(constants)
    for node in model.graph.node:
        if node.input and set(node.input) <= known:
            ready.append(node)
            known |= set(node.output)
    if not ready:
        return model
    made = {node.output[0] for node in ready}
    others = [node for node in model.graph.node if node.output[0] not in made]
    read = {name for node in others for name in node.input} | {port.name for port in model.graph.output}
    used = dict.fromkeys(name for node in ready for name in node.input if name in constants)
    outputs = [onnx.ValueInfoProto(name=name) for name in sorted(made & read)]
    graph = onnx.helper.make_graph(ready, "weights", [], outputs, [constants[name] for name in used])
    part = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    part.functions.extend(model.functions)
    values = runner(part).run_raw({})
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    result.graph.node.extend(others)
    result.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in values.items())
    return result


def node_errors(
    reference: onnx.ModelProto, quantized: onnx.ModelProto, samples: Iterable[Sample], advance: Advance
) -> dict[str, float | None]:
    """{node or input of the float graph: SQNR in dB of what it passes on, quantized against float}, on 32 samples."""
    made = {name for node in reference.graph.node for name in node.output}
    points = input_points(quantized) | quantized_points(quantized, made)
    if not points:
        return {}
    first = runner(exposing(reference, [before for before, _ in points.values() if before in made]))
    second = runner(exposing(quantized, [after for _, after in points.values()]))
    signal, noise = dict.fromkeys(points, 0.0), dict.fromkeys(points, 0.0)
    for index, sample in enumerate(islice(samples, NODE_SAMPLES)):
        exact, rounded = {**sample, **first.run_raw(sample)}, second.run_raw(sample)
        for node, (before, after) in points.items():
            wide = exact[before].astype(np.float64)
            known = np.isfinite(wide)
            signal[node] += power(wide[known])
            noise[node] += power(wide[known] - rounded[after][known])
        advance(index + 1, NODE_SAMPLES)
    return {node: sqnr_db(signal[node], noise[node]) for node in points}


def input_points(quantized: onnx.ModelProto) -> dict[str, tuple[str, str]]:
    """{input: (itself, what its only quantizers make of it)} of the quantized inputs."""
    readers = readers_of(quantized)
    found = {value.name: _point(value.name, readers) for value in quantized.graph.input}
    return {name: point for name, point in found.items() if point is not None and point[0] == name}


def readers_of(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def quantized_points(quantized: onnx.ModelProto, known: set[str]) -> dict[str, tuple[str, str]]:
    """{node: (float tensor, the same tensor after its quantizers)} of each node whose result is quantized.

    A Relu or Clip between a node and its quantizer is part of the node. `known` are the tensors of the float graph.
    """
    readers = readers_of(quantized)
    found = {}
    for node in quantized.graph.node:
        if node.op_type in (*QUANTIZERS, *DEQUANTIZERS):
            continue
        point = _point(node.output[0], readers)
        if point is None:
            continue
        before = next((name for name in point if name in known), None)
        if before is not None:
            found[node.name] = (before, point[1])
    return found


def _point(tensor: str, readers: Mapping[str, list[onnx.NodeProto]]) -> tuple[str, str] | None:
    """`tensor`, or the activation function's result behind it, and its dequantized value."""
    behind = readers.get(tensor, [])
    for node in behind:
        if node.op_type in QUANTIZERS:
            codes = readers.get(node.output[0], [])
            rounded = [reader.output[0] for reader in codes if reader.op_type in ROUNDINGS]
            codes = readers.get(rounded[0], []) if rounded else codes
            dequantize = [reader for reader in codes if reader.op_type in DEQUANTIZERS]
            return (tensor, dequantize[0].output[0]) if dequantize else None
    if len(behind) == 1 and behind[0].op_type in ("Relu", "Clip"):
        return _point(behind[0].output[0], readers)
    return None


def exposing(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """A copy of `model` whose outputs are also `tensors`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    present = {output.name for output in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(tensors) if name not in present)
    return copy
