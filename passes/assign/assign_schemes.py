"""One format for all weights, one for all activations, how their ranges are chosen, and what single nodes have."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from bevel.calib.formats.float_format import FloatFormat
from bevel.calib.formats.format import INT8, IntFormat
from bevel.calib.formats.tensor_format import TensorFormat
from bevel.passes.assign.patterns import apply_patterns, read_patterns
from bevel.passes.base import COMMAND, Note, Pass, PassResult, Stage, Work
from bevel.passes.exchange.export import export
from bevel.passes.quantize.chosen import Chosen, NodeFormat, owner
from bevel.passes.quantize.formats import (
    FLOAT_ACTIVATIONS,
    activation_format,
    weight_format,
    weight_format_beside_floats,
)
from bevel.passes.quantize.plan import QuantizationPlan, make_plan, product_readers
from bevel.passes.quantize.score_scales import scores
from bevel.passes.quantize.wanted import Ask


@dataclass(frozen=True)
class AssignSchemes(Pass):
    """weights, activations: formats as the command line has them; product_inputs: of activations that products by
    weights read, if not empty, but for the model's inputs; input_format: of these, if not empty, else int8 where
    activations are coarser than that; range: how the ranges of activations are chosen; file: of
    `bevel.passes.assign.patterns`, for single nodes, if not empty. Where activations are float32, weights alone are
    quantized (`bevel.passes.quantize.weights_alone`).

    Raises UserError for formats that there are no kernels for, and for what the file holds.
    """

    name: ClassVar[str] = "assign-schemes"
    stage: ClassVar[Stage] = "assign"
    weights: str = "int8"
    activations: str = "int8"
    range: Literal["auto", "mse", "minmax", "percentile", "entropy"] = "mse"
    product_inputs: str = ""
    input_format: str = ""
    file: str = field(default="", metadata=COMMAND)

    def __post_init__(self) -> None:
        if self.beside_floats:
            weight_format_beside_floats(self.weights)
            return
        weight_format(self.weights)
        activation_format(self.activations)
        for name in filter(None, (self.product_inputs, self.input_format)):
            activation_format(name)

    @property
    def beside_floats(self) -> bool:
        return self.activations == FLOAT_ACTIVATIONS

    @property
    def asks(self) -> tuple[Ask, ...]:
        """Scores that are minifloats are scaled by what a Softmax makes of them."""
        if self.beside_floats:
            return ()
        return (scores,) if isinstance(activation_format(self.activations), FloatFormat) else ()

    def call(self, work: Work) -> PassResult:
        if self.beside_floats:
            weights = weight_format_beside_floats(self.weights)
            return work.result(False, schemes=replace(work.schemes, weights=weights))
        weights, activations = weight_format(self.weights), activation_format(self.activations)
        schemes = replace(work.schemes, weights=weights, activations=activations, range=self.range)
        if self.file:
            patterns = read_patterns(Path(self.file))
            schemes = replace(schemes, nodes={**schemes.nodes, **apply_patterns(patterns, export(work.graph))})
        if self.product_inputs:
            schemes = with_product_inputs(schemes, make_plan(work.graph, work.states), self.product_inputs)
        format = self.of_inputs(activations)
        if format == activations:
            return work.result(False, schemes=schemes)
        names = [name for name in input_points(work) if schemes.nodes.get(name, NodeFormat()).activations is None]
        nodes = {name: replace(schemes.nodes.get(name, NodeFormat()), activations=format) for name in names}
        told = "asked for" if self.input_format else f"inputs of the model are not {activations.name} unless asked for"
        notes = [Note(self.name, name, "chosen", f"{format.name}: {told} (--input-format)") for name in names]
        return work.result(False, notes, schemes=replace(schemes, nodes={**schemes.nodes, **nodes}))

    def of_inputs(self, activations: TensorFormat) -> TensorFormat:
        """Sensors give eight bits or more, and nothing behind can bring back what the first quantizer took."""
        if self.input_format:
            return activation_format(self.input_format)
        return activations if isinstance(activations, IntFormat) and activations.bits >= INT8.bits else INT8


def input_points(work: Work) -> list[str]:
    """The inputs that are quantized, but for states, which are results of the run before."""
    points = make_plan(work.graph, work.states).points
    return [tensor.name for tensor in work.graph.inputs if tensor.name in points and tensor.name not in work.states]


def with_product_inputs(schemes: Chosen, plan: QuantizationPlan, inputs: str) -> Chosen:
    """`schemes` with one format for all that products by weights read, where nobody asked for another."""
    format, nodes = activation_format(inputs), dict(schemes.nodes)
    for group in plan.ties:
        if any(not plan.points[point].inputs for point in group):
            continue
        for point in group:
            if product_readers(point, plan):
                name = owner(point, plan)
                before = nodes.get(name, NodeFormat())
                nodes[name] = replace(before, activations=before.activations or format)
    return replace(schemes, nodes=nodes)
