"""What the range of a tensor does to the model's results: the float model behind that tensor, with its quantizer fed.

    y = clip(round(x / s), low, high) s          s, low and high are inputs of the probe; low, high: codes around zero
    y = table[clip(round(x / s), low, high) - low]      where steps are uneven; so is the table
    error of a sample = sum over results of |found - float|**2 / P,      P = sum over samples of |float|**2

A range changes nothing that is computed before its tensor: that is run once, and kept. Results are those of the model,
and what lies before a last Softmax, ArgMax or the like: shares near 0 and 1 hide errors that scores have, and where two
classes are close, the shares show more. Weights stay float.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.calib.formats.scheme import TensorQuant
from bevel.calib.formats.stairs import Stairs
from bevel.calib.observe.observe import run_model, session_with_outputs
from bevel.passes.exchange.export import export
from bevel.passes.quantize.results import error_power, power, results_of

FED = ("scale", "low", "high")
TABLE = "table"

Arrays = dict[str, NDArray[Any]]
Errors = NDArray[np.float64]


@dataclass(frozen=True)
class RangedGroup:
    """Tensors that share a scale, and the readers of each that read it as it is. uneven: whether their steps are."""

    points: tuple[str, ...]
    unrounded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    uneven: bool = False


@dataclass(frozen=True, eq=False)
class Behind:
    """What is computed behind the quantizers of some groups. given: what it reads; results: names of the model's
    results that they change, and what these are called here."""

    session: ort.InferenceSession
    given: tuple[str, ...]
    results: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class RangeProbe:
    """model: canonical and float, whose outputs are the results; kept: of each sample, inputs and every tensor that
    something behind a quantizer reads; powers: of the results, over all samples."""

    model: onnx.ModelProto
    groups: tuple[RangedGroup, ...]
    kept: Sequence[Arrays]
    powers: Mapping[str, float]

    @cached_property
    def types(self) -> dict[str, onnx.TypeProto]:
        graph = self.model.graph
        return {value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)}

    def behind(self, places: Iterable[int]) -> Behind:
        """What is computed behind the quantizers of these groups."""
        return behind(self.model, {place: self.groups[place] for place in places}, self.types)

    def errors(self, part: Behind, quants: Mapping[int, TensorQuant | Stairs], most: int | None = None) -> Errors:
        """Of each sample, or of `most`, with these quantizations of the groups of `part`."""
        fed = {name: value for place, one in quants.items() for name, value in feeds(place, one).items()}
        found = []
        for run, sample in enumerate(self.kept[:most]):
            given = {**{name: sample[name] for name in part.given}, **fed}
            made = run_model(part.session, list(part.results.values()), given, run)
            found.append(
                sum(error_power(made[here], sample[name]) / self.powers[name] for name, here in part.results.items())
            )
        return np.array(found)


def open_probe(graph: gs.Graph, groups: Sequence[RangedGroup], samples: Runs) -> RangeProbe | None:
    """None for a model without float results. graph: canonical and float; it stays as it is."""
    plain, names = probed(graph)
    if not names:
        return None
    model = export(plain)
    wanted = list(dict.fromkeys([*names, *needed(model, groups)]))
    session, computed = session_with_outputs(model, wanted)
    kept = [
        {name: array for name, array in run_model(session, computed, inputs_of(model, sample), run).items()}
        for run, sample in enumerate(samples)
    ]
    powers = {name: sum(power(one[name]) for one in kept) or 1.0 for name in names}
    return RangeProbe(model, tuple(groups), kept, powers)


def probed(graph: gs.Graph) -> tuple[gs.Graph, list[str]]:
    """A copy of `graph` whose outputs are its float results, and what lies before those that only rank."""
    copy = graph.copy()
    known = [tensor.name for tensor in graph.outputs if tensor.dtype == np.float32 and tensor.inputs]
    names = list(dict.fromkeys([*known, *results_of(graph)]))
    tensors = copy.tensors()
    copy.outputs = [tensors[name] for name in names]
    return copy.cleanup().toposort(), names


def inputs_of(model: onnx.ModelProto, sample: Mapping[str, NDArray[Any]]) -> Arrays:
    return {value.name: sample[value.name] for value in model.graph.input}


def needed(model: onnx.ModelProto, groups: Sequence[RangedGroup]) -> list[str]:
    """What is read behind the quantizer of any group, and computed before it."""
    return [name for one in groups for name in given_to(model, behind_points(model, one.points), one.points)]


def behind_points(model: onnx.ModelProto, points: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that compute something else where one of `points` is another, in order."""
    changed, found = set(points), []
    for node in model.graph.node:
        if not changed.isdisjoint(node.input):
            found.append(node)
            changed.update(node.output)
    return found


def given_to(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], points: Iterable[str]) -> list[str]:
    """What the nodes and the quantizers of `points` read that neither they nor constants make."""
    constants = {tensor.name for tensor in model.graph.initializer}
    made = {name for node in nodes for name in node.output}
    read = dict.fromkeys([*points, *(name for node in nodes for name in node.input)])
    return [name for name in read if name and name not in made and name not in constants]


def behind(model: onnx.ModelProto, groups: Mapping[int, RangedGroup], types: Mapping[str, onnx.TypeProto]) -> Behind:
    owners = {point: place for place, one in groups.items() for point in one.points}
    nodes = behind_points(model, owners)
    made = {name for node in nodes for name in node.output}
    given = given_to(model, nodes, owners)
    unrounded = {point: one.unrounded.get(point, frozenset()) for one in groups.values() for point in one.points}
    uneven = {place: one.uneven for place, one in groups.items()}

    def quantizer_of(point: str) -> list[onnx.NodeProto]:
        place = owners[point]
        return quantizer(point, place, uneven[place])

    put = [node for point in owners if point not in made for node in quantizer_of(point)]
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [
            rounded(name) if name in owners and node.name not in unrounded[name] else name for name in node.input
        ]
        put.append(copy)
        put += [one for name in node.output if name in owners for one in quantizer_of(name)]
    results = {
        value.name: rounded(value.name) if value.name in owners else value.name
        for value in model.graph.output
        if value.name in owners or value.name in made
    }
    fed = [value for place in groups for value in fed_values(place, uneven[place])]
    inputs = [onnx.ValueInfoProto(name=name, type=types[name]) for name in given] + fed
    return Behind(opened(model, put, inputs, list(results.values())), tuple(given), results)


def opened(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], outputs: list[str]
) -> ort.InferenceSession:
    read = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in read]
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    graph = onnx.helper.make_graph(nodes, "behind", inputs, results, constants)
    part = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    part.functions.extend(model.functions)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, too
    return ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])


def quantizer(point: str, place: int, uneven: bool) -> list[onnx.NodeProto]:
    scale, low, high = (fed_name(place, one) for one in FED)
    steps, whole, codes = (f"{point}/{one}" for one in ("steps", "whole", "codes"))
    make = onnx.helper.make_node
    found = [make("Div", [point, scale], [steps]), make("Round", [steps], [whole])]
    found.append(make("Clip", [whole, low, high], [codes]))
    if not uneven:
        return [*found, make("Mul", [codes, scale], [rounded(point)])]
    counted, index = f"{point}/counted", f"{point}/index"
    return [
        *found,
        make("Sub", [codes, low], [counted]),
        make("Cast", [counted], [index], to=onnx.TensorProto.INT32),
        make("Gather", [fed_name(place, TABLE), index], [rounded(point)]),
    ]


def rounded(point: str) -> str:
    return f"{point}/ranged"


def fed_name(place: int, name: str) -> str:
    return f"range/{place}/{name}"


def fed_values(place: int, uneven: bool) -> list[onnx.ValueInfoProto]:
    make = onnx.helper.make_tensor_value_info
    found = [make(fed_name(place, one), onnx.TensorProto.FLOAT, []) for one in FED]
    return [*found, make(fed_name(place, TABLE), onnx.TensorProto.FLOAT, [None])] if uneven else found


def feeds(place: int, quant: TensorQuant | Stairs) -> Arrays:
    first = quant.first if isinstance(quant, Stairs) else quant
    zero_point = int(first.zero_point)
    values = (float(first.scale), first.scheme.low - zero_point, first.scheme.high - zero_point)
    found = {fed_name(place, name): np.asarray(value, np.float32) for name, value in zip(FED, values, strict=True)}
    if isinstance(quant, Stairs):
        found[fed_name(place, TABLE)] = quant.last.dequantize(quant.table)
    return found
