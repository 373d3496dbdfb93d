"""What is added to a product behind it: a product can make up for what the other addend lost, as it does for its input.

    s = y + z,      y' = y + (z - z')      z' is z in the quantized model

A sum of residuals is right where a branch makes y', not y. What is added must be there before the branch's last product
is rounded; of two products that are added, the deeper one makes up for the other. The least squares of `refit` go to
y' then, and so do biases and the choice of rounders.

Source of the criterion: Li et al. 2021, "BRECQ: Pushing the Limit of Post-Training Quantization by Block
Reconstruction", section 3.2: a block's output in place of each layer's; here for the last product of a block, where it
is still one of least squares. Price: one more tensor is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from bevel.passes.graph.edit import read_once
from bevel.passes.quantize.units import read_by

RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class SumBehind:
    """add: the node; index: of its input that is the other addend."""

    add: gs.Node
    index: int

    @property
    def other(self) -> gs.Tensor:
        return self.add.inputs[self.index]


def sum_behind(graph: gs.Graph, product: gs.Node) -> SumBehind | None:
    """The sum of two tensors that alone reads what `product` makes, perhaps with a constant bias or a new shape before.
    The other has its numbers in the same order."""
    made = product.outputs[0]
    while read_once(graph, made):
        (behind,) = made.outputs
        following = behind.outputs[0]
        if behind.op in RESHAPES and behind.inputs[0] is made:
            made = following
            continue
        if behind.op != "Add" or not alike(following, made):
            return None
        index = 1 if behind.inputs[0] is made else 0
        other = behind.inputs[index]
        if not isinstance(other, gs.Constant):
            return SumBehind(behind, index) if alike(other, made) and other is not made else None
        made = following
    return None


def alike(one: gs.Tensor, other: gs.Tensor) -> bool:
    return one.shape is not None and other.shape is not None and tuple(one.shape) == tuple(other.shape)


def depths_of(graph: gs.Graph, levels: Mapping[str, int]) -> Mapping[str, int]:
    """How many levels of units must be rounded before a tensor can be computed; levels: of products, by their names."""
    depths: dict[str, int] = {}
    for node in graph.nodes:
        depth = max((depths.get(tensor.name, 0) for tensor in read_by(node)), default=0)
        if node.name in levels:
            depth = levels[node.name] + 1
        depths |= dict.fromkeys((tensor.name for tensor in node.outputs), depth)
    return depths
