"""One format for all weights, one for all activations, how their ranges are chosen, and what single nodes have."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from bevel.passes.assign.patterns import apply_patterns, read_patterns
from bevel.passes.base import COMMAND, Pass, PassResult, Stage, Work
from bevel.passes.exchange.export import export
from bevel.passes.quantize.chosen import Chosen, NodeFormat, owners
from bevel.passes.quantize.formats import activation_format, weight_format
from bevel.passes.quantize.plan import QuantizationPlan, make_plan, product_readers


@dataclass(frozen=True)
class AssignSchemes(Pass):
    """weights, activations: formats as the command line has them; product_inputs: of activations that products by
    weights read, if not empty, but for the model's inputs; range: how the ranges of activations are chosen; file: of
    `bevel.passes.assign.patterns`, for single nodes, if not empty.

    Raises UserError for formats that there are no kernels for, and for what the file holds.
    """

    name: ClassVar[str] = "assign-schemes"
    stage: ClassVar[Stage] = "assign"
    weights: str = "int8"
    activations: str = "int8"
    range: Literal["mse", "minmax", "percentile", "entropy"] = "mse"
    product_inputs: str = ""
    file: str = field(default="", metadata=COMMAND)

    def __post_init__(self) -> None:
        weight_format(self.weights)
        activation_format(self.activations)
        if self.product_inputs:
            activation_format(self.product_inputs)

    def call(self, work: Work) -> PassResult:
        weights, activations = weight_format(self.weights), activation_format(self.activations)
        schemes = replace(work.schemes, weights=weights, activations=activations, range=self.range)
        if self.file:
            patterns = read_patterns(Path(self.file))
            schemes = replace(schemes, nodes={**schemes.nodes, **apply_patterns(patterns, export(work.graph))})
        if self.product_inputs:
            schemes = with_product_inputs(schemes, make_plan(work.graph, work.states), self.product_inputs)
        return work.result(False, schemes=schemes)


def with_product_inputs(schemes: Chosen, plan: QuantizationPlan, name: str) -> Chosen:
    """`schemes` with one format for all that products by weights read, where nobody asked for another."""
    format, nodes = activation_format(name), dict(schemes.nodes)
    for group in plan.ties:
        if any(not plan.points[point].inputs for point in group):
            continue
        for point in group:
            if product_readers(point, plan):
                owner = next(iter(owners(point, plan)))
                before = nodes.get(owner, NodeFormat())
                nodes[owner] = replace(before, activations=before.activations or format)
    return replace(schemes, nodes=nodes)
