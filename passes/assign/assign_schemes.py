"""One format for all weights, one for all activations, how their ranges are chosen, and what single nodes have."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from bevel.passes.assign.patterns import apply_patterns, read_patterns
from bevel.passes.base import COMMAND, Pass, PassResult, Stage, Work
from bevel.passes.exchange.export import export
from bevel.passes.quantize.formats import activation_format, weight_format


@dataclass(frozen=True)
class AssignSchemes(Pass):
    """weights, activations: formats as the command line has them; range: how the ranges of activations are chosen;
    file: of `bevel.passes.assign.patterns`, for single nodes, if not empty.

    Raises UserError for formats that there are no kernels for, and for what the file holds.
    """

    name: ClassVar[str] = "assign-schemes"
    stage: ClassVar[Stage] = "assign"
    weights: str = "int8"
    activations: str = "int8"
    range: Literal["mse", "minmax", "percentile", "entropy"] = "mse"
    file: str = field(default="", metadata=COMMAND)

    def __post_init__(self) -> None:
        weight_format(self.weights)
        activation_format(self.activations)

    def call(self, work: Work) -> PassResult:
        weights, activations = weight_format(self.weights), activation_format(self.activations)
        schemes = replace(work.schemes, weights=weights, activations=activations, range=self.range)
        if self.file:
            patterns = read_patterns(Path(self.file))
            schemes = replace(schemes, nodes=apply_patterns(patterns, export(work.graph)))
        return work.result(False, schemes=schemes)
