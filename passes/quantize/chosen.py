"""Which format each node's weights and result shall have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bevel.calib.formats.format import INT8, IntFormat
from bevel.calib.formats.tensor_format import TensorFormat
from bevel.calib.scales.ranges import RangeMethod, range_method

if TYPE_CHECKING:
    from bevel.passes.quantize.plan import QuantizationPlan


@dataclass(frozen=True)
class NodeFormat:
    """What is different for one node: its weights, its result. None: as for all others. rows: what products by weights
    read of its result, which is int16, rounded with a scale for each row. range: how that of its result is chosen, in
    the format that it has."""

    weights: TensorFormat | None = None
    activations: TensorFormat | None = None
    rows: IntFormat | None = None
    range: RangeMethod | None = None


@dataclass(frozen=True)
class Chosen:
    """weights, activations: for every node; nodes: what is different, by the name of a node or of a model's input;
    range: how the ranges of activations are chosen, as `bevel.calib.scales.ranges` names it, for all other nodes."""

    weights: TensorFormat = INT8
    activations: TensorFormat = INT8
    nodes: Mapping[str, NodeFormat] = field(default_factory=dict)
    range: str = "mse"

    @property
    def method(self) -> RangeMethod:
        return range_method(self.range)

    def of_weights(self, node: str) -> TensorFormat:
        return self.nodes.get(node, NodeFormat()).weights or self.weights

    def of_group(self, group: Iterable[str], plan: QuantizationPlan) -> TensorFormat:
        """The format of tensors that share one; where their nodes ask for different ones, that of the most bits."""
        asked = [
            format
            for point in group
            for owner in owners(point, plan)
            if (format := self.nodes.get(owner, NodeFormat()).activations) is not None
        ]
        return max(asked, key=lambda format: format.bits) if asked else self.activations

    def of_range(self, group: Iterable[str], plan: QuantizationPlan) -> RangeMethod:
        """How the range of tensors that share a scale is chosen: as the first asks that does."""
        names = (one for point in group for one in owners(point, plan))
        asked = (self.nodes.get(name, NodeFormat()).range for name in names)
        return next((one for one in asked if one is not None), self.method)

    def of_rows(self, point: str, plan: QuantizationPlan) -> IntFormat | None:
        """The format with a scale for each row in which products by weights read a point; None where it has none."""
        asked = (self.nodes.get(owner, NodeFormat()).rows for owner in owners(point, plan))
        return next((one for one in asked if one is not None), None)


def owners(point: str, plan: QuantizationPlan) -> Iterable[str]:
    """The names under which a point is spoken of: its node, the operator that its node is fused into, or the input."""
    tensor = plan.points[point]
    if not tensor.inputs:
        return (point,)
    node = str(tensor.inputs[0].name)
    return (node, plan.fused[node]) if node in plan.fused else (node,)


def owner(point: str, plan: QuantizationPlan) -> str:
    """The first of them: the name under which a format is asked for."""
    return next(iter(owners(point, plan)))
