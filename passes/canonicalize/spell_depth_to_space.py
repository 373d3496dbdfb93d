"""Spell DepthToSpace and SpaceToDepth as what they do: Reshape, Transpose, Reshape.

    DepthToSpace, DCR:  [N, b, b, C, H, W] -> [N, C, H, b, W, b]        channels are read as [b, b, C]
    DepthToSpace, CRD:  [N, C, b, b, H, W] -> [N, C, H, b, W, b]        channels are read as [C, b, b]
    SpaceToDepth:       [N, C, H, b, W, b] -> [N, b, b, C, H, W]        the inverse of DCR

Exact. The Transpose keeps the operator's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, constant, detach, static_shape, variable


class Shuffle(NamedTuple):
    """The shape that the input is read as, and the order in which its axes are written."""

    shape: tuple[int, ...]
    perm: tuple[int, ...]


@dataclass(frozen=True)
class SpellDepthToSpace(Pass):
    name: ClassVar[str] = "spell-depth-to-space"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)
    spells: ClassVar[dict[str, str]] = dict.fromkeys(("DepthToSpace", "SpaceToDepth"), "Transpose")

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        found = [(node, shuffle) for node in alive(graph) if (shuffle := find(node)) is not None]
        for node, shuffle in found:
            spell(graph, node, shuffle)
        return work.result(bool(found))


def find(node: gs.Node) -> Shuffle | None:
    shape = static_shape(node.inputs[0]) if node.op in SpellDepthToSpace.spells else None
    if shape is None or len(shape) != 4 or prod(shape) == 0:
        return None
    (n, c, h, w), b = shape, int(node.attrs["blocksize"])
    if node.op == "SpaceToDepth":
        return Shuffle((n, c, h // b, b, w // b, b), (0, 3, 5, 1, 2, 4))
    if node.attrs.get("mode", "DCR") == "CRD":
        return Shuffle((n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3))
    return Shuffle((n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2))


def spell(graph: gs.Graph, node: gs.Node, shuffle: Shuffle) -> None:
    x, result, name = node.inputs[0], node.outputs[0], node.name
    detach(node)
    split = variable(graph, f"{name}.split", x.dtype, shuffle.shape)
    moved = variable(graph, f"{name}.moved", x.dtype, [shuffle.shape[axis] for axis in shuffle.perm])
    reshape(graph, f"{name}.split", x, split, shuffle.shape)
    append(graph, "Transpose", name, [split], moved, {"perm": list(shuffle.perm)})
    reshape(graph, f"{name}.join", moved, result, static_shape(result) or ())


def reshape(graph: gs.Graph, name: str, x: gs.Tensor, result: gs.Tensor, shape: Sequence[int]) -> None:
    append(graph, "Reshape", name, [x, constant(graph, f"{name}.shape", np.array(shape, np.int64))], result)
