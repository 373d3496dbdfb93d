"""Results as sites of a search: which there are, and the float model with one of them rounded, or all.

A result is what one node computes and all tensors that share its scale. The model's own inputs are none: a sensor gives
what it gives.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace

import onnx
import onnx_graphsurgeon as gs

from bevel.calib.formats.tensor_format import TensorFormat
from bevel.passes.base import Work
from bevel.passes.exchange.export import export
from bevel.passes.graph.quantizers import is_dequantize, is_quantize
from bevel.passes.quantize.choose_scales import held
from bevel.passes.quantize.chosen import Chosen, NodeFormat, owner, owners
from bevel.passes.quantize.insert_qdq import insert_qdq
from bevel.passes.quantize.plan import QuantizationPlan

Points = tuple[str, ...]


def result_sites(plan: QuantizationPlan, chosen: Chosen) -> dict[str, Points]:
    """{node: the tensors that have the format of its result} where nobody said what that is."""
    found: dict[str, Points] = {}
    for group in plan.ties:
        names = {name for point in group for name in owners(point, plan)}
        if any(chosen.nodes.get(name, NodeFormat()).activations is not None for name in names):
            continue
        if given(group, plan):
            continue
        site = owner(group[0], plan)
        found[site] = (*found.get(site, ()), *group)
    return found


def given(group: Iterable[str], plan: QuantizationPlan) -> bool:
    """Whether something else than a choice decides the format: an input of the model, a state, a float that leaves."""
    members = set(group)
    inputs = any(not plan.points[point].inputs for point in members)
    return inputs or not (plan.pixels | plan.kept).isdisjoint(members) or members <= plan.raw


def may_have(format: TensorFormat, points: Points, plan: QuantizationPlan) -> bool:
    """Whether all that touches the points has kernels for the format."""
    members = set(points)
    return all(held(format, group, plan) == format for group in plan.ties if members.issuperset(group))


def rounded(work: Work) -> gs.Graph:
    """The float graph of a planned `work` with quantizers where it plans them, and weights as they are; `work` is then
    spent."""
    planned = work.plan
    insert_qdq(work.graph, replace(planned.plan, taken={}), planned.scales, (), work.schemes)
    return work.graph.cleanup().toposort()


def alone(graph: gs.Graph, points: Container[str]) -> onnx.ModelProto:
    """`graph` without the quantizers of all but `points`."""
    copy = graph.copy()
    outputs = {tensor.name: place for place, tensor in enumerate(copy.outputs)}
    for node in [one for one in copy.nodes if is_dequantize(one)]:
        if node.name.removesuffix("/dequantize").removesuffix("/rows") in points:
            continue
        quantize, target = node, node.outputs[0]
        while not is_quantize(quantize):
            quantize = quantize.inputs[0].inputs[0]
        source = quantize.inputs[0]
        for reader in list(target.outputs):
            reader.inputs = [source if one is target else one for one in reader.inputs]
        if target.name in outputs:
            node.outputs = []
            copy.nodes.append(gs.Node("Identity", f"{node.name}/left-out", {}, [source], [target]))
    return export(copy.cleanup().toposort())
