"""Spell a MaxPool over three axes as two over at most two: a maximum over a box is a maximum of maxima.

    max over [d, h, w] = max over d of (max over [h, w])

    [N, C, D, H, W] -> [N, C D, H, W], pool over H and W -> [N, C, D, H' W'], pool over D -> [N, C, D', H', W']

Padding never wins, so each pool keeps that of its axes. GlobalMaxPool of rank 5 or higher is that of [N, C, D, H W ..].
Exact; kernels and integer.onnx know pools of rank 3 and 4 alone. The last pool keeps the operator's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, constant, detach, static_shape, variable

Shape = tuple[int, ...]


@dataclass(frozen=True)
class FlattenPool(Pass):
    """Requires explicit pads (UnifyPool)."""

    name: ClassVar[str] = "flatten-pool"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        found = [node for node in alive(graph) if is_solid(node)]
        for node in found:
            flatten(graph, node)
        return work.result(bool(found))


def is_solid(node: gs.Node) -> bool:
    """Whether it is a pool over three axes, or a global one over more, that can be taken apart."""
    if node.op not in ("MaxPool", "GlobalMaxPool") or len(node.outputs) > 1:
        return False
    shape, result = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if shape is None or result is None or prod(shape) == 0:
        return False
    if node.op == "GlobalMaxPool":
        return len(shape) > 4
    implied = node.attrs.get("ceil_mode", 0) or node.attrs.get("auto_pad", "NOTSET") != "NOTSET"
    return len(shape) == 5 and not implied


def flatten(graph: gs.Graph, node: gs.Node) -> None:
    x, y, name, attrs = node.inputs[0], node.outputs[0], node.name, node.attrs
    shape, result = static_shape(x) or (), static_shape(y) or ()
    n, c, depth = shape[:3]
    detach(node)
    if node.op == "GlobalMaxPool":
        flat = reshape(graph, f"{name}.flat", x, (n, c, depth, prod(shape[3:])))
        pooled = variable(graph, f"{name}.pooled", x.dtype, (n, c, 1, 1))
        append(graph, node.op, name, [flat], pooled)
    else:
        flat = reshape(graph, f"{name}.flat", x, (n, c * depth, *shape[3:]))
        planes = variable(graph, f"{name}.planes", x.dtype, (n, c * depth, *result[3:]))
        append(graph, node.op, f"{name}.plane", [flat], planes, of_axes(attrs, (1, 2)))
        columns = reshape(graph, f"{name}.columns", planes, (n, c, depth, prod(result[3:])))
        pooled = variable(graph, f"{name}.pooled", x.dtype, (n, c, result[2], prod(result[3:])))
        append(graph, node.op, name, [columns], pooled, of_axes(attrs, (0, None)))
    reshape(graph, f"{name}.solid", pooled, result, y)


def of_axes(attrs: dict[str, Any], axes: Sequence[int | None]) -> dict[str, Any]:
    """A pool's attributes for two of its three axes; None: an axis along which nothing is pooled."""
    pads = attrs.get("pads", [0] * 6)
    one = {name: attrs.get(name, [1] * 3) for name in ("kernel_shape", "strides", "dilations")}
    kept = {name: [1 if axis is None else int(values[axis]) for axis in axes] for name, values in one.items()}
    begins, ends = ([0 if axis is None else int(pads[axis + side]) for axis in axes] for side in (0, 3))
    return {**kept, "pads": begins + ends}


def reshape(graph: gs.Graph, name: str, x: gs.Tensor, shape: Shape, result: gs.Tensor | None = None) -> gs.Tensor:
    result = variable(graph, name, x.dtype, shape) if result is None else result
    append(graph, "Reshape", name, [x, constant(graph, f"{name}.shape", np.array(shape, np.int64))], result)
    return result
