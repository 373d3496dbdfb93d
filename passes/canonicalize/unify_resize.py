"""Bring a linear Resize to images: the last two axes of a tensor of rank 4, whichever axes it changes.

Linear interpolation is separable and axes that keep their size are copied, so that three axes are resized two and one:

    [N, C, L]:        as [N, C, 1, L]
    [N, C, D, H, W]:  as [N, C * D, H, W], then [N, C, D, H * W] along its axis 2
    [N, H, W, C]:     as [N, H, W, C] along its axis 2, then [N, 1, H, W * C] along its axis 2

Exact but for the order of a sum. Left alone: antialiasing, cubic interpolation, crops (tf_crop_and_resize), and sizes
that keep an aspect ratio. A nearest Resize copies elements and may have any rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, constant, detach, given, static_shape, values, variable

Scales = dict[int, float]  # axis: output over input


@dataclass(frozen=True)
class UnifyResize(Pass):
    name: ClassVar[str] = "unify-resize"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        found = [(node, scales) for node in alive(graph) if (scales := find(node)) is not None]
        for node, scales in found:
            unify(graph, node, scales)
        return work.result(bool(found))


def find(node: gs.Node) -> Scales | None:
    """The scales of the axes that a linear Resize changes, where they are not the last two of rank 4."""
    if node.op != "Resize" or node.attrs.get("mode", "nearest") != "linear" or node.attrs.get("antialias", 0):
        return None
    if node.attrs.get("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return None
    before, after = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if before is None or after is None or node.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    scales = scales_of(node, before, after)
    axes = sorted(scales or ())
    if scales is None or not axes:
        return None
    return None if len(before) == 4 and axes[0] >= 2 else scales


def scales_of(node: gs.Node, before: Sequence[int], after: Sequence[int]) -> Scales | None:
    """The scales that the node gives or its sizes mean, of axes that it changes; None where they are computed."""
    axes = [int(axis) % len(before) for axis in node.attrs.get("axes", range(len(before)))]
    tensor = given(node, 2)
    if tensor is not None and (array := values(tensor)) is not None and array.size:
        factors = [float(factor) for factor in array]
    elif (sizes := given(node, 3)) is not None and values(sizes) is not None:
        factors = [after[axis] / before[axis] for axis in axes]
    else:
        return None
    changed = zip(axes, factors, strict=True)
    return {axis: factor for axis, factor in changed if factor != 1 or before[axis] != after[axis]}


def unify(graph: gs.Graph, node: gs.Node, scales: Scales) -> None:
    """One Resize of an image after the other, between Reshapes; the last has the node's name."""
    x, result, name, attrs = node.inputs[0], node.outputs[0], node.name, dict(node.attrs)
    attrs.pop("axes", None)
    detach(node)
    shape, final = list(static_shape(x) or ()), static_shape(result) or ()
    steps = grouped(sorted(scales), len(shape))
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        prefix = name if last else f"{name}.{index}"
        resized = [final[axis] if axis in step else size for axis, size in enumerate(shape)]
        source = variable(graph, f"{prefix}.image", x.dtype, as_image(shape, step))
        target = variable(graph, f"{prefix}.resized", x.dtype, as_image(resized, step))
        reshape(graph, f"{prefix}.as_image", x, source, source.shape)
        factors = np.array([1, 1, *factors_of(step, scales, len(shape))], np.float32)
        inputs = [source, gs.Variable.empty(), constant(graph, f"{prefix}.scales", factors)]
        append(graph, "Resize", prefix, inputs, target, dict(attrs))
        x = result if last else variable(graph, f"{prefix}.back", target.dtype, resized)
        reshape(graph, f"{prefix}.from_image", target, x, resized)
        shape = resized


def grouped(axes: list[int], rank: int) -> list[list[int]]:
    """The axes that each Resize changes: the last two of the tensor together, others one by one, the last one first."""
    if axes[-2:] == [rank - 2, rank - 1]:
        return [axes[-2:], *([axis] for axis in axes[-3::-1])]
    return [[axis] for axis in reversed(axes)]


def as_image(shape: Sequence[int], step: list[int]) -> tuple[int, int, int, int]:
    """`shape` as an image of which `step` are height and width, or one of them: the width if nothing stands behind."""
    before, behind = shape[: step[0]], shape[step[-1] + 1 :]
    batch, channels = before[0] if before else 1, prod(before[1:])
    if len(step) == 2:
        return batch, channels, shape[step[0]], shape[step[1]]
    return (batch, channels, shape[step[0]], prod(behind)) if behind else (batch, channels, 1, shape[step[0]])


def factors_of(step: list[int], scales: Scales, rank: int) -> list[float]:
    if len(step) == 2:
        return [scales[axis] for axis in step]
    return [1, scales[step[0]]] if step[0] == rank - 1 else [scales[step[0]], 1]


def reshape(graph: gs.Graph, name: str, x: gs.Tensor, result: gs.Tensor, shape: Sequence[int]) -> None:
    append(graph, "Reshape", name, [x, constant(graph, f"{name}.shape", np.array(shape, np.int64))], result)
