"""Let what only moves values work on a camera's integers, before they become floats.

    transpose(f(cast(x))) == f(cast(transpose(x)))          f element by element, its constants transposed, too
    reshape(f(cast(x))) == f(cast(reshape(x)))              f with scalars only

f then stands together, as one function of the integers, for which a table is enough. Exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.canonicalize.layout import BROADCAST, UNARY, is_layout_free, move
from bevel.passes.canonicalize.merge_transposes import inverse, permutation
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, detach, is_output, producer, read_once, redirect, variable
from bevel.passes.graph.regions import casts_pixels


@dataclass(frozen=True)
class MoveBeforeCast(Pass):
    name: ClassVar[str] = "move-before-cast"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        notes = []
        for node in alive(graph):
            chain = chain_before(graph, node)
            if chain is not None:
                lift(graph, node, chain)
                notes.append(self.note(node.name, "changed", "moves the input's integers, before they become floats"))
        return work.result(bool(notes), notes)


def chain_before(graph: gs.Graph, node: gs.Node) -> list[gs.Node] | None:
    """The nodes from the Cast of 8-bit integers on to a Transpose or Reshape, if each is read by the next alone."""
    if node.op not in ("Transpose", "Reshape") or is_output(graph, node.outputs[0]):
        return None
    chain: list[gs.Node] = []
    tensor = node.inputs[0]
    while read_once(graph, tensor) and (maker := producer(tensor)) is not None:
        chain.insert(0, maker)
        if casts_pixels(maker):
            return chain
        varying = [one for one in maker.inputs if not isinstance(one, gs.Constant)]
        if len(varying) != 1 or not can_follow(maker, node):
            return None
        tensor = varying[0]
    return None


def can_follow(node: gs.Node, mover: gs.Node) -> bool:
    if node.op not in UNARY | BROADCAST or not is_layout_free(node):
        return False
    constants = [tensor for tensor in node.inputs if isinstance(tensor, gs.Constant)]
    return mover.op == "Transpose" or all(tensor.values.size == 1 and tensor.values.ndim == 0 for tensor in constants)


def lift(graph: gs.Graph, mover: gs.Node, chain: list[gs.Node]) -> None:
    """Put `mover` before the Cast at the head of `chain`."""
    cast, shape = chain[0], tuple(mover.outputs[0].shape)
    moved = variable(graph, f"{cast.name}.moved", cast.inputs[0].dtype, shape)
    if mover.op == "Transpose":
        for node in chain[1:]:
            move(graph, node, inverse(permutation(mover)))
    append(graph, mover.op, mover.name, [cast.inputs[0], *mover.inputs[1:]], moved, dict(mover.attrs))
    cast.inputs[0] = moved
    for node in chain:
        node.outputs[0].shape = list(np.array(shape).tolist())
    redirect(mover.outputs[0], chain[-1].outputs[0])
    detach(mover)
    graph.cleanup().toposort()
