"""Tables read a camera's uint8 as they are, where only a change of sign and moves stand between; tables that change
nothing are left out.

    table(transpose(x - 128)) == table'(transpose(x))          table'[x] = table[x - 128]

Exact: the integers are the same for every input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Stage, Work
from bevel.passes.conditions import EXECUTION_ORDER, STATIC_SHAPES
from bevel.passes.graph.edit import producer
from bevel.passes.operators.base import DOMAIN, INT8
from bevel.passes.operators.functions.channel_table import CHANNEL_TABLE, channel_tables, entries, table_axis
from bevel.passes.operators.functions.table import entries as codes_looked_up

MOVES = ("Transpose", "Reshape")


@dataclass(frozen=True)
class FusePixels(Pass):
    name: ClassVar[str] = "fuse-pixels"
    stage: ClassVar[Stage] = "integerize"
    follows: ClassVar[tuple[str, ...]] = ("integerize",)
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES, EXECUTION_ORDER)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        ports = {tensor.name for tensor in graph.outputs}
        idle = [node for node in graph.nodes if is_identity(node) and node.outputs[0].name not in ports]
        for node in idle:
            leave_out(node)
        modified = bool(idle)
        for node in list(graph.cleanup().nodes):
            chain = pixels_before(node, ports)
            if chain is not None:
                read_pixels(graph, node, chain)
                modified = True
        return work.result(modified)


def is_table(node: gs.Node) -> bool:
    return bool(node.domain == DOMAIN and node.op in ("Table", CHANNEL_TABLE.name))


def is_identity(node: gs.Node) -> bool:
    if not is_table(node) or node.op != "Table":
        return False
    found = codes_looked_up(node)
    return bool(found.dtype == np.int8 and (found == np.arange(INT8[0], INT8[1] + 1)).all())


def leave_out(node: gs.Node) -> None:
    x, result = node.inputs[0], node.outputs[0]
    for reader in list(result.outputs):
        reader.inputs = [x if tensor is result else tensor for tensor in reader.inputs]
    node.inputs.clear()
    node.outputs.clear()


def pixels_before(node: gs.Node, ports: set[str]) -> list[gs.Node] | None:
    """The change from uint8 to int8 and the moves between it and a table, where nothing else reads their results."""
    if not is_table(node):
        return None
    chain: list[gs.Node] = []
    tensor = node.inputs[0]
    while len(tensor.outputs) == 1 and tensor.name not in ports and (maker := producer(tensor)) is not None:
        chain.insert(0, maker)
        if maker.op == "FlipSign":
            return chain if maker.inputs[0].dtype == np.uint8 else None
        if maker.op not in MOVES:
            return None
        tensor = maker.inputs[0]
    return None


def read_pixels(graph: gs.Graph, node: gs.Node, chain: list[gs.Node]) -> None:
    flip, *moves = chain
    pixels, result, name = flip.inputs[0], node.outputs[0], node.name
    by_channel = node.op == CHANNEL_TABLE.name
    tables, axis = (entries(node), table_axis(node)) if by_channel else (codes_looked_up(node), None)
    for mover in moves:
        mover.outputs[0].dtype = np.dtype(np.uint8)
    last = node.inputs[0] if moves else pixels
    if moves:
        moves[0].inputs[0] = pixels
    for gone in (flip, node):
        gone.inputs.clear()
        gone.outputs.clear()
    graph.nodes.append(channel_tables(name, last, tables.reshape(-1, 2**8), axis, result))
