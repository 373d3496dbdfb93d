"""Which transforms a run folds into the float graph: those that were named, or those that help, found by trying.

`auto` begins with the model as it is and tries one step after the other on top of what was kept so far (`GROUPS`). Each
trial is quantized as the recipe says, but with weights rounded to the nearest, from up to `SEEN` calibration samples,
and run on up to `HELD` others; the SQNR of the worst float output against the untransformed float model decides. A step
that finds no place costs no trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, prod
from typing import Any

import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs, Subset
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import observe
from bevel.passes.assign.assign_schemes import AssignSchemes
from bevel.passes.base import Note, Pass, Work
from bevel.passes.exchange.export import export
from bevel.passes.quantize.choose_rounders import RoundWeights
from bevel.passes.recipes.build import Recipe, known_passes
from bevel.passes.transform.equalize import Equalize
from bevel.passes.transform.rotate_stream import RotateStream
from bevel.passes.transform.rotate_values import RotateValues
from bevel.passes.transform.shift_bias import ShiftBias
from bevel.passes.transform.smooth import Smooth
from bevel.passes.transform.smooth_keys import SmoothKeys
from bevel.passes.transform.transform import Transform
from bevel.tools.accuracy.evaluate import dequantize_weights, runner
from bevel.tools.accuracy.outputs import Described, describe_outputs, with_scores
from bevel.tools.assign.score import Reference, score
from bevel.tools.run.stages import Advance

AUTO, NONE = "auto", "none"
SEEN, HELD, FOLDS = 128, 32, 4  # ranges of too few samples clip others: in a trial, more than in the product
# dB that a step must bring. On 32 held-out samples, choices that make no difference come and go by some tenths.
CLEARLY = 0.5
FLATTER = 0.5  # dB; less is what a rotation does to tensors that are flat already
MULTIPLICATIONS = 10**10  # that the runs of one trial may take: some ten seconds
STAGE = "transform"


@dataclass(frozen=True)
class TransformStep:
    """What `auto` tries at once: passes, one after the other. least: dB by which the first of them must lower the peaks
    of the tensors it changes over their RMS, or it is not worth a trial."""

    passes: tuple[Transform, ...]
    least: float = -inf

    def is_worth(self, before: Work, after: Work) -> bool:
        new = after.transforms[len(before.transforms) :]
        first = new[0] if new and new[0].transform == self.names[0] else None
        return bool(new) if self.least == -inf else first is not None and first.flatter_db >= self.least

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.passes)

    @property
    def name(self) -> str:
        return ", ".join(self.names)


# Of each group the first step that helps is kept, and the rest is not tried.
GROUPS = (
    (
        TransformStep((Smooth(), SmoothKeys())),
        TransformStep((Smooth(),)),
        TransformStep((SmoothKeys(),)),
        TransformStep((Equalize(least=8.0),)),
    ),
    (
        TransformStep((RotateStream(by="klt"), Smooth()), FLATTER),
        TransformStep((RotateStream(), Smooth()), FLATTER),
    ),
    (TransformStep((RotateValues(),), FLATTER),),
    (TransformStep((ShiftBias(),)),),
)


def transforms() -> dict[str, type[Pass]]:
    """Those that may be named."""
    return {name: one for name, one in known_passes().items() if issubclass(one, Transform)}


def parsed(given: str) -> tuple[str, ...]:
    """The names in `--transform`; empty for `auto` and `none`. Raises UserError for what is no transform."""
    names = tuple(name.strip() for name in given.split(","))
    if names in ((AUTO,), (NONE,)):
        return ()
    for name in names:
        if name not in transforms():
            known = ", ".join((AUTO, NONE, *transforms()))
            raise UserError(f"--transform {given}: no transform {name!r}; known are {known}")
    return names


def named(names: Sequence[str], recipe: Recipe) -> list[Transform]:
    """The passes by these names, for the formats of the recipe."""
    found = [transforms()[name]() for name in names]
    return [for_formats(one, recipe) for one in found if isinstance(one, Transform)]


def for_formats(one: Transform, recipe: Recipe) -> Transform:
    (schemes,) = (each for each in recipe.passes if isinstance(each, AssignSchemes))
    return replace(one, weights=schemes.weights, activations=schemes.product_inputs or schemes.activations)


def transform(given: str, recipe: Recipe, work: Work, drawn: bool, advance: Advance) -> Work:
    """`work`, canonical and float, with the transforms that `--transform` asks for. drawn: whether its samples
    are random."""
    if given == AUTO and drawn:
        text = "nothing is tried: the calibration data is random, and says nothing of the tensors' ranges"
        return replace(work, notes=(*work.notes, Note(STAGE, "model", "stays", text)))
    if given == AUTO:
        seen, held = split(work.samples, most_runs(work.graph))
        exact = with_scores(gs.export_onnx(work.graph))
        samples, opened = tuple(held), runner(exact)
        outputs = tuple(opened.run(sample) for sample in samples)
        return TransformSearch(recipe, seen, samples, outputs, describe_outputs(exact)).best(work, advance)
    for one in named(parsed(given), recipe):
        work = one(work).work
    return work


def most_runs(graph: gs.Graph) -> int:
    """How many runs there is time for, half to observe and half to choose by: no clock, so that choices repeat."""
    work = sum(map(multiplications_of, graph.nodes))
    return max(1, MULTIPLICATIONS // max(work, 1) // 2)


def multiplications_of(node: gs.Node) -> int:
    """Of a product in one run."""
    if node.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    outputs, weights = (tuple(map(int, one.shape)) for one in (node.outputs[0], node.inputs[1]))
    if node.op in ("Gemm", "MatMul"):
        return prod(outputs) * (weights[-2] if len(weights) > 1 else weights[-1])
    spread_over = tuple(map(int, node.inputs[0].shape)) if node.op == "ConvTranspose" else outputs
    return prod(spread_over) * prod(weights[1:])


def split(runs: Runs, most: int = SEEN) -> tuple[Runs, Runs]:
    """Runs to observe and to choose by, both evenly spread and `most` at most; the same where there is only one."""
    total = len(runs)
    if total < 2:
        return runs, runs
    held = spread(range(total), min(HELD, most, total // 2))
    seen = spread(sorted(set(range(total)) - set(held)), min(SEEN, most))
    return Subset(runs, seen), Subset(runs, held)


def spread(places: Sequence[int], count: int) -> tuple[int, ...]:
    """`count` of them, or all."""
    count = min(count, len(places))
    return tuple(places[(2 * place + 1) * len(places) // (2 * count)] for place in range(count))


@dataclass(frozen=True)
class Left:
    """SQNR of the worst result in dB: on all held-out samples, and on each of up to `FOLDS` parts of them."""

    total: float
    folds: tuple[float, ...]

    def beats(self, other: Left) -> bool:
        """By `CLEARLY`, and on three parts of four: not by some loud samples alone."""
        better = sum(mine > theirs for mine, theirs in zip(self.folds, other.folds, strict=True))
        return self.total > other.total + CLEARLY and 4 * better >= 3 * len(self.folds)


@dataclass(frozen=True)
class TransformSearch:
    """seen: what trials observe; held: held-out samples, outputs: what the float model as it came makes of them;
    described: what these are."""

    recipe: Recipe
    seen: Runs
    held: tuple[dict[str, NDArray[Any]], ...]
    outputs: tuple[dict[str, NDArray[Any]], ...]
    described: Mapping[str, Described]

    def best(self, work: Work, advance: Advance) -> Work:
        found, left = work, None
        notes: list[Note] = []
        for done, group in enumerate(GROUPS):
            known: set[tuple[str, ...]] = set()
            for step in group:
                if step.names in known:  # what was tried came to this one
                    continue
                tried = self.applied(step, found)
                taken = tuple(one.transform for one in tried.transforms[len(found.transforms) :])
                if not step.is_worth(found, tried) or taken in known:
                    continue
                known.add(taken)
                left = self.left(found) if left is None else left
                gained = self.left(tried)
                notes.append(told(step, left, gained, len(self.held)))
                if gained.beats(left):
                    found, left = tried, gained
                    break
            advance(done + 1, len(GROUPS))
        return replace(found, notes=(*found.notes, *notes))

    def applied(self, step: TransformStep, work: Work) -> Work:
        for one in step.passes:
            work = for_formats(one, self.recipe)(work).work
        return work

    def left(self, work: Work) -> Left:
        """Of the model, quantized, on held-out samples."""
        quick = self.recipe.with_option(RoundWeights.name, "rounding", "nearest", "a trial of transforms")
        work = replace(work, graph=work.graph.copy(), data=self.seen)
        observed = observe(gs.export_onnx(work.graph), self.seen, quick.wants(work.graph))
        work = quick.run("quantize", quick.run("assign", replace(work, observations=observed)))
        opened = runner(dequantize_weights(with_scores(export(work.graph))))
        found = [opened.run(sample) for sample in self.held]
        folds = min(FOLDS, len(found))
        parts = [range(len(found)), *(range(fold, len(found), folds) for fold in range(folds))]
        total, *each = (self.decibels([found[place] for place in part], part) for part in parts)
        return Left(total, tuple(each))

    def decibels(self, found: Sequence[dict[str, NDArray[Any]]], part: Sequence[int]) -> float:
        samples, outputs = (tuple(one[place] for place in part) for one in (self.held, self.outputs))
        return score(Reference(samples, outputs, self.described), found).sqnr_db


def told(step: TransformStep, before: Left, after: Left, samples: int) -> Note:
    figures = (
        f"on {samples} held-out samples {after.total:.2f} dB of the results are left with it, "
        f"{before.total:.2f} dB without"
    )
    numbers = {"with_db": after.total, "without_db": before.total}
    if after.beats(before):
        return Note(STAGE, "model", "chosen", f"{step.name}: kept, {figures}", numbers)
    text = f"{step.name}: tried and not taken, {figures}; it must bring {CLEARLY} dB, and something on most of them"
    return Note(STAGE, "model", "refused", text, numbers)
