"""The float model with the weights of one node rounded, or one result: what a format of it does to the outputs.

Everything else stays float, so that what is seen is that site's error alone: an int8 model would round differently
behind it, and that noise is as large as the error of good weights. Weights and ranges come from the real quantizer,
with searched scales, rounding and corrected biases.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
from numpy.typing import NDArray

from bevel.passes.quantize.plan import has_weights, make_plan

Array = NDArray[Any]
Floats = NDArray[np.float64]
Sample = Mapping[str, Array]
Place = tuple[str, int]  # a node, and which of its inputs
Constants = Mapping[Place, Array]
# The constants of a node with weights, or the float model with a result rounded; None where a site has no such format.
Candidate: TypeAlias = "Constants | ort.InferenceSession | None"


@dataclass(frozen=True)
class Probe:
    """values[site][format]: a site in each format; exact: the constants as in the float model.

    samples: model inputs.
    """

    session: ort.InferenceSession
    samples: tuple[Sample, ...]
    exact: Constants
    values: tuple[tuple[Candidate, ...], ...]
    outputs: tuple[str, ...]

    def run(self, sample: Sample, changed: Constants) -> list[Array]:
        """The model's outputs with some constants in place of its own."""
        feeds = {parameter(place): array for place, array in {**self.exact, **changed}.items()}
        result: list[Array] = self.session.run(list(self.outputs), {**sample, **feeds})
        return result

    def errors(self) -> Iterator[tuple[list[Array], list[list[Array]]]]:
        """For each sample the float outputs, and the outputs of each site and format in turn, site by site; the float
        ones where a site has no such format."""
        for sample in self.samples:
            exact = self.run(sample, {})
            yield exact, [self.tried(sample, one, exact) for formats in self.values for one in formats]

    def tried(self, sample: Sample, candidate: Candidate, exact: list[Array]) -> list[Array]:
        if candidate is None:
            return exact
        if isinstance(candidate, Mapping):
            return self.run(sample, candidate)
        result: list[Array] = candidate.run(list(self.outputs), dict(sample))
        return result

    def weights(self) -> Iterator[tuple[int, int, Constants]]:
        """(site, format, constants) of what is no result."""
        for site, formats in enumerate(self.values):
            for format, one in enumerate(formats):
                if isinstance(one, Mapping):
                    yield site, format, one


def open_probe(
    canonical: onnx.ModelProto,
    sites: Iterable[str],
    quantized: Iterable[onnx.ModelProto],
    samples: Iterable[Sample],
) -> Probe:
    """`quantized`: `canonical` with every node in the first format, then in the second, and so on.

    sites: names that `weighted_nodes` gave.
    """
    members = weighted_nodes(canonical)
    owner = {node: site for site in sites for node in members[site]}
    formats = [constant_inputs(model, set(owner)) for model in quantized]
    floats = constant_inputs(canonical, set(owner))
    exact = {place: floats.get(place, np.zeros_like(array)) for place, array in formats[0].items()}
    values = tuple(
        tuple({place: found[place] for place in found if owner[place[0]] == site} for found in formats)
        for site in members
        if site in owner.values()
    )
    session = open_session(with_parameters(canonical, exact))
    outputs = tuple(output.name for output in session.get_outputs())
    return Probe(session, tuple(samples), exact, values, outputs)


def weighted_nodes(canonical: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """{site: the nodes that hold its constants} in graph order: itself, and the MatMul before an Add."""
    graph = gs.import_onnx(canonical)
    plan = make_plan(graph)
    found = {}
    for name, (_, match) in plan.taken.items():
        if has_weights(match.node, plan):
            before = [tensor.inputs[0].name for tensor in match.node.inputs if tensor.inputs]
            products = [node.name for node in graph.nodes if node.op == "MatMul" and node.name in before]
            found[name] = (name, *products)
    return found


def constant_inputs(model: onnx.ModelProto, nodes: set[str]) -> dict[Place, Array]:
    """The constant inputs of `nodes`, those included that other nodes compute from constants."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    constants = {**constants, **folded(model, set(constants))}
    return {
        (node.name, index): np.asarray(constants[name], np.float32)
        for node in model.graph.node
        if node.name in nodes
        for index, name in enumerate(node.input)
        if name in constants and np.asarray(constants[name]).dtype == np.float32
    }


def folded(model: onnx.ModelProto, known: set[str]) -> dict[str, Array]:
    """{tensor: values} of what nodes compute from initializers alone, by onnxruntime."""
    ready = []
    for node in model.graph.node:
        if node.input and all(name in known or not name for name in node.input):
            ready.append(node)
            known = known | set(node.output)
    if not ready:
        return {}
    outputs = [onnx.ValueInfoProto(name=name) for node in ready for name in node.output]
    graph = onnx.helper.make_graph(ready, "constants", [], outputs, model.graph.initializer)
    part = onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )
    names = [output.name for output in outputs]
    return dict(zip(names, open_session(part).run(names, {}), strict=True))


def with_parameters(model: onnx.ModelProto, exact: Constants) -> onnx.ModelProto:
    """`model` with the inputs in `exact` as model inputs of their own."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for node in result.graph.node:
        for (owner, index), array in exact.items():
            if owner == node.name:
                node.input.extend([""] * (index + 1 - len(node.input)))
                node.input[index] = parameter((owner, index))
                value = onnx.helper.make_tensor_value_info(node.input[index], onnx.TensorProto.FLOAT, array.shape)
                result.graph.input.append(value)
    return result


def parameter(place: Place) -> str:
    return f"{place[0]}/parameter/{place[1]}"


def open_session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, too
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def flat(outputs: Iterable[Array]) -> Floats:
    """All floats of a run in a row."""
    return np.concatenate([np.ravel(one).astype(np.float64) for one in outputs if one.dtype.kind == "f"])
