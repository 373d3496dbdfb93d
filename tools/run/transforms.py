"""Which transforms a run folds into the float graph: those that were named, or those that help, found by trying.

`auto` begins with the model as it is and tries one step after the other on top of what was kept so far (`GROUPS`). Each
trial is quantized as the recipe says, scales of rows included, since a transform that helps one scale for a tensor may
spoil one for each row; but with weights rounded to the nearest, and with the int16 tensors of the model as it came.
Where products read fewer than 8 bits, what their weights can make up for decides, so there they are refitted. A trial
sees up to `SEEN` calibration samples and is run on up to `HELD` others; the SQNR of the worst float output against the
untransformed float model decides: of a last Softmax that of what it reads, as shares are decided by a few samples that
change their answer. A step that finds no place costs no trial; one that is about to be kept is tried again, with both
parts of the samples exchanged (`Gain`). What makes the device work more must bring
more (`WORK`), and is not tried where results are good as they are (`ENOUGH`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

import onnx_graphsurgeon as gs

from bevel.backends.target import Target
from bevel.calib.data.dataset import Runs, Subset
from bevel.calib.errors import UserError
from bevel.calib.formats.format import INT8
from bevel.calib.observe.observe import Observed
from bevel.passes.assign.assign_schemes import AssignSchemes
from bevel.passes.base import Note, Pass, Work
from bevel.passes.graph.work import multiplications_of
from bevel.passes.quantize.chosen import NodeFormat
from bevel.passes.quantize.widen_activations import elements_of
from bevel.passes.recipes.build import Recipe, known_passes
from bevel.passes.transform.center_keys import CenterKeys
from bevel.passes.transform.equalize import Equalize
from bevel.passes.transform.level_channels import LevelChannels
from bevel.passes.transform.rotate_online import WORK, RotateOnline
from bevel.passes.transform.rotate_stream import RotateStream
from bevel.passes.transform.rotate_values import RotateValues
from bevel.passes.transform.shift_bias import ShiftBias
from bevel.passes.transform.smooth import Smooth
from bevel.passes.transform.smooth_keys import SmoothKeys
from bevel.passes.transform.transform import Transform
from bevel.tools.accuracy.outputs import RANKINGS, describe_outputs, with_scores
from bevel.tools.run.beside_floats import is_beside_floats
from bevel.tools.run.stages import Advance
from bevel.tools.run.transform_trial import Left, TransformTrial

AUTO, NONE = "auto", "none"
# Ranges of too few samples clip others: in a trial, more than in the product. What 32 held-out samples say of a step
# lies decibels beside what those of --eval do, and takes the worse of two for the better; 96 mostly say the same.
SEEN, HELD = 128, 96
CLEARLY = 0.5  # dB that a step must bring: choices that make no difference come and go by some tenths
ENOUGH = 40.0  # dB: about what results of int8 lose by being rounded themselves
FLATTER = 0.5  # dB; less is what a rotation does to tensors that are flat already
MULTIPLICATIONS = 10**10  # that the runs of one trial may take: some ten seconds
OBSERVED = 30  # multiplications that it takes to look at one element
STAGE = "transform"


@dataclass(frozen=True)
class TransformStep:
    """What `auto` tries at once: passes, one after the other. least: dB by which the first of them must lower the peaks
    of the tensors it changes over their RMS, or it is not worth a trial; gain: dB that it must bring,
    or, below 0, may take."""

    passes: tuple[Transform, ...]
    least: float = -inf
    gain: float = CLEARLY

    def may_gain(self, before: Work, after: Work) -> bool:
        """after: with the first pass alone."""
        new = after.transforms[len(before.transforms) :]
        return self.least == -inf or (bool(new) and new[0].flatter_db >= self.least)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.passes)

    @property
    def name(self) -> str:
        return ", ".join(self.names)


# Of each group the first step that helps is kept, and the rest is not tried.
Groups = tuple[tuple[TransformStep, ...], ...]
GROUPS: Groups = (
    (
        TransformStep((Smooth(), SmoothKeys())),
        TransformStep((Smooth(),)),
        TransformStep((SmoothKeys(),)),
        TransformStep((Equalize(least=8.0),)),
    ),
    (
        TransformStep((RotateStream(gain=-inf), Smooth()), FLATTER),
        TransformStep((RotateStream(by="klt", gain=-inf), Smooth()), FLATTER),
        TransformStep((RotateStream(by="hadamard", gain=-inf), Smooth()), FLATTER),
        TransformStep((RotateStream(by="hadamard", gain=-inf), RotateOnline()), FLATTER),
    ),
    (TransformStep((RotateValues(gain=-inf),), FLATTER),),
    (TransformStep((RotateOnline(),)),),
    (TransformStep((ShiftBias(),)),),
)
LEVELLED = TransformStep((LevelChannels(),))
# At few bits it is free and right more often than some samples can tell: kept unless it is clearly wrong.
LEVELLED_FEW = TransformStep((LevelChannels(),), gain=-CLEARLY)


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


def transformed(given: str, recipe: Recipe, work: Work, drawn: bool, advance: Advance) -> tuple[Work, Observed | None]:
    """All that becomes of `work` before it is observed: centred keys, the recipe's own, and as `transform` says."""
    if is_beside_floats(recipe):
        text = "nothing is tried: activations stay float, and need not be flatter"
        return replace(work, notes=(*work.notes, Note(STAGE, "model", "stays", text))), None
    work = recipe.run("transform", center_keys(given, recipe, work, drawn))
    return transform(given, recipe, work, drawn, advance)


def transform(given: str, recipe: Recipe, work: Work, drawn: bool, advance: Advance) -> tuple[Work, Observed | None]:
    """`work`, canonical and float, with the transforms that `--transform` asks for, and what the search observed of it,
    if it did. drawn: whether its samples are random."""
    if given == AUTO and drawn:
        text = "nothing is tried: the calibration data is random, and says nothing of the tensors' ranges"
        return replace(work, notes=(*work.notes, Note(STAGE, "model", "stays", text))), None
    if given == AUTO:
        seen, held = split(work.samples, most_runs(work.graph))
        exact, narrow = with_scores(gs.export_onnx(work.graph), RANKINGS), is_narrow(recipe, work.graph)
        trial = TransformTrial(recipe, exact, describe_outputs(exact), seen, held, narrow)
        groups = possible(groups_of(recipe, work.graph), work.target)
        return TransformSearch(recipe, trial, groups).best(work, advance)
    for one in named(parsed(given), recipe):
        if one.name != CenterKeys.name:
            work = one(work).work
    return work, None


def center_keys(given: str, recipe: Recipe, work: Work, drawn: bool) -> Work:
    """`work`, whose masks nobody clamped yet, with centred keys, if `--transform` names that: clamps hold scores within
    bounds, which then would not fit. `auto` centres them without a trial where a cache keeps them in fewer than 8 bits,
    by what is predicted."""
    few = any(one.activations is not None and one.activations.bits < INT8.bits for one in work.schemes.nodes.values())
    asked = few and not drawn if given == AUTO else CenterKeys.name in parsed(given)
    return for_formats(CenterKeys(), recipe)(work).work if asked else work


def groups_of(recipe: Recipe, graph: gs.Graph) -> Groups:
    """What is tried. Channels are levelled before all else where products read few bits, and in place of smoothing
    where they read 8 by weights of 8: fewer bits of weights make more error than what they read, and trials do not
    refit them."""
    if is_narrow(recipe, graph):
        return ((LEVELLED_FEW,), *GROUPS)
    if multiplies_activations(graph) or for_formats(LevelChannels(), recipe).weight_bits < INT8.bits:
        return GROUPS
    return ((LEVELLED, *GROUPS[0]), *GROUPS[1:])


def possible(groups: Groups, target: Target | None) -> Groups:
    """Those steps that a target can run: streams have no transform of what products read."""
    if target is None or not target.streams:
        return groups
    offline = (tuple(step for step in group if RotateOnline.name not in step.names) for group in groups)
    return tuple(group for group in offline if group)


def is_narrow(recipe: Recipe, graph: gs.Graph) -> bool:
    """Whether products by weights read fewer than 8 bits, and channels are levelled for that."""
    return not multiplies_activations(graph) and for_formats(LevelChannels(), recipe).activation_bits < INT8.bits


def multiplies_activations(graph: gs.Graph) -> bool:
    """By each other: scales of rows do more for such networks, and levelled values lost half a decibel."""
    return any(node.op == "MatMul" and all(isinstance(one, gs.Variable) for one in node.inputs) for node in graph.nodes)


def most_runs(graph: gs.Graph) -> int:
    """How many runs there is time for, half to observe and half to choose by: no clock, so that choices repeat."""
    return max(1, MULTIPLICATIONS // max(multiplications(graph) + OBSERVED * elements_of(graph), 1) // 2)


def multiplications(graph: gs.Graph) -> int:
    """Of all products of a run."""
    return sum(map(multiplications_of, graph.nodes))


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
class Gain:
    """What a step brings. crossed: before and after it, where the samples have each other's part; least: dB asked for.

    Of two halves of the samples, one shows ranges and the other judges, and what that says goes up and down with who
    is in which. Both ways must say the same, and together bring what is asked for; that costs as much again, so it is
    asked of what is about to be kept."""

    before: Left
    after: Left
    least: float
    crossed: tuple[Left, Left] | None = None

    @property
    def holds(self) -> bool:
        if not self.after.beats(self.before, self.least):
            return False
        if self.crossed is None:
            return True
        before, after = (one.total for one in self.crossed)
        return after > before and (self.after.total - self.before.total + after - before) / 2 > self.least


@dataclass(frozen=True)
class TransformSearch:
    """groups: of each the first step that helps is kept."""

    recipe: Recipe
    trial: TransformTrial
    groups: Groups

    def best(self, work: Work, advance: Advance) -> tuple[Work, Observed | None]:
        """The model with the steps that help, and what was observed of it, if it was."""
        found, seen, left = work, None, None
        crossed: Left | None = None
        notes: list[Note] = []
        share = WORK / max(multiplications(work.graph), 1)
        widened: dict[str, NodeFormat] = {}
        for done, group in enumerate(self.groups):
            for step, tried in self.changed(found, group):
                if seen is None or left is None:
                    seen = self.trial.observed(found)
                    widened = self.trial.widened(found, seen)
                    left = self.trial.left(found, seen, widened)
                operations = sum(one.operations for one in tried.transforms[len(found.transforms) :])
                if operations and left.total >= ENOUGH:
                    notes.append(needless(step, left))
                    continue
                after = self.trial.observed(tried)
                gain = Gain(left, self.trial.left(tried, after, widened), step.gain + share * operations)
                if gain.holds and step.gain >= 0 and self.trial.crossed is not None:
                    crossed = crossed or self.trial.crossed.of(found, widened)
                    gain = replace(gain, crossed=(crossed, self.trial.crossed.of(tried, widened)))
                notes.append(told(step, gain, len(self.trial.held)))
                if gain.holds:
                    found, seen, left = tried, after, gain.after
                    crossed = None if gain.crossed is None else gain.crossed[1]
                    break
            advance(done + 1, len(self.groups))
        return replace(found, notes=(*found.notes, *notes)), seen

    def changed(self, found: Work, group: tuple[TransformStep, ...]) -> Iterator[tuple[TransformStep, Work]]:
        """The steps that find a place, each once, with the model behind them."""
        known: set[tuple[str, ...]] = set()
        applied: dict[tuple[Transform, ...], Work] = {(): found}
        for step in group:
            if step.names in known:  # what was tried came to this one
                continue
            tried = self.applied(step, applied)
            taken = tuple(one.transform for one in tried.transforms[len(found.transforms) :])
            if taken and taken not in known:
                known.add(taken)
                yield step, tried

    def applied(self, step: TransformStep, known: dict[tuple[Transform, ...], Work]) -> Work:
        """The model behind the passes of a step, or as it was where the first of them changes too little. known: it
        behind others, and behind none; what it is behind these is added."""
        for count in range(1, len(step.passes) + 1):
            passes = step.passes[:count]
            if passes not in known:
                known[passes] = for_formats(passes[-1], self.recipe)(known[passes[:-1]]).work
            if count == 1 and not step.may_gain(known[()], known[passes]):
                return known[()]
        return known[step.passes]


def needless(step: TransformStep, left: Left) -> Note:
    figures = f"{left.total:.2f} dB of the results are left without it"
    text = f"{step.name}: not tried, the device would work more, and {figures}"
    return Note(STAGE, "model", "refused", text, {"without_db": left.total, "enough_db": ENOUGH})


def told(step: TransformStep, gain: Gain, samples: int) -> Note:
    figures = (
        f"on {samples} held-out samples {gain.after.total:.2f} dB of the results are left with it, "
        f"{gain.before.total:.2f} dB without"
    )
    numbers = {"with_db": gain.after.total, "without_db": gain.before.total, "least_db": gain.least}
    if gain.crossed is not None:
        before, after = (one.total for one in gain.crossed)
        figures += f"; {after:.2f} and {before:.2f} dB where those show the ranges, and those that did judge"
        numbers |= {"crossed_with_db": after, "crossed_without_db": before}
    least = gain.least
    asked = f"may take {-least:.1f} dB" if least < 0 else f"must bring {least:.1f} dB, and something on most of them"
    if gain.holds:
        tolerated = f"; it {asked}" if gain.after.total < gain.before.total else ""
        return Note(STAGE, "model", "chosen", f"{step.name}: kept, {figures}{tolerated}", numbers)
    return Note(STAGE, "model", "refused", f"{step.name}: tried and not taken, {figures}; it {asked}", numbers)
