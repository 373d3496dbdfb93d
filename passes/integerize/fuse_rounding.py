"""Roundings to a format are taken over by the nodes before them, where nothing else reads what lies between.

A clamp of an operator's clamped result is one clamp; a clamp or a table of a table's result is one table. Both are
exact: the integers are the same for every input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.base import Condition, Pass, PassResult, Stage, Work
from bevel.passes.conditions import EXECUTION_ORDER, STATIC_SHAPES
from bevel.passes.graph.quantizers import ROUND
from bevel.passes.operators.base import DOMAIN, INT8
from bevel.passes.operators.functions.clip import WIDE_CLIP, bounds
from bevel.passes.operators.functions.table import entries, look_up


@dataclass(frozen=True)
class FuseRounding(Pass):
    name: ClassVar[str] = "fuse-rounding"
    stage: ClassVar[Stage] = "integerize"
    follows: ClassVar[tuple[str, ...]] = ("integerize",)
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES, EXECUTION_ORDER)

    def call(self, work: Work) -> PassResult:
        ports = {tensor.name for tensor in work.graph.outputs}
        modified = False
        for node in list(work.graph.nodes):
            before = only_producer(node, ports) if is_rounding(node) else None
            if before is not None:
                modified |= fuse(work.graph, before, node)
        return work.result(modified)


def only_producer(node: gs.Node, ports: set[str]) -> gs.Node | None:
    """The node before `node`, if nothing else reads its result."""
    between = node.inputs[0]
    if len(between.inputs) != 1 or len(between.outputs) != 1 or between.name in ports:
        return None
    producer: gs.Node = between.inputs[0]
    return producer


def is_rounding(node: gs.Node) -> bool:
    """Whether it makes codes of codes of the same type, each by itself: of int8, or a clamp of int16."""
    return is_table(node) or (is_clamp(node) and (node.op == WIDE_CLIP.name or node.outputs[0].dtype == np.int8))


def is_table(node: gs.Node) -> bool:
    return bool(node.op == "Table" and node.domain == DOMAIN and node.outputs[0].dtype == np.int8)


def is_clamp(node: gs.Node) -> bool:
    if node.op == WIDE_CLIP.name:
        return True
    constants = [isinstance(tensor, gs.Constant) for tensor in node.inputs[1:]]
    return bool(node.op == "Clip" and node.domain != DOMAIN and constants == [True, True])


def fuse(graph: gs.Graph, before: gs.Node, node: gs.Node) -> bool:
    """Let `before`, or a node in place of it, write what `node` makes of its result, if it can; whether it could."""
    clamps = before.domain == DOMAIN and {"low", "high"} <= before.attrs.keys()
    if clamps and is_clamp(node):
        low, high = bounds(node)
        before.attrs |= {role: min(max(before.attrs[role], low), high) for role in ("low", "high")}
        output = node.outputs[0]
        node.inputs.clear()
        node.outputs.clear()
        before.outputs = [output]
        return True
    if not is_rounding(before):
        return False
    compose(graph, before, node)
    return True


def compose(graph: gs.Graph, before: gs.Node, node: gs.Node) -> None:
    """One clamp or table in place of two."""
    output = node.outputs[0]
    x, clamp = before.inputs[0], is_clamp(before) and is_clamp(node)
    composed = as_table(node)[as_table(before).astype(np.intp) - INT8[0]]
    name = node.name if before.name.endswith(ROUND) else before.name  # an operator's, if one of them is one
    for one in (before, node):
        one.inputs.clear()
        one.outputs.clear()
    if clamp:
        limits = zip(("low", "high"), (composed.min(), composed.max()), strict=True)
        constants = [gs.Constant(f"{name}/{role}", np.asarray(bound)) for role, bound in limits]
        graph.nodes.append(gs.Node("Clip", name, {}, [x, *constants], [output]))
    else:
        graph.nodes += look_up(name, x, composed, output)


def as_table(node: gs.Node) -> NDArray[np.int8]:
    """What a rounding makes of q = -128 .. 127: int8 [256]."""
    if is_table(node):
        return entries(node)
    codes = np.arange(INT8[0], INT8[1] + 1, dtype=np.int8)
    clamped: NDArray[np.int8] = np.clip(codes, *bounds(node))
    return clamped
