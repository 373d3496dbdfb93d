"""One trial of transforms: a model quantized by what some samples show of it, and judged by others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.calib.observe.observe import Observed, observe
from bevel.passes.base import Work
from bevel.passes.exchange.export import export
from bevel.passes.quantize.choose_ranges import ChooseRanges
from bevel.passes.quantize.choose_rounders import AUTO as BEST
from bevel.passes.quantize.choose_rounders import SIMPLEST, RoundWeights
from bevel.passes.quantize.chosen import NodeFormat
from bevel.passes.quantize.row_scales import RowScales
from bevel.passes.quantize.widen_activations import WORK as SWITCHED
from bevel.passes.quantize.widen_activations import WidenActivations
from bevel.passes.recipes.build import Recipe
from bevel.tools.accuracy.evaluate import dequantize_weights, runner
from bevel.tools.accuracy.outputs import RANKINGS, Described, with_scores
from bevel.tools.assign.score import Reference, score

REFIT = "refit"  # the rounder of trials at few bits
FOLDS = 4
ROWS = 8  # a trial may spend so much less on scales of rows than the product may

Tensors = tuple[dict[str, NDArray[Any]], ...]


def rounder_of(recipe: Recipe, narrow: bool) -> str:
    """Of the weights in a trial: those that are slow only where they decide."""
    asked = next(one.rounding for one in recipe.passes if isinstance(one, RoundWeights))
    return REFIT if narrow and asked in (BEST, REFIT) else SIMPLEST


@dataclass(frozen=True)
class Left:
    """SQNR of the worst result in dB: on all held-out samples, and on each of up to `FOLDS` parts of them."""

    total: float
    folds: tuple[float, ...]

    def beats(self, other: Left, least: float) -> bool:
        """By `least` dB, and on three parts of four: not by some loud samples alone; or worse by no more, where it is
        below 0."""
        if least < 0:
            return self.total > other.total + least
        better = sum(mine > theirs for mine, theirs in zip(self.folds, other.folds, strict=True))
        return self.total > other.total + least and 4 * better >= 3 * len(self.folds)


@dataclass(frozen=True)
class TransformTrial:
    """exact: the float model as it came; described: its outputs; seen: the samples that it observes; held: those that
    judge; narrow: whether products by weights read few bits."""

    recipe: Recipe
    exact: onnx.ModelProto
    described: Mapping[str, Described]
    seen: Runs
    held: Runs
    narrow: bool

    @cached_property
    def crossed(self) -> TransformTrial | None:
        """The trial in which the samples have each other's part; None where all are the same."""
        return None if self.seen is self.held else replace(self, seen=self.held, held=self.seen)

    @cached_property
    def judges(self) -> tuple[Tensors, Tensors]:
        """The samples that judge, and what the float model makes of them."""
        samples, opened = tuple(self.held), runner(self.exact)
        return samples, tuple(opened.run(sample) for sample in samples)

    def of(self, work: Work, widened: Mapping[str, NodeFormat]) -> Left:
        return self.left(work, self.observed(work), widened)

    def widened(self, work: Work, seen: Observed) -> dict[str, NodeFormat]:
        """The formats of nodes that the recipe widens in the model as it came."""
        before = self.recipe.without(RowScales.name).without(ChooseRanges.name)
        work = self.seeing(work, seen)
        asked = before.without(WidenActivations.name).run("assign", work).schemes.nodes
        return {name: one for name, one in before.run("assign", work).schemes.nodes.items() if asked.get(name) != one}

    def left(self, work: Work, seen: Observed, widened: Mapping[str, NodeFormat]) -> Left:
        """Of the model, quantized, on held-out samples."""
        quick = self.recipe.with_option(
            RoundWeights.name, "rounding", rounder_of(self.recipe, self.narrow), "a trial of transforms"
        )
        quick = (
            quick.without(WidenActivations.name)
            .without(ChooseRanges.name)
            .with_fields(RowScales, work=SWITCHED // ROWS)
        )
        kept = {name: one for name, one in widened.items() if name not in work.schemes.nodes}
        schemes = replace(work.schemes, nodes={**work.schemes.nodes, **kept})
        work = self.seeing(replace(work, schemes=schemes), seen)
        work = quick.run("quantize", quick.run("assign", work))
        opened = runner(dequantize_weights(with_scores(export(work.graph), RANKINGS)))
        found = [opened.run(sample) for sample in self.judges[0]]
        folds = min(FOLDS, len(found))
        parts = [range(len(found)), *(range(fold, len(found), folds) for fold in range(folds))]
        total, *each = (self.decibels([found[place] for place in part], part) for part in parts)
        return Left(total, tuple(each))

    def observed(self, work: Work) -> Observed:
        """What the passes of the recipe want to know of the samples to observe."""
        found = observe(gs.export_onnx(work.graph), self.seen, self.recipe.wants(work.graph))
        return Observed(self.seen, found)

    def seeing(self, work: Work, seen: Observed) -> Work:
        """A copy that knows what was observed."""
        return replace(work, graph=work.graph.copy(), data=self.seen, observations=seen.statistics)

    def decibels(self, found: Sequence[dict[str, NDArray[Any]]], part: Sequence[int]) -> float:
        samples, outputs = (tuple(one[place] for place in part) for one in self.judges)
        return score(Reference(samples, outputs, self.described), found).sqnr_db
