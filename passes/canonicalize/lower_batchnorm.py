"""Turn a BatchNormalization that nothing could absorb into what backends know.

    bn(x) == x * k + t,   k = gamma / sqrt(var + epsilon),   t = beta - mean * k,   per channel

On rank 4 that is a depthwise 1x1 Conv (its weights then get a scale per channel); on other ranks a Mul and an Add.
Exact in real arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.canonicalize.fold_batchnorm import parameter_obstacle, scale_and_shift
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import Array, alive, append, constant, detach, static_shape, variable


@dataclass(frozen=True)
class LowerBatchNorm(Pass):
    """Meant to run after FoldBatchNorm."""

    name: ClassVar[str] = "lower-batchnorm"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)
    spells: ClassVar[dict[str, str]] = {"BatchNormalization": "Conv; folded where a product stands before it"}

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        notes = []
        modified = False
        for node in alive(graph):
            if node.op != "BatchNormalization":
                continue
            shape = static_shape(node.inputs[0])
            if reason := parameter_obstacle(node) or ("the shape of its input is unknown" if shape is None else None):
                notes.append(self.note(node.name, "stays", f"stays: {reason}"))
                continue
            lower(graph, node, shape or ())
            spelling = "a depthwise 1x1 Conv" if len(shape or ()) == 4 else "Mul and Add"
            notes.append(self.note(node.name, "changed", f"became {spelling}"))
            modified = True
        return work.result(modified, notes)


def lower(graph: gs.Graph, batchnorm: gs.Node, shape: tuple[int, ...]) -> None:
    x, result, name = batchnorm.inputs[0], batchnorm.outputs[0], batchnorm.name
    scale, shift = (vector.astype(x.dtype) for vector in scale_and_shift(batchnorm))
    detach(batchnorm)
    if len(shape) == 4:
        write_conv(graph, name, x, result, scale.reshape(-1, 1, 1, 1), shift)
        return
    per_channel = (-1, *[1] * (len(shape) - 2))
    scaled = variable(graph, f"{name}.scaled", x.dtype, shape)
    append(graph, "Mul", name, [x, constant(graph, f"{name}.scale", scale.reshape(per_channel))], scaled)
    append(graph, "Add", f"{name}.add", [scaled, constant(graph, f"{name}.shift", shift.reshape(per_channel))], result)


def write_conv(graph: gs.Graph, name: str, x: gs.Tensor, result: gs.Tensor, weight: Array, bias: Array) -> None:
    constants = [constant(graph, f"{name}.weight", weight), constant(graph, f"{name}.bias", bias)]
    attrs = {
        "kernel_shape": [1, 1],
        "strides": [1, 1],
        "dilations": [1, 1],
        "pads": [0, 0, 0, 0],
        "group": len(bias),
    }
    append(graph, "Conv", name, [x, *constants], result, attrs)
