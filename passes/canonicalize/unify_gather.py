"""Spell a Gather with constant indices as Slice where they are evenly spaced, else with one list of them.

    gather(x, [3, 5, 7]) == x[3:8:2]
    gather(x, indices) == reshape(gather(x, ravel(indices)))        of a scalar or a table of indices

Exact. Indices from the end are counted from the front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import Array, alive, append, constant, static_shape, values, variable


@dataclass(frozen=True)
class UnifyGather(Pass):
    """Of floats: arithmetic on shapes is none of this pass's business."""

    name: ClassVar[str] = "unify-gather"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        found = [(node, indices) for node in alive(graph) if (indices := find(node)) is not None]
        modified = [spell(graph, node, indices) for node, indices in found]
        return work.result(any(modified))


def find(node: gs.Node) -> Array | None:
    """The indices, counted from the front, of a Gather from floats that are computed."""
    if node.op != "Gather" or isinstance(node.inputs[0], gs.Constant) or node.inputs[0].dtype != np.float32:
        return None
    indices, shape = values(node.inputs[1]), static_shape(node.inputs[0])
    if indices is None or not shape or indices.size == 0:
        return None
    return np.asarray(indices.astype(np.int64) % shape[axis_of(node)])


def axis_of(node: gs.Node) -> int:
    return int(node.attrs.get("axis", 0)) % len(static_shape(node.inputs[0]) or ())


def spell(graph: gs.Graph, node: gs.Node, indices: Array) -> bool:
    listed, axis = indices.ravel(), axis_of(node)
    step = step_of(listed)
    if step is None and indices.ndim == 1 and np.array_equal(node.inputs[1].values, indices):
        return False
    shape = list(static_shape(node.inputs[0]) or ())
    shape[axis] = len(listed)
    if indices.ndim != 1:
        result = node.outputs[0]
        picked = variable(graph, f"{node.name}.picked", result.dtype, shape)
        node.outputs = [picked]
        target = constant(graph, f"{node.name}.shape", np.array(static_shape(result), np.int64))
        append(graph, "Reshape", f"{node.name}.reshape", [picked, target], result)
    if step is None:
        node.inputs = [node.inputs[0], constant(graph, f"{node.name}.indices", listed)]
        node.attrs = {"axis": axis}
        return True
    first, last = int(listed[0]), int(listed[-1])
    end = last + (1 if step > 0 else -1)
    bounds = {"starts": first, "ends": end if end >= 0 else -(2**31), "axes": axis, "steps": step}
    window = [constant(graph, f"{node.name}.{role}", np.array([value], np.int64)) for role, value in bounds.items()]
    node.op, node.attrs, node.inputs = "Slice", {}, [node.inputs[0], *window]
    return True


def step_of(listed: Array) -> int | None:
    """The distance between neighbouring indices if it is everywhere the same, and not 0."""
    steps = set(np.diff(listed).tolist()) or {1}
    return int(steps.pop()) if len(steps) == 1 and 0 not in steps else None
