"""Which transforms a run folds into the float graph: those that were named, or those that help, found by trying.

`auto` begins with the model as it is and tries one step after the other on top of what was kept so far. Each trial is
quantized as the recipe says, but with weights rounded to the nearest, from up to `SEEN` calibration samples, and run on
up to `HELD` others; the SQNR of the worst float output against the untransformed float model decides. A step that finds
no place costs no trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_graphsurgeon as gs

from bevel.calib.data.dataset import RandomDataset, Runs, Subset
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
from bevel.passes.transform.smooth import Smooth
from bevel.passes.transform.smooth_keys import SmoothKeys
from bevel.passes.transform.transform import Transform
from bevel.tools.accuracy.outputs import describe_outputs
from bevel.tools.assign.score import Reference, reference
from bevel.tools.run.stages import Advance

AUTO, NONE = "auto", "none"
SEEN, HELD = 32, 32
# dB that a step must bring. On 32 held-out samples, choices that make no difference come and go by some tenths.
CLEARLY = 0.5
STAGE = "transform"


@dataclass(frozen=True)
class TransformStep:
    """What `auto` tries at once: passes, one after the other."""

    passes: tuple[Transform, ...]

    @property
    def name(self) -> str:
        return ", ".join(one.name for one in self.passes)


STEPS = (
    TransformStep((Smooth(),)),
    TransformStep((Equalize(least=8.0),)),
    TransformStep((SmoothKeys(),)),
    TransformStep((RotateStream(by="klt"), Smooth())),
    TransformStep((RotateStream(), Smooth())),
    TransformStep((RotateValues(),)),
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


def transform(given: str, recipe: Recipe, work: Work, advance: Advance) -> Work:
    """`work`, canonical and float, with the transforms that `--transform` asks for."""
    if given == AUTO and isinstance(work.data, RandomDataset):
        text = "nothing is tried: the calibration data is random, and says nothing of the tensors' ranges"
        return replace(work, notes=(*work.notes, Note(STAGE, "model", "stays", text)))
    if given == AUTO:
        seen, held = split(work.samples)
        exact = gs.export_onnx(work.graph)
        return TransformSearch(recipe, seen, reference(exact, tuple(held), describe_outputs(exact)), len(held)).best(
            work, advance
        )
    for one in named(parsed(given), recipe):
        work = one(work).work
    return work


def split(runs: Runs) -> tuple[Runs, Runs]:
    """Runs to observe and to choose by, both evenly spread; the same where there is only one."""
    total = len(runs)
    if total < 2:
        return runs, runs
    held = spread(range(total), min(HELD, total // 2))
    seen = spread([place for place in range(total) if place not in set(held)], SEEN)
    return Subset(runs, seen), Subset(runs, held)


def spread(places: Sequence[int], count: int) -> tuple[int, ...]:
    """`count` of them, or all."""
    count = min(count, len(places))
    return tuple(places[(2 * place + 1) * len(places) // (2 * count)] for place in range(count))


@dataclass(frozen=True)
class TransformSearch:
    """seen: what trials observe; reference: the float model as it came, on held-out runs, and how many they are."""

    recipe: Recipe
    seen: Runs
    reference: Reference
    held: int

    def best(self, work: Work, advance: Advance) -> Work:
        found, left = work, None
        notes: list[Note] = []
        for done, step in enumerate(STEPS):
            tried = self.applied(step, found)
            if len(tried.transforms) > len(found.transforms):
                left = self.decibels(found) if left is None else left
                gained = self.decibels(tried)
                kept = gained > left + CLEARLY
                notes.append(told(step, kept, left, gained, self.held))
                found, left = (tried, gained) if kept else (found, left)
            advance(done + 1, len(STEPS))
        return replace(found, notes=(*found.notes, *notes))

    def applied(self, step: TransformStep, work: Work) -> Work:
        for one in step.passes:
            work = for_formats(one, self.recipe)(work).work
        return work

    def decibels(self, work: Work) -> float:
        """SQNR of the worst result of the model, quantized, on held-out samples."""
        quick = self.recipe.with_option(RoundWeights.name, "rounding", "nearest", "a trial of transforms")
        work = replace(work, graph=work.graph.copy(), data=self.seen)
        observed = observe(gs.export_onnx(work.graph), self.seen, quick.wants(work.graph))
        work = quick.run("quantize", quick.run("assign", replace(work, observations=observed)))
        return self.reference.score(export(work.graph)).sqnr_db


def told(step: TransformStep, kept: bool, before: float, after: float, samples: int) -> Note:
    figures = f"on {samples} held-out samples {after:.2f} dB of the results are left with it, {before:.2f} dB without"
    numbers = {"with_db": after, "without_db": before}
    if kept:
        return Note(STAGE, "model", "chosen", f"{step.name}: kept, {figures}", numbers)
    text = f"{step.name}: tried and not taken, {figures}; it must bring {CLEARLY} dB"
    return Note(STAGE, "model", "refused", text, numbers)
